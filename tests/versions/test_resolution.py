"""The outcomes of parts: order, dependencies, the error boundary, coroutines, savepoints."""

from __future__ import annotations

import asyncio
import datetime
import functools
import itertools
import json
import logging

import pytest
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    SuspiciousOperation,
    ValidationError,
)
from django.db import connection
from django.http import Http404
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.permissions import BasePermission

from partstream import (
    HybridProgressiveView,
    PartError,
    ProgressiveView,
    cached_for,
    lazy,
    safe_call,
)
from tests.example.models import Note
from tests.support.log_messages import message
from tests.support.walk_client import get_json, merged, names, walk

FAILED = "This part could not be loaded."


@pytest.fixture
def resolve(serve, client):
    """The one envelope of a view of these parts."""

    def resolve(*parts, base=ProgressiveView, **attributes):
        url = serve(base=base, parts=list(parts), **{"chunk_size": 50, **attributes})
        return get_json(client, url)

    return resolve


@pytest.fixture
def error_of(resolve):
    """The error of a part; its sibling before and after are fine."""

    def error_of(value, **attributes):
        envelope = resolve(
            ("before", 1), ("part", value), ("after", lazy(lambda _: 2)), **attributes
        )
        assert envelope["results"] == [{"before": 1}, {"after": 2}]
        assert envelope["cursor"] is None
        (error,) = envelope["errors"]
        assert error.pop("part") == "part"
        error.pop("retry_cursor", None)
        return error

    return error_of


def raising(error):
    def load(request, **_):
        raise error

    return load


def raising_async(error):
    async def load(request, **_):
        raise error

    return load


# Data


def test_data__of_every_kind_of_loader(resolve):
    class Loaded:
        def __call__(self, request):
            return "called"

    async def coroutine(request):
        await asyncio.sleep(0)
        return "awaited"

    class Methods:
        get_plain = staticmethod(lambda request: "static")

    envelope = resolve(
        ("immediate", {"a": 1}),
        ("function", lazy(lambda request: request.method)),
        ("coroutine", lazy(coroutine)),
        ("object", lazy(Loaded())),
        ("static", lazy(Methods.get_plain)),
        ("method", lazy("get_method")),
        ("async_method", lazy("get_async")),
        ("wrapped", lazy("get_wrapped")),
        get_method=lambda self, request: type(self).__name__,
        get_async=coroutine_method,
        get_wrapped=safe_call(lambda self, request: type(self).__name__, fallback=None),
    )
    assert merged([envelope]) == {
        "immediate": {"a": 1},
        "function": "GET",
        "coroutine": "awaited",
        "object": "called",
        "static": "static",
        "method": "ServedView",
        "async_method": "ServedView",
        "wrapped": "ServedView",
    }


async def coroutine_method(self, request):
    return type(self).__name__


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, "é", [1, {"a": None}]], ids=repr)
def test_data__is_delivered_as_it_is(resolve, value):
    envelope = resolve(("immediate", value), ("lazy", lazy(lambda request: value)))
    assert envelope["results"] == [{"immediate": value}, {"lazy": value}]


def test_data__of_an_iterator(resolve):
    envelope = resolve(("rows", lazy(lambda request: (number for number in range(3)))))
    assert merged([envelope]) == {"rows": [0, 1, 2]}


# Dependencies


def test_dependency__is_handed_over_as_the_client_sees_it(resolve):
    def load(request, when, rows, pair):
        return [when, rows, pair]

    envelope = resolve(
        ("when", datetime.date(2026, 1, 2)),
        ("rows", lazy(lambda request: (number for number in range(2)))),
        ("pair", (1, 2)),
        ("top", lazy(load, depends_on=["when", "rows", "pair"])),
    )
    assert merged([envelope])["top"] == ["2026-01-02", [0, 1], [1, 2]]


def test_dependency__is_decoded_anew_for_each(resolve):
    def spoil(request, base):
        base["rows"].append("spoilt")
        return base

    envelope = resolve(
        ("base", {"rows": [1]}),
        ("first", lazy(spoil, depends_on=["base"])),
        ("second", lazy(spoil, depends_on=["base"])),
    )
    assert envelope["results"] == [
        {"base": {"rows": [1]}},
        {"first": {"rows": [1, "spoilt"]}},
        {"second": {"rows": [1, "spoilt"]}},
    ]


