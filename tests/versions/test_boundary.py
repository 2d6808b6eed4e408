"""Bad loaders: whatever one does, and wherever it runs, it costs its own part and no other."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from contextvars import ContextVar
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, connections, transaction
from django.http import Http404
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation
from rest_framework import exceptions as drf
from rest_framework import serializers

from partstream import PartError, lazy, safe_call
from tests.example.models import Note
from tests.support.walk_client import get_json, merged, walk

color = ContextVar("color", default="none")

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="threads do not share the tests' SQLite"
)


def plain(function):
    """A loader that does this."""

    def load(request, **dependencies):
        return function()

    return load


def coroutine(function):
    """A coroutine loader that does this."""

    async def load(request, **dependencies):
        await asyncio.sleep(0)
        return function()

    return load


@pytest.fixture(params=[plain, coroutine], ids=lambda make: make.__name__)
def make(request):
    """A loader of each kind in turn."""
    return request.param


@pytest.fixture(autouse=True)
def own_surroundings():
    """What a loader changes does not reach the next test."""
    token, prefix = color.set("none"), get_script_prefix()
    with translation.override(translation.get_language()), timezone.override(None):
        yield
    set_script_prefix(prefix)
    color.reset(token)


@pytest.fixture
def beside(serve, client, executor, make):
    """Returns a bad part's error code and data, after checking that all its siblings are fine.

    They are before and after it, in its chunk and in the next one, plain and ``async def``.
    """

    def beside(function, **attributes):
        before = surroundings()
        parts = [
            ("before", lazy(plain(lambda: [surroundings(), "before"]))),
            ("bad", lazy(make(function))),
            ("after", lazy(plain(lambda: [surroundings(), "after"]))),
            ("top", lazy(lambda request, bad: bad, depends_on=["bad"])),
            ("later", lazy(coroutine(lambda: [surroundings(), "later"]))),
            ("last", lazy(plain(lambda: [surroundings(), "last"]))),
        ]
        url = serve(parts=parts, executor=executor, chunk_size=3, **attributes)
        envelopes = walk(client, url)
        results = merged(envelopes)
        for name in ("before", "after", "later", "last"):
            assert results.pop(name) == [before, name]
        codes = {
            error["part"]: error["code"]
            for envelope in envelopes
            for error in envelope.get("errors", [])
        }
        if "top" in results:
            assert results.pop("top") == results["bad"]
        else:
            assert codes.pop("top") == "dependency_failed"
        assert surroundings() == before
        return codes.get("bad"), results.get("bad")

    return beside


def surroundings():
    zone = timezone.get_current_timezone_name()
    return [color.get(), translation.get_language(), zone, get_script_prefix()]


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Compared(Exception):
    def __eq__(self, other):
        raise RuntimeError("not to be compared")

    __hash__ = None


def circular():
    error = ValueError("circular")
    error.__cause__ = error.__context__ = error
    return error


def shared():
    return SHARED


SHARED = ValueError("one instance, raised by all")

RAISED = {
    "ValueError": (ValueError, "part_failed"),
    "KeyError": (lambda: KeyError(object()), "part_failed"),
    "MemoryError": (MemoryError, "part_failed"),
    "RecursionError": (RecursionError, "part_failed"),
    "AssertionError": (AssertionError, "part_failed"),
    "StopIteration": (StopIteration, "part_failed"),
    "StopAsyncIteration": (StopAsyncIteration, "part_failed"),
    "CancelledError": (asyncio.CancelledError, "part_failed"),
    "TimeoutError": (asyncio.TimeoutError, "part_failed"),
    "InvalidStateError": (asyncio.InvalidStateError, "part_failed"),
    "APIException": (lambda: drf.APIException({"secret": ["hunter2"]}), "part_failed"),
    "ValidationError": (lambda: drf.ValidationError({"secret": ["hunter2"]}), "part_invalid"),
    "Throttled": (lambda: drf.Throttled(7), "part_throttled"),
    "PermissionDenied": (PermissionDenied, "part_forbidden"),
    "Http404": (Http404, "part_not_found"),
    "PartError": (lambda: PartError("Shut.", code="shut"), "shut"),
    "unspeakable": (Unspeakable, "part_failed"),
    "not to be compared": (Compared, "part_failed"),
    "circular": (circular, "part_failed"),
    "one for all": (shared, "part_failed"),
}


@pytest.mark.parametrize("named", RAISED)
def test_bad_loader__that_raises(beside, named):
    make_error, code = RAISED[named]

    def fail():
        raise make_error()

    assert beside(fail) == (code, None)


def test_bad_loader__that_recurses(beside):
    def recurse():
        return recurse()

    assert beside(recurse) == ("part_failed", None)


def nested(depth):
    data = []
    for _ in range(depth):
        data = [data]
    return data


def cyclic():
    data = {}
    data["data"] = [data]
    return data


def rows():
    yield 1
    raise ConnectionError("hunter2")


async def never_awaited():
    return 1


class Hostile:
    """An object all of whose methods fail."""

    def __getattr__(self, name):
        raise RuntimeError("hunter2")


class HostileList(list):
    def __iter__(self):
        raise RuntimeError("hunter2")


class Strict(serializers.Serializer):
    number = serializers.IntegerField()


JUNK = {
    "object": (object, "not_serializable"),
    "class": (lambda: Hostile, "not_serializable"),
    "function": (lambda: len, "not_serializable"),
    "NaN": (lambda: float("nan"), "not_serializable"),
    "infinity": (lambda: [float("-inf")], "not_serializable"),
    "surrogate": (lambda: {"text": "\ud800"}, "not_serializable"),
    "bytes": (lambda: b"\xff\xfe", "not_serializable"),
    "tuple as a key": (lambda: {(1, 2): 3}, "not_serializable"),
    "cycle": (cyclic, "not_serializable"),
    "nesting": (lambda: nested(100_000), "not_serializable"),
    "digits": (lambda: 10**10_000, "not_serializable"),
    "generator": (rows, "part_failed"),
    "an object that fails": (Hostile, "part_failed"),
    "a list that fails": (lambda: HostileList([1]), "part_failed"),
    "an iterator that fails": (lambda: iter(rows()), "part_failed"),
    "a serializer's data that fails": (lambda: Strict(instance={}).data, "part_failed"),
}


@pytest.mark.parametrize("named", JUNK)
def test_bad_loader__that_returns_junk(beside, named):
    make_junk, code = JUNK[named]
    assert beside(make_junk) == (code, None)


# On Python 3.10 and 3.11 the depth of the stack counts, too: what a thread with a short one has
# written a thread with a long one may not be able to read.
@pytest.mark.parametrize("depths", [[100, 500, 2000, 50_000], range(800, 1000, 10)], ids=repr)
def test_bad_loader__that_nests_its_data(serve, client, executor, make, depths):
    for depth in depths:
        parts = [
            ("bad", lazy(make(partial(nested, depth)))),
            ("top", lazy(lambda request, bad: 1, depends_on=["bad"])),
            ("after", lazy(plain(lambda: 2))),
        ]
        answer = client.get(serve(parts=parts, executor=executor, chunk_size=3))
        assert answer.status_code == 200
        assert b'{"after":2}' in answer.content


def test_bad_loader__that_returns_a_coroutine(beside, make):
    code, data = beside(never_awaited)
    assert (code, data) == (None, 1) if make is plain else ("not_serializable", None)


def test_bad_loader__that_changes_its_surroundings(beside):
    def change():
        color.set("red")
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        set_script_prefix("/deep/")
        return "changed"

    assert beside(change) == (None, "changed")


def test_bad_loader__that_deactivates_everything(beside):
    def change():
        translation.deactivate_all()
        timezone.deactivate()
        return "changed"

    with translation.override("de"), timezone.override("Asia/Tokyo"):
        assert beside(change) == (None, "changed")


def test_bad_loader__that_changes_them_and_fails(beside):
    def change():
        color.set("red")
        translation.activate("de")
        raise ValueError

    assert beside(change) == ("part_failed", None)


def test_bad_loader__with_a_fallback_that_does_the_same(serve, client, executor, make):
    def change():
        translation.activate("de")
        raise ValueError

    def recover(request, error):
        translation.activate("fr")
        return "covered"

    parts = [
        ("bad", lazy(safe_call(make(change), recover))),
        ("after", lazy(plain(translation.get_language))),
    ]
    url = serve(parts=parts, executor=executor)
    before = translation.get_language()
    assert merged([get_json(client, url)]) == {"bad": "covered", "after": before}
    assert translation.get_language() == before


# With a database


def count():
    return Note.objects.count()


async def count_later(request):
    return await Note.objects.acount()


def close():
    Note.objects.count()
    connection.close()


def close_all():
    connections.close_all()


def spoil_autocommit():
    connection.set_autocommit(False)
    Note.objects.count()


def leave_a_failed_query():
    try:
        Note.objects.create(text="there")
    except IntegrityError:
        return "handled"
    return "not refused"


def leave_an_atomic_block():
    transaction.atomic().__enter__()
    return Note.objects.count()


def half_a_generator():
    with transaction.atomic():
        yield Note.objects.count()
        raise ValueError


SPOILERS = [close, close_all, spoil_autocommit, leave_a_failed_query, half_a_generator]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "spoil"),
    # A connection of the request's own that no longer commits is the request's own affair.
    [("inline", spoil) for spoil in SPOILERS if spoil is not spoil_autocommit]
    + [
        pytest.param("threads", spoil, marks=on_postgresql)
        for spoil in (*SPOILERS, leave_an_atomic_block)
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_loader__that_spoils_its_connection(serve, client, executors, kind, spoil):
    Note.objects.create(text="there")
    executor = f"partstream.backends.executors.{kind}." + (
        "InlineExecutor" if kind == "inline" else "ThreadExecutor"
    )
    if kind == "threads":
        executor = {"BACKEND": executor, "OPTIONS": {"max_workers": 1}}
    parts = [
        ("before", lazy(plain(count))),
        ("bad", lazy(plain(spoil))),
        ("after", lazy(plain(count))),
        ("later", lazy(count_later)),
        ("written", lazy(plain(lambda: Note.objects.create(text="new").text))),
    ]
    url = serve(parts=parts, executor=executor, chunk_size=5)
    envelope = get_json(client, url)
    results = merged([envelope])
    results.pop("bad", None)
    later = results.pop("later")
    assert results == {"before": 1, "after": 1, "written": "new"}
    assert later in {1, 2}  # It may be beside the one that writes.
    connection.close()
    assert sorted(Note.objects.values_list("text", flat=True)) == ["new", "there"]


def roll_back():
    Note.objects.create(text="half")
    transaction.set_rollback(True)


def fail_late():
    Note.objects.create(text="half")
    Note.objects.create(text="there")


@pytest.mark.django_db
@pytest.mark.parametrize("spoil", [roll_back, fail_late, leave_a_failed_query])
def test_bad_loader__that_spoils_the_requests_transaction(serve, client, make, spoil):
    Note.objects.create(text="there")
    parts = [
        ("before", lazy(plain(lambda: Note.objects.create(text="before").text))),
        ("bad", lazy(make_safe(make, spoil))),
        ("after", lazy(plain(lambda: Note.objects.create(text="after").text))),
        ("later", lazy(count_later)),
    ]
    results = merged([get_json(client, serve(parts=parts, chunk_size=4))])
    results.pop("bad", None)
    assert results == {"before": "before", "after": "after", "later": 3}
    assert not connection.needs_rollback
    assert sorted(Note.objects.values_list("text", flat=True)) == ["after", "before", "there"]


def make_safe(make, spoil):
    """A loader that does this; the ORM is not for an event loop."""
    if make is plain:
        return plain(spoil)

    async def load(request):
        return await sync_to_async(spoil)()

    return load


# Memory


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before, Python's JSON encoder itself takes more than that"
)
def test_part__is_freed_before_its_json_is_copied(serve, client):
    def load(request):
        tracemalloc.reset_peak()
        return [f"{number:0100}" for number in range(40_000)]

    url = serve(parts=[("large", lazy(load))])
    tracemalloc.start()
    try:
        size = len(client.get(url).content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The strings take 1.5 times their JSON, and two copies of the JSON take twice that.
    assert peak < 3.4 * size