def test_dependency__is_the_fallback_where_one_was_delivered(resolve):
    envelope = resolve(
        ("rates", lazy(safe_call(raising(ValueError()), fallback={"rate": 0}))),
        ("total", lazy(lambda request, rates: rates["rate"], depends_on=["rates"])),
    )
    assert merged([envelope]) == {"rates": {"rate": 0}, "total": 0}


def test_dependency__is_resolved_once_a_request(resolve, calls):
    def top(request, base):
        return base

    envelope = resolve(
        ("one", lazy(top, depends_on=["base"])),
        ("two", lazy(top, depends_on=["base"])),
        ("base", lazy(calls.loader("base", 1))),
    )
    assert names(envelope) == ["one", "two", "base"]
    assert calls == ["base"]


def test_dependency__of_the_manifest_gates_and_orders_and_passes_nothing(resolve, calls):
    envelope = resolve(
        ("top", lazy(calls.loader("top", 1))),
        ("base", lazy(calls.loader("base", 2))),
        get_parts_manifest=lambda self: {"top": {"dependencies": ["base"]}},
    )
    assert names(envelope) == ["top", "base"]
    assert calls == ["base", "top"]


@pytest.mark.parametrize("make", [raising, raising_async])
def test_dependency__that_failed_fails_its_dependents_uncalled(resolve, calls, make):
    envelope = resolve(
        ("base", lazy(make(ValueError()))),
        ("middle", lazy(lambda request, base: calls.append("middle"), depends_on=["base"])),
        ("top", lazy(safe_call(calls.loader("top"), fallback=1), depends_on=["middle"])),
        ("other", 1),
        base=HybridProgressiveView,
    )
    assert envelope["results"] == [{"other": 1}]
    assert calls == []
    base, middle, top = envelope["errors"]
    assert base["code"] == "part_failed"
    for error, name in ((middle, "middle"), (top, "top")):
        assert error == {
            "part": name,
            "code": "dependency_failed",
            "detail": "Another part that this one needs could not be loaded.",
            "retryable": True,
            "retry_cursor": error["retry_cursor"],
        }


def test_dependency__that_was_denied_is_not_worth_a_retry(resolve):
    envelope = resolve(
        ("base", lazy(raising(PermissionDenied()))),
        ("top", lazy(lambda request, base: base, depends_on=["base"])),
    )
    assert envelope["errors"][1] == {
        "part": "top",
        "code": "dependency_failed",
        "detail": "Another part that this one needs could not be loaded.",
        "retryable": False,
    }


def test_dependency__of_the_manifest_that_failed_gates(resolve, calls):
    envelope = resolve(
        ("base", lazy(raising(ValueError()))),
        ("top", lazy(calls.loader("top"))),
        get_parts_manifest=lambda self: {"top": {"dependencies": ["base"]}},
    )
    assert [error["code"] for error in envelope["errors"]] == ["part_failed", "dependency_failed"]
    assert calls == []


def test_dependency__a_chain_of_2000(resolve):
    parts = [("p0", 0)]
    for number in range(1, 2000):
        before = f"p{number - 1}"
        load = safe_call(lambda request, **given: next(iter(given.values())) + 1, fallback=None)
        parts.append((f"p{number}", lazy(load, depends_on=[before])))
    envelope = resolve(*parts[:-1], ("last", 1), chunk_size=1, get_chunk_size=lambda self: 1999)
    assert merged([envelope])["p1998"] == 1998


# Failures


@pytest.mark.parametrize("make", [raising, raising_async])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        KeyError("secret"),
        RecursionError("secret"),
        MemoryError("secret"),
        StopIteration("secret"),
        ValidationError("secret"),
        drf.APIException("secret"),
        asyncio.CancelledError("secret"),
        asyncio.TimeoutError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure__of_a_loader(error_of, caplog, make, error):
    assert error_of(lazy(make(error))) == {
        "code": "part_failed",
        "detail": FAILED,
        "retryable": True,
    }
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert record.levelno == logging.ERROR
    assert message(record) == "Part 'part' of ServedView failed."
    assert record.exc_info[1] is not None


FORBIDDEN = ("part_forbidden", "You do not have permission to see this part.")
NOT_FOUND = ("part_not_found", "What this part shows does not exist.")
INVALID = ("part_invalid", "This part cannot be loaded with these parameters.")
REFUSALS = [
    (PermissionDenied("secret"), *FORBIDDEN),
    (drf.PermissionDenied("secret"), *FORBIDDEN),
    (drf.NotAuthenticated("secret"), *FORBIDDEN),
    (drf.AuthenticationFailed("secret"), *FORBIDDEN),
    (Http404("secret"), *NOT_FOUND),
    (drf.NotFound("secret"), *NOT_FOUND),
    (drf.ValidationError("secret"), *INVALID),
    (drf.ParseError("secret"), *INVALID),
    (BadRequest("secret"), *INVALID),
    (SuspiciousOperation("secret"), *INVALID),
]


@pytest.mark.parametrize("make", [raising, raising_async])
@pytest.mark.parametrize(
    ("refusal", "code", "detail"),
    REFUSALS,
    ids=[f"{type(error).__module__}.{type(error).__name__}" for error, *_ in REFUSALS],
)
@pytest.mark.parametrize("covered", [False, True])
def test_failure__a_refusal(error_of, caplog, make, refusal, code, detail, covered):
    caplog.set_level(logging.INFO)
    covered = covered and code != "part_invalid"
    load = safe_call(make(refusal), fallback="covered") if covered else make(refusal)
    assert error_of(lazy(load)) == {"code": code, "detail": detail, "retryable": False}
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    kind = type(refusal).__name__
    assert message(record) == f"Part 'part' of ServedView is refused: {code} ({kind})."


@pytest.mark.parametrize("make", [raising, raising_async])
def test_failure__a_throttled_call_says_when_to_retry(error_of, caplog, make):
    caplog.set_level(logging.INFO)
    assert error_of(lazy(make(drf.Throttled(6.2, "secret")))) == {
        "code": "part_throttled",
        "detail": "This part was asked for too often. Try again later.",
        "retryable": True,
        "retry_after": 7,
    }
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_failure__the_dependents_of_a_throttled_part_have_its_wait(serve, client):
    parts = [
        ("rates", lazy(raising(drf.Throttled(7)))),
        ("prices", lazy(lambda request, rates: rates, depends_on=["rates"])),
    ]
    errors = get_json(client, serve(parts=parts))["errors"]
    assert [error["retry_after"] for error in errors] == [7, 7]
    assert [error["retryable"] for error in errors] == [True, True]


@pytest.mark.parametrize("make", [raising, raising_async])
def test_failure__in_the_loaders_own_words(error_of, make):
    error = PartError(gettext_lazy("Closed, until 8."), code="warehouse_closed", retryable=False)
    assert error_of(lazy(make(error))) == {
        "code": "warehouse_closed",
        "detail": "Closed, until 8.",
        "retryable": False,
    }


class Plain:
    """Nothing that JSON knows."""


def cyclic():
    data = {}
    data["data"] = data
    return data


@pytest.mark.parametrize(
    "value",
    [Plain(), [Plain()], float("nan"), [float("inf")], "\ud800", {("a",): 1}, cyclic()],
    ids=lambda value: type(value).__name__ + repr(value)[:6],
)
def test_failure__what_is_not_json(error_of, value):
    expected = {
        "code": "not_serializable",
        "detail": "This part's data could not be written as JSON.",
        "retryable": False,
    }
    assert error_of(lazy(lambda request: value)) == expected
    assert error_of(value) == expected


def test_failure__while_an_iterator_is_read(error_of):
    def rows(request):
        yield 1
        raise ConnectionError("secret")

    assert error_of(lazy(rows))["code"] == "part_failed"


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Callable:
    async def __call__(self, request):
        return 1


async def load_async(request):
    return 1


@pytest.mark.parametrize(
    "loader",
    [lambda request: load_async(request), wrapped(load_async), Callable()],
    ids=["lambda", "decorated", "object"],
)
def test_coroutine__is_run_wherever_it_comes_from(serve, client, loader):
    url = serve(parts=[("a", lazy(loader)), ("b", lazy(loader))])
    assert merged(walk(client, url)) == {"a": 1, "b": 1}


def surrogate(request):
    raise PartError("lone \ud800 surrogate", code="odd")


def unspeakable(request):
    class Lazy(Promise):
        def __str__(self):
            raise RuntimeError("no text")

    raise PartError(Lazy())


def half_made(request):
    class Half(PartError):
        def __init__(self):
            Exception.__init__(self, "half")

    raise Half


def misused(request):
    raise PartError(None, retryable=object())


@pytest.mark.parametrize(
    ("loader", "code"),
    [
        (surrogate, "odd"),
        (unspeakable, "part_failed"),
        (half_made, "part_failed"),
        (misused, "part_failed"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_failure__that_cannot_be_described_affects_only_its_part(
    serve, client, settings, loader, code, debug
):
    settings.DEBUG = debug
    url = serve(parts=[("a", lazy(loader)), ("b", 2)])
    answer = get_json(client, url)
    assert answer["results"] == [{"b": 2}]
    assert [error["code"] for error in answer["errors"]] == [code]


def test_failure__of_an_exception_with_a_surrogate_is_shown_in_debug(error_of, settings):
    settings.DEBUG = True
    error = error_of(lazy(raising(ValueError("\ud800" + "x" * 5000))))
    assert error["exception"].startswith("ValueError: ?xxx")
    assert len(error["exception"]) == 1000


def test_failure__while_a_generator_is_read_is_the_loaders_own(error_of):
    def load(request):
        yield json.loads("<html>")

    assert error_of(lazy(load))["code"] == "part_failed"


def test_failure__has_the_tracebacks_own_order(error_of, caplog):
    error_of(lazy(raising(ValueError("once"))))
    assert "recover" not in caplog.text


def test_failure__is_logged_once_and_shown_only_in_debug(error_of, settings, caplog):
    settings.DEBUG = True
    error = error_of(lazy(raising(ValueError("password=hunter2"))))
    assert error == {
        "code": "part_failed",
        "detail": FAILED,
        "retryable": True,
        "exception": "ValueError: password=hunter2",
    }
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_failure__a_denial_is_shown_in_debug(error_of, settings):
    settings.DEBUG = True
    assert "no entry" in error_of(lazy(raising(PermissionDenied("no entry"))))["exception"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_failure__what_ends_the_process_ends_it(serve, client, error):
    url = serve(parts=[("part", lazy(safe_call(raising(error), fallback=1)))])
    with pytest.raises(type(error)):
        client.get(url)


def test_failure__by_key_has_no_retry_cursor(serve, client):
    url = serve(base=HybridProgressiveView, parts=[("part", lazy(raising(ValueError())))])
    envelope = get_json(client, f"{url}parts/?keys=part")
    assert envelope["errors"] == [
        {"part": "part", "code": "part_failed", "detail": FAILED, "retryable": True}
    ]


def test_failure__that_is_final_has_no_retry_cursor(resolve):
    envelope = resolve(
        ("denied", lazy(raising(Http404()))),
        ("final", lazy(raising(PartError("No.", retryable=False)))),
        ("again", lazy(raising(PartError("No.")))),
    )
    assert ["retry_cursor" in error for error in envelope["errors"]] == [False, False, True]


# Fallbacks


@pytest.mark.parametrize("make", [raising, raising_async])
@pytest.mark.parametrize("fallback", [None, 0, False, "", [], {}], ids=repr)
def test_fallback__even_a_falsy_one_is_delivered(resolve, make, fallback):
    envelope = resolve(("part", lazy(safe_call(make(ValueError()), fallback=fallback))))
    assert envelope["results"] == [{"part": fallback}]
    assert "errors" not in envelope


@pytest.mark.parametrize("make", [raising, raising_async])
def test_fallback__of_a_function_plain_or_async(resolve, make):
    def plain(request, exception):
        return [request.method, str(exception)]

    async def awaited(request, exception):
        await asyncio.sleep(0)
        return [request.method, str(exception)]

    envelope = resolve(
        ("plain", lazy(safe_call(make(ValueError("x")), plain))),
        ("awaited", lazy(safe_call(make(ValueError("y")), awaited))),
    )
    assert merged([envelope]) == {"plain": ["GET", "x"], "awaited": ["GET", "y"]}


@pytest.mark.parametrize("named", ["get_broken", "get_broken_async"])
def test_fallback__of_a_method_by_its_name(resolve, named):
    async def get_broken_async(self, request):
        raise ValueError(type(self).__name__)

    def get_broken(self, request):
        raise ValueError(type(self).__name__)

    envelope = resolve(
        ("part", lazy(safe_call(named, fallback=lambda request, error: str(error)))),
        ("again", lazy(safe_call(named, fallback=[]))),
        get_broken=get_broken,
        get_broken_async=get_broken_async,
    )
    assert merged([envelope]) == {"part": "ServedView", "again": []}


def test_fallback__covers_iterators_serializers_and_encoding(resolve):
    def rows(request):
        yield 1
        raise ConnectionError

    class Strict(serializers.Serializer):
        number = serializers.IntegerField()

    envelope = resolve(
        ("rows", lazy(safe_call(rows, fallback=1))),
        ("junk", lazy(safe_call(lambda request: Plain(), fallback=2))),
        (
            "strict",
            lazy(safe_call(lambda request: {"number": "x"}, 3), serializer_class=Strict),
        ),
    )
    assert merged([envelope]) == {"rows": 1, "junk": 2, "strict": 3}


def test_fallback__is_never_put_through_the_serializer(resolve):
    class Doubled(serializers.BaseSerializer):
        def to_representation(self, instance):
            return instance * 2

    envelope = resolve(
        ("good", lazy(safe_call(lambda request: 2, fallback=2), serializer_class=Doubled)),
        ("bad", lazy(safe_call(raising(ValueError()), fallback=2), serializer_class=Doubled)),
    )
    assert merged([envelope]) == {"good": 4, "bad": 2}


def test_fallback__that_fails_fails_the_part(error_of):
    def worse(request, exception):
        raise KeyError("worse")

    assert error_of(lazy(safe_call(raising(ValueError()), worse)))["code"] == "part_failed"


def test_fallback__that_is_not_json_fails_the_part(error_of):
    load = safe_call(raising(ValueError()), fallback=Plain())
    assert error_of(lazy(load))["code"] == "not_serializable"


def test_fallback__may_raise_a_part_error_or_a_denial(error_of):
    load = safe_call(raising(ValueError()), raising_with(PartError("Shut.", code="shut")))
    assert error_of(lazy(load))["code"] == "shut"
    load = safe_call(raising(ValueError()), raising_with(PermissionDenied()))
    assert error_of(lazy(load))["code"] == "part_forbidden"


def raising_with(error):
    def fallback(request, exception):
        raise error

    return fallback


@pytest.mark.parametrize("make", [raising, raising_async])
def test_fallback__does_not_cover_a_cancellation(error_of, make):
    load = safe_call(make(asyncio.CancelledError()), fallback="covered")
    assert error_of(lazy(load))["code"] == "part_failed"


def test_fallback__is_logged_once(resolve, caplog):
    resolve(("part", lazy(safe_call(raising(ValueError("cause")), fallback=[]))))
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert record.levelno == logging.WARNING
    assert message(record) == "Part 'part' of ServedView failed; its fallback is delivered."
    assert str(record.exc_info[1]) == "cause"


# Serializers


class NoteSerializer(serializers.ModelSerializer):
    view = serializers.SerializerMethodField()

    class Meta:
        model = Note
        fields = ["text", "view"]

    def get_view(self, note):
        context = self.context
        return [type(context["view"]).__name__, context["request"].method, context["format"]]


@pytest.mark.django_db
@pytest.mark.parametrize("make_async", [False, True])
def test_serializer__of_one_and_of_many(resolve, make_async):
    Note.objects.bulk_create([Note(text="a"), Note(text="b")])

    async def load_async(request):
        return Note.objects.order_by("text")

    def load(request):
        return Note.objects.order_by("text")

    envelope = resolve(
        ("one", lazy(lambda request: Note(text="c"), serializer_class=NoteSerializer)),
        (
            "many",
            lazy(load_async if make_async else load, serializer_class=NoteSerializer, many=True),
        ),
    )
    view = ["ServedView", "GET", None]
    assert merged([envelope]) == {
        "one": {"text": "c", "view": view},
        "many": [{"text": "a", "view": view}, {"text": "b", "view": view}],
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("part", "says"),
    [
        (
            lazy(lambda request: Note.objects.all(), serializer_class=NoteSerializer),
            "part 'part': the serializer got a QuerySet, not one object. Write "
            "lazy(..., serializer_class=..., many=True).",
        ),
        (
            lazy(lambda request: [Note()], serializer_class=NoteSerializer),
            "part 'part': the serializer got a list, not one object. Write "
            "lazy(..., serializer_class=..., many=True).",
        ),
        (
            lazy(lambda request: Note(), serializer_class=NoteSerializer, many=True),
            "part 'part': many=True needs a list or a QuerySet, but the loader returned one Note. "
            "Leave many=True out.",
        ),
    ],
    ids=itertools.count(),
)
def test_serializer__of_data_of_another_form_says_what_to_write(error_of, settings, part, says):
    settings.DEBUG = True
    error = error_of(part)
    assert error["code"] == "part_failed"
    assert error["exception"] == f"partstream.exceptions.Misuse: {says}"


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, PermissionDenied])
def test_serializer__with_an_error_of_its_own_keeps_it(error_of, settings, error):
    class Failing(serializers.BaseSerializer):
        def to_representation(self, instance):
            raise error("its own")

    settings.DEBUG = True
    shown = error_of(lazy(lambda request: {}, serializer_class=Failing))["exception"]
    assert "Misuse" not in shown
    assert error.__name__ in shown
    assert "its own" in shown


def test_serializer__that_fails_fails_the_part_alone(error_of):
    class Strict(serializers.Serializer):
        number = serializers.IntegerField()

    error = error_of(lazy(lambda request: {"number": "x"}, serializer_class=Strict))
    assert error == {"code": "part_failed", "detail": FAILED, "retryable": True}


@pytest.mark.parametrize("debug", [False, True])
def test_serializer__that_is_missing_is_named_in_the_log(error_of, caplog, settings, debug):
    settings.DEBUG = debug
    error = error_of(lazy(lambda request: [Note(text="a")]))
    assert error["code"] == "not_serializable"
    says = "Object of type Note is not JSON serializable (a model instance). Write lazy(..., ser"
    assert says in caplog.text
    assert ("exception" in error) is debug
    assert not debug or says in error["exception"]


# Permissions of parts


class Counting(BasePermission):
    asked = 0

    def has_permission(self, request, view):
        type(self).asked += 1
        return True


class Denying(BasePermission):
    def has_permission(self, request, view):
        return False


class Forbidding(BasePermission):
    def has_permission(self, request, view):
        raise PermissionDenied("no")


class Crashing(BasePermission):
    def has_permission(self, request, view):
        raise ZeroDivisionError("password=hunter2")


def test_permission__is_asked_once_a_request(resolve):
    Counting.asked = 0
    guarded = {"permission_classes": [Counting]}
    parts = [(f"p{number}", lazy(lambda request: 1, **guarded)) for number in range(5)]
    assert len(names(resolve(*parts))) == 5
    assert Counting.asked == 1


@pytest.mark.parametrize(
    "permission", [Denying, Forbidding, Crashing, Denying | Denying, ~Counting]
)
def test_permission__refused_hides_the_part_and_its_dependents(resolve, calls, permission):
    envelope = resolve(
        ("top", lazy(lambda request, middle: calls.append("top"), depends_on=["middle"])),
        ("middle", lazy(lambda request, hidden: calls.append("middle"), depends_on=["hidden"])),
        ("hidden", lazy(calls.loader("hidden"), permission_classes=[Counting, permission])),
        ("gated", lazy(calls.loader("gated"))),
        ("seen", 1),
        get_parts_manifest=lambda self: {"gated": {"dependencies": ["hidden"]}},
    )
    assert envelope["results"] == [{"seen": 1}]
    assert "errors" not in envelope
    assert envelope["meta"]["total_parts"] == 1
    assert calls == []


def test_permission__that_crashes_is_logged(resolve, caplog):
    resolve(("hidden", lazy(lambda request: 1, permission_classes=[Crashing])))
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert message(record) == (
        "A permission of part 'hidden' of ServedView failed; the part is hidden. If it looks at "
        "the view's queryset, write lazy(..., permission_view=...)."
    )
    assert str(record.exc_info[1]) == "password=hunter2"


def test_permission__that_denies_is_not_logged(resolve, caplog):
    resolve(("hidden", lazy(lambda request: 1, permission_classes=[Forbidding])))
    assert [record for record in caplog.records if record.name.startswith("partstream")] == []


# Coroutines


def meeting():
    """Two loaders that end only if both have begun."""
    here, there = asyncio.Event(), asyncio.Event()

    async def first(request):
        here.set()
        await asyncio.wait_for(there.wait(), 10)
        return "first"

    async def second(request):
        there.set()
        await asyncio.wait_for(here.wait(), 10)
        return "second"

    return first, second


def test_coroutine__siblings_run_concurrently(resolve):
    first, second = meeting()
    envelope = resolve(("first", lazy(first)), ("between", 1), ("second", lazy(second)))
    assert merged([envelope]) == {"first": "first", "between": 1, "second": "second"}


def test_coroutine__siblings_run_concurrently_behind_a_dependency(resolve):
    first, second = meeting()

    async def needy(request, base):
        return [base, await first(request)]

    envelope = resolve(
        ("needy", lazy(needy, depends_on=["base"])),
        ("second", lazy(second)),
        ("base", lazy(lambda request: 1)),
    )
    assert merged([envelope]) == {"needy": [1, "first"], "second": "second", "base": 1}


def test_coroutine__one_fails_and_its_siblings_go_on(resolve):
    first, second = meeting()
    envelope = resolve(
        ("first", lazy(first)),
        ("failing", lazy(raising_async(ValueError()))),
        ("cancelled", lazy(raising_async(asyncio.CancelledError()))),
        ("second", lazy(second)),
    )
    assert merged([envelope]) == {"first": "first", "second": "second"}
    assert [error["part"] for error in envelope["errors"]] == ["failing", "cancelled"]


def test_coroutine__chains_of_them(resolve):
    async def load(request, **given):
        return sum(given.values(), 1)

    envelope = resolve(
        ("c", lazy(load, depends_on=["a", "b"])),
        ("b", lazy(load, depends_on=["a"])),
        ("a", lazy(load)),
        ("plain", lazy(lambda request, c: c, depends_on=["c"])),
    )
    assert merged([envelope]) == {"a": 1, "b": 2, "c": 4, "plain": 4}


@pytest.mark.django_db(transaction=True)
def test_coroutine__uses_the_requests_database(resolve):
    Note.objects.create(text="there")

    async def read(request):
        return [note.text async for note in Note.objects.all()]

    async def write(request):
        note = await Note.objects.acreate(text="new")
        return note.text

    envelope = resolve(("read", lazy(read)), ("write", lazy(write)))
    assert merged([envelope])["write"] == "new"
    assert merged([envelope])["read"][0] == "there"
    assert Note.objects.filter(text="new").exists()


# Transactions


def write(text):
    def load(request):
        return Note.objects.create(text=text).text

    return load


def write_async(text):
    async def load(request):
        note = await Note.objects.acreate(text=text)
        return note.text

    return load


def write_and_fail(request):
    Note.objects.create(text="half")
    Note.objects.create(text="half")  # Breaks the transaction.


async def write_and_fail_async(request):
    await Note.objects.acreate(text="half")
    await Note.objects.acreate(text="half")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("good", "bad"), [(write, write_and_fail), (write_async, write_and_fail_async)]
)
def test_savepoint__a_failed_query_does_not_abort_the_siblings(resolve, good, bad):
    envelope = resolve(
        ("before", lazy(good("before"))),
        ("bad", lazy(bad)),
        ("after", lazy(good("after"))),
        ("count", lazy(lambda request: Note.objects.count())),
    )
    assert merged([envelope]) == {"before": "before", "after": "after", "count": 2}
    assert [error["code"] for error in envelope["errors"]] == ["part_failed"]
    assert sorted(Note.objects.values_list("text", flat=True)) == ["after", "before"]
    assert not connection.needs_rollback


@pytest.mark.django_db
@pytest.mark.parametrize("argument", ["key", "version"])
def test_savepoint__is_around_what_makes_a_cache_key(serve, client, empty_cache, argument):
    Note.objects.create(text="there")

    def breaking(request):
        Note.objects.create(text="there")  # The text is unique.

    cached = cached_for(60, **{argument: breaking}, shared=argument == "version")
    parts = [
        ("cached", lazy(cached(lambda request: Note.objects.count()))),
        ("sibling", lazy(lambda request: Note.objects.count())),
    ]
    assert merged([get_json(client, serve(parts=parts))]) == {"cached": 1, "sibling": 1}


@pytest.mark.django_db(transaction=True)
def test_savepoint__is_there_under_atomic_requests(serve, client):
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        url = serve(
            parts=[
                ("bad", lazy(write_and_fail)),
                ("good", lazy(write("good"))),
                ("late", lazy(write_and_fail_async)),
            ],
            chunk_size=3,
        )
        envelope = get_json(client, url)
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert envelope["results"] == [{"good": "good"}]
    assert list(Note.objects.values_list("text", flat=True)) == ["good"]


@pytest.mark.django_db
def test_savepoint__holds_the_evaluation_and_the_serializer(resolve):
    Note.objects.create(text="there")

    class Writing(serializers.BaseSerializer):
        def to_representation(self, instance):
            return write_and_fail(None)

    envelope = resolve(
        ("query", lazy(lambda request: Note.objects.extra(where=["nonsense("]).values("text"))),
        ("serializer", lazy(lambda request: 1, serializer_class=Writing)),
        ("rows", lazy(lambda request: Note.objects.values_list("text", flat=True))),
    )
    assert merged([envelope]) == {"rows": ["there"]}
    assert [error["part"] for error in envelope["errors"]] == ["query", "serializer"]


@pytest.mark.django_db
def test_savepoint__the_fallback_has_one_of_its_own(resolve):
    def count(request, exception):
        return Note.objects.count()

    def worse(request, exception):
        write_and_fail(request)

    envelope = resolve(
        ("covered", lazy(safe_call(write_and_fail, count))),
        ("worse", lazy(safe_call(write_and_fail, worse))),
        ("after", lazy(write("after"))),
    )
    assert merged([envelope]) == {"covered": 0, "after": "after"}
    assert list(Note.objects.values_list("text", flat=True)) == ["after"]


@pytest.mark.django_db
def test_savepoint__coroutines_run_one_after_another(resolve):
    seen = []

    def load(name, failing):
        async def load(request):
            seen.append(f"{name} begins")
            await asyncio.sleep(0)
            await Note.objects.acreate(text=name)
            await asyncio.sleep(0)
            seen.append(f"{name} ends")
            if failing:
                raise ValueError

        return load

    resolve(
        ("a", lazy(load("a", failing=False))),
        ("b", lazy(load("b", failing=True))),
        ("c", lazy(load("c", failing=False))),
    )
    assert seen == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]
    assert sorted(Note.objects.values_list("text", flat=True)) == ["a", "c"]


@pytest.mark.django_db(transaction=True)
def test_transaction__without_one_nothing_is_undone(resolve):
    envelope = resolve(("bad", lazy(write_and_fail)), ("good", lazy(write("good"))))
    assert merged([envelope]) == {"good": "good"}
    assert sorted(Note.objects.values_list("text", flat=True)) == ["good", "half"]
