from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
import itertools
import logging
import math
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from unittest.mock import ANY
from uuid import UUID

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import RequestFactory
from django.urls import path
from django.utils.translation import gettext_lazy
from rest_framework import exceptions as drf
from rest_framework.request import Request

from partstream import PartError, ProgressiveView, cached_for, lazy, safe_call, with_timeout
from partstream.caching.cache_keys import Caching
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import EndpointFailed, Misuse, PartTimeout
from partstream.parts.declaration import PartList
from partstream.parts.fragment import NotSerializable
from partstream.parts.loader import Loader
from partstream.parts.signatures import _SEEN_AT_MOST, _seen, signature_problem
from partstream.setting_kinds import LONGEST_TTL
from partstream.testing import collect
from tests.support.concurrency import PATIENCE, HeldCoroutine, in_background, in_threads, wait_until
from tests.support.marks import timed
from tests.support.module_loaders import of_module
from tests.support.stores import NotingStore
from tests.support.walk_client import get_json, merged

pytestmark = pytest.mark.usefixtures("empty_cache")

REQUEST = object()

DENIALS = [
    PermissionDenied("no"),
    Http404("no"),
    drf.PermissionDenied(),
    drf.NotAuthenticated(),
    drf.AuthenticationFailed(),
    drf.NotFound(),
    EndpointFailed(403),
    EndpointFailed(404),
]
UNCOVERED = [
    *DENIALS,
    asyncio.CancelledError(),
    concurrent.futures.CancelledError(),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
]
COVERED = [
    ValueError("no"),
    PartError("Closed.", code="closed"),
    drf.ValidationError("no"),
    drf.Throttled(7),
    EndpointFailed(400),
    TimeoutError(),
    RecursionError(),
    MemoryError(),
]


def raising(error):
    def load(request):
        raise error

    return load


def raising_async(error):
    async def load(request):
        raise error

    return load


def call(loader, *args):
    """What the loader gives, plain or async."""

    async def awaited():
        return await loader(REQUEST, *args)

    return async_to_sync(awaited)() if loader.is_async else loader(REQUEST, *args)


@pytest.fixture(params=[raising, raising_async], ids=["plain", "async"])
def failing(request):
    return request.param


@pytest.mark.parametrize("fallback", [None, 0, False, "", [], {}, (), 0.0, b"", {"a": 1}], ids=repr)
def test_safe_call__delivers_the_fallback_as_it_is(failing, fallback):
    assert call(safe_call(failing(ValueError()), fallback)) is fallback


def test_safe_call__leaves_a_success_alone():
    assert call(safe_call(lambda request: None, fallback=7)) is None
    assert call(safe_call(lambda request, a: [request, a], fallback=7), 1) == [REQUEST, 1]


@pytest.mark.parametrize("error", COVERED, ids=lambda error: type(error).__name__)
def test_safe_call__covers(failing, error):
    assert call(safe_call(failing(error), fallback="covered")) == "covered"


@pytest.mark.parametrize("error", DENIALS, ids=itertools.count())
def test_safe_call__does_not_cover_a_denial(failing, error):
    with pytest.raises(type(error)):
        call(safe_call(failing(error), fallback="covered"))


@pytest.mark.parametrize("error", UNCOVERED, ids=itertools.count())
def test_safe_call__does_not_cover_what_ends_the_call(error):
    with pytest.raises(type(error)) as caught:
        safe_call(raising(error), fallback="covered")(REQUEST)
    assert caught.value is error


def test_safe_call__a_fallback_function_gets_request_and_exception(failing):
    error = ValueError("no")
    seen = []

    def fallback(request, exception):
        seen.append((request, exception))
        return []

    assert call(safe_call(failing(error), fallback)) == []
    assert seen == [(REQUEST, error)]


def test_safe_call__a_fallback_function_may_be_async(failing):
    async def fallback(request, exception):
        await asyncio.sleep(0)
        return [str(exception)]

    loader = safe_call(failing(ValueError("no")), fallback)
    if loader.is_async:
        assert call(loader) == ["no"]
    else:
        assert loader.recover(REQUEST, ValueError("no"), "It") == ["no"]


def test_safe_call__a_called_plain_loader_awaits_an_async_fallback():
    async def fallback(request, exception):
        return "awaited"

    assert safe_call(raising(ValueError()), fallback)(REQUEST) == "awaited"


def test_safe_call__what_the_fallback_raises_is_raised(failing):
    def fallback(request, exception):
        raise KeyError("worse")

    with pytest.raises(KeyError, match="worse"):
        call(safe_call(failing(ValueError()), fallback))


def test_safe_call__logs_once(failing, caplog):
    call(safe_call(failing(ValueError("the cause")), fallback=[]))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "partstream.parts"
    assert "load failed; its fallback is delivered." in record.getMessage()
    assert str(record.exc_info[1]) == "the cause"


@pytest.mark.parametrize("fallback", [list, dict, Exception, type])
def test_safe_call__refuses_a_class(fallback):
    with pytest.raises(Misuse) as caught:
        safe_call(raising(ValueError()), fallback)
    assert f"For an empty one write fallback={fallback.__name__}()." in str(caught.value)


def test_safe_call__refuses_a_second_fallback():
    once = safe_call(raising(ValueError()), None)
    with pytest.raises(Misuse, match="a loader can have one fallback"):
        safe_call(once, [])


@pytest.mark.parametrize("func", [None, 7, [], {"a": 1}])
def test_safe_call__refuses_what_cannot_be_called(func):
    with pytest.raises(Misuse) as caught:
        safe_call(func, [])
    assert f"safe_call() takes a function of (request), not {type(func).__name__}." in str(
        caught.value
    )


def test_loader__binds_as_a_method_does():
    class View:
        def load(self, request):
            return [self, request]

        load_safely = safe_call(load, fallback=[])

    view = View()
    assert view.load_safely(REQUEST) == [view, REQUEST]
    assert isinstance(View.load_safely, Loader)


def test_safe_call__takes_the_name_of_a_method():
    class View:
        def load(self, request):
            raise ValueError

        load_safely = safe_call("load", fallback=[])

    view = View()
    assert view.load_safely(REQUEST) == []
    assert view.load_safely.function == view.load
    assert View.load_safely.function == "load"


def test_loader__of_an_object_that_is_called_does_not_bind():
    class Rates:
        def __call__(self, request):
            return ["rates", request]

    class View:
        load = safe_call(Rates(), fallback=[])

    assert View().load(REQUEST) == ["rates", REQUEST]


def test_loader__knows_whether_it_is_async():
    async def load(request):
        return 1

    assert Loader(load).is_async
    assert Loader(functools.partial(load)).is_async
    assert not Loader(lambda request: 1).is_async
    assert not Loader(load).has_fallback
    assert safe_call(load, None).has_fallback


def test_signature_problem__what_was_seen_does_not_pile_up():
    loader = Loader(lambda request, **dependencies: 1)
    for number in range(_SEEN_AT_MOST + 10):
        assert signature_problem(loader, (f"p{number}",)) is None
    assert len(_seen) <= _SEEN_AT_MOST


# One loader, with all that may be around it


def rates(request):
    return {"USD": 1.08}


def closed(request, error):
    return "closed"


WRAPPERS = {
    "fallback": lambda func: safe_call(func, closed),
    "timeout": lambda func: with_timeout(func, 5),
    "caching": cached_for(60, shared=True, vary=["X-Tenant"]),
}
ORDERS = list(itertools.permutations(WRAPPERS))


def wrapped(func, order=tuple(WRAPPERS)):
    for name in order:
        func = WRAPPERS[name](func)
    return func


def request_of(query="", user=None, **headers):
    """A request as a view gets it; two users are two identities, no user is none."""
    request = Request(RequestFactory().get("/somewhere/" + query, headers=headers))
    request.user = AnonymousUser() if user is None else User(pk=user)
    return request


def call_with(loader, request, *args, **kwargs):
    """What the loader gives, plain or async."""
    if not loader.is_async:
        return loader(request, *args, **kwargs)

    async def awaited():
        return await loader(request, *args, **kwargs)

    return async_to_sync(awaited)()


@pytest.mark.parametrize("order", ORDERS, ids=",".join)
@pytest.mark.parametrize("func", [rates, "get_rates"], ids=["function", "name"])
def test_loader__is_the_same_in_whatever_order_it_is_written(func, order):
    loader = wrapped(func, order)
    assert loader == Loader(func, closed, 5.0, Caching(60, True, ("X-Tenant",), None))
    part = lazy(wrapped(func, [name for name in order if name != "timeout"]), timeout=5)
    assert part.loader == loader


@pytest.mark.parametrize("order", ORDERS, ids=",".join)
def test_loader__does_the_same_in_whatever_order_it_is_written(order, calls):
    loader = wrapped(of_module(calls.loader("ran", (1, 2))), order)
    assert [loader(request_of()), loader(request_of())] == [[1, 2], [1, 2]]
    assert calls == ["ran"]
    assert wrapped(of_module(raising(ValueError()), "second"), order)(request_of()) == "closed"


def test_loader__is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        wrapped(rates).timeout = 1


class Rates:
    """Has a loader of each kind."""

    def method(self, request):
        return {"USD": 1.08}

    async def coroutine(self, request):
        return {"USD": 1.08}

    @staticmethod
    def static(request):
        return {"USD": 1.08}

    def __call__(self, request):
        return {"USD": 1.08}


class AsyncRates:
    async def __call__(self, request):
        return {"USD": 1.08}


def of_currency(currency, request):
    return {currency: 1.08}


async def of_currency_later(currency, request):
    return {currency: 1.08}


KINDS = {
    "function": rates,
    "lambda": lambda request: {"USD": 1.08},
    "method": Rates().method,
    "async method": Rates().coroutine,
    "staticmethod": Rates.static,
    "callable object": Rates(),
    "async callable object": AsyncRates(),
    "partial": functools.partial(of_currency, "USD"),
    "async partial": functools.partial(of_currency_later, "USD"),
}


#: Of these, the ones that have a name of their own.
NAMED = {"function", "staticmethod"}


@pytest.mark.parametrize("kind", KINDS)
def test_loader__takes_functions_of_every_kind(kind):
    loader = wrapped(KINDS[kind], ["fallback", "timeout"])
    assert loader.is_async is kind.startswith("async")
    for _ in range(2):
        assert call_with(loader, request_of()) == {"USD": 1.08}


@pytest.mark.parametrize("kind", KINDS)
def test_loader__called_from_python_is_kept_by_its_name(kind):
    loader = wrapped(KINDS[kind])
    for _ in range(2):
        if kind in NAMED:
            assert call_with(loader, request_of()) == {"USD": 1.08}
        else:
            with pytest.raises(Misuse, match="no import path leads to it"):
                call_with(loader, request_of())


@pytest.mark.parametrize("kind", KINDS)
def test_loader__of_every_kind_is_a_part(kind, serve, client):
    url = serve(parts=[("rates", lazy(wrapped(KINDS[kind])))], authentication_classes=[])
    for _ in range(2):
        assert get_json(client, url)["results"] == [{"rates": {"USD": 1.08}}]


class NamedView(ProgressiveView):
    """Decorated methods; what lazy() adds by their names goes around them."""

    chunk_size = 10
    authentication_classes = ()
    parts = [
        ("plain", lazy("get_plain")),
        ("cached", lazy("get_cached")),
        ("covered", lazy(safe_call("get_failing", fallback="covered"))),
        ("later", lazy("get_later", timeout=5)),
        ("renamed", lazy("get_renamed")),
        ("static", lazy("get_static")),
    ]

    def get_plain(self, request):
        return "plain"

    @cached_for(60, shared=True)
    def get_cached(self, request):
        return [type(self).__name__, next(RUNS)]

    @cached_for(60, shared=True)
    def get_failing(self, request):
        raise ValueError

    @cached_for(60, shared=True)
    async def get_later(self, request):
        return next(RUNS)

    get_renamed = cached_for(60, shared=True)("get_plain")

    @cached_for(60, shared=True)
    @staticmethod
    def get_static(request):
        return request.method


RUNS = itertools.count()


class InheritingView(NamedView):
    def get_plain(self, request):
        return "inherited"

    @cached_for(60, shared=True)
    def get_cached(self, request):
        return ["super", *super().get_cached(request)]


def test_loader__a_decorated_method_is_named_as_any_other(mount, client):
    mount(path("named/", NamedView.as_view()), path("more/", InheritingView.as_view()))
    first, again = (merged([get_json(client, "/named/")]) for _ in range(2))
    assert first == again
    assert first == {
        "plain": "plain",
        "cached": ["NamedView", ANY],
        "covered": "covered",
        "later": ANY,
        "renamed": "plain",
        "static": "GET",
    }
    inherited = merged([get_json(client, "/more/")])
    assert (inherited["plain"], inherited["renamed"]) == ("inherited", "inherited")


def test_loader__a_decorated_method_may_call_the_one_that_it_overrides(mount, client):
    mount(path("more/", InheritingView.as_view()))
    inherited = merged([get_json(client, "/more/")])
    assert inherited["cached"] == ["super", "InheritingView", ANY]
    assert inherited == merged([get_json(client, "/more/")])


class BindingView(ProgressiveView):
    authentication_classes = ()
    owner = "base"

    def load(self, request):
        return [self.owner, type(self).__name__, next(RUNS)]

    load_bound = wrapped(load)
    load_by_name = wrapped("load")

    def get_identity(self, request):
        return request.headers.get("tenant")

    @cached_for(60)
    def load_own(self, request):
        return next(RUNS)


class OtherBindingView(BindingView):
    pass


def view_of(cls, **attributes):
    view = cls(**attributes)
    view.setup(RequestFactory().get("/somewhere/"))
    return view


def test_loader__binds_with_all_that_is_around_it():
    assert BindingView.load_bound.function is BindingView.__dict__["load"]
    assert BindingView.load_by_name.function == "load"
    view = view_of(BindingView, owner="instance")
    for loader in (view.load_bound, view.load_by_name):
        assert loader.function == view.load
        assert (loader.fallback, loader.timeout) == (closed, 5.0)
        assert loader.caching == Caching(60, True, ("X-Tenant",), None)
    assert view.load_bound(request_of())[:2] == ["instance", "BindingView"]


@pytest.mark.parametrize("name", WRAPPERS)
def test_loader__has_each_thing_around_it_once(name):
    once = wrapped(rates)
    with pytest.raises(Misuse, match="Keep one of them"):
        WRAPPERS[name](once)
    with pytest.raises(Misuse, match="Keep one of them"):
        WRAPPERS[name](WRAPPERS[name]("get_rates"))
    if name == "timeout":
        with pytest.raises(Misuse, match=r"lazy\(timeout=\.\.\.\)"):
            lazy(once, timeout=5)


@pytest.mark.parametrize("name", WRAPPERS)
def test_loader__what_is_around_a_named_method_already_is_misuse_of_that_part(name):
    with pytest.raises(Misuse) as caught:
        PartList(
            [("rates", lazy(WRAPPERS[name]("get_rates")))],
            owner=type("ShopView", (), {"get_rates": wrapped(rates)}),
            static=True,
        )
    assert str(caught.value).startswith("ShopView: part 'rates': ")
    assert "Keep one of them." in str(caught.value)


def test_loader__named_after_itself_is_misuse():
    class View:
        get_rates = safe_call("get_rates", fallback=[])

    with pytest.raises(Misuse):
        View().get_rates(REQUEST)


@pytest.mark.parametrize("found", [None, 7, "get_other", []], ids=repr)
def test_loader__the_named_method_has_to_be_one(found):
    view = SimpleNamespace(get_rates=found)
    with pytest.raises(Misuse, match="'get_rates'"):
        Loader("get_rates").bound_to(view)


@pytest.mark.parametrize(
    "ttl",
    [0, -1, 1.5, 60.0, True, "60", None, rates, timedelta(minutes=1), LONGEST_TTL + 1],
    ids=itertools.count(),
)
def test_cached_for__takes_whole_seconds(ttl):
    with pytest.raises(Misuse) as caught:
        cached_for(ttl)
    assert "write whole seconds, for example cached_for(300)." in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"shared": 1}, "True or False"),
        ({"shared": None}, "True or False"),
        ({"shared": True, "key": closed}, "one of them at most"),
        ({"vary": "X-Tenant"}, "write a list of headers, ['X-Tenant']."),
        ({"vary": [b"X-Tenant"]}, "write a list of headers, ['X-Tenant']."),
        ({"vary": None}, "write a list of headers, ['X-Tenant']."),
        ({"vary": {"X-Tenant"}}, "write a list of headers, ['X-Tenant']."),
        ({"key": "tenant"}, "write a function of (request)."),
        ({"key": 7}, "write a function of (request)."),
        ({"version": "1"}, "write a function of (request)."),
    ],
    ids=itertools.count(),
)
def test_cached_for__refuses_what_it_cannot_keep_by(arguments, says):
    with pytest.raises(Misuse) as caught:
        cached_for(60, **arguments)
    assert str(caught.value).startswith("cached_for(")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "seconds",
    [0, 0.0, -1, math.nan, math.inf, True, "2", None, timedelta(seconds=2), LONGEST_TTL + 1],
    ids=itertools.count(),
)
def test_with_timeout__takes_seconds(seconds):
    with pytest.raises(Misuse, match="a timeout is a number of seconds above zero"):
        with_timeout(rates, seconds)
    if seconds is not None:
        with pytest.raises(Misuse, match="a timeout is a number of seconds above zero"):
            lazy(rates, timeout=seconds)


@pytest.mark.parametrize("func", [None, 7, [], {"USD": 1.08}], ids=repr)
@pytest.mark.parametrize(
    ("wrapper", "named"),
    [(lambda func: with_timeout(func, 2), "with_timeout()"), (cached_for(60), "cached_for()")],
    ids=["with_timeout", "cached_for"],
)
def test_loader__refuses_what_cannot_be_called(wrapper, named, func):
    with pytest.raises(Misuse) as caught:
        wrapper(func)
    assert str(caught.value) == (
        f"{named} takes a function of (request), not {type(func).__name__}. "
        "Pass the function itself, without calling it."
    )


# Called from Python: what is kept, and for whom


class Noted:
    """A loader that notes what it was called with, and gives it back."""

    def __init__(self, is_async):
        self.calls = []

        def load(request, *args, **kwargs):
            self.calls.append((args, kwargs))
            return [args, dict(sorted(kwargs.items())), len(self.calls)]

        async def load_later(request, *args, **kwargs):
            return load(request, *args, **kwargs)

        self.function = of_module(load_later if is_async else load)


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def noted(request):
    return Noted(request.param)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({"day": date(2026, 11, 23), 1: Decimal("1.10")}, {"day": "2026-11-23", "1": 1.1}),
        ({"id": UUID(int=7), "text": gettext_lazy("Yes")}, {"id": str(UUID(int=7)), "text": "Yes"}),
        (None, None),
        (0, 0),
        ("", ""),
        ([], []),
        (False, False),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_cached_for__gives_json_data_on_hit_and_miss(is_async, data, seen, calls):
    load = calls.loader("ran", data)

    async def load_later(request):
        return load(request)

    loader = cached_for(60, shared=True)(of_module(load_later if is_async else load))
    miss, hit = (call_with(loader, request_of()) for _ in range(2))
    assert miss == hit == seen
    assert type(miss) is type(hit) is type(seen)
    assert calls == ["ran"]


def test_cached_for__without_it_data_is_what_the_function_returned():
    data = (date(2026, 11, 23), object())
    assert wrapped(lambda request: data, ["fallback", "timeout"])(request_of()) is data


def test_cached_for__callers_cannot_change_an_entry(noted):
    loader = cached_for(60, shared=True)(noted.function)
    for _ in range(3):
        data = call_with(loader, request_of())
        assert data == [[], {}, 1]
        data.clear()


def test_cached_for__data_belongs_to_its_arguments(noted):
    loader = cached_for(60, shared=True)(noted.function)
    given = [
        ((), {}),
        ((1,), {}),
        ((True,), {}),
        (("1",), {}),
        ((None,), {}),
        ((1, 2), {}),
        (([1, 2],), {}),
        ((), {"year": 1}),
        ((), {"year": "1"}),
        ((), {"month": 1}),
        ((), {"year": 1, "month": 1}),
        (({"year": 1},), {}),
        ((1,), {"year": 1}),
    ]
    for _ in range(2):
        for number, (args, kwargs) in enumerate(given, 1):
            data = call_with(loader, request_of(), *args, **kwargs)
            assert data == [list(args), dict(sorted(kwargs.items())), number]
    assert call_with(loader, request_of(), month=1, year=1)[2] == 11
    assert noted.calls == given


def test_cached_for__refuses_arguments_that_no_key_can_tell_apart(noted):
    loader = cached_for(60, shared=True)(noted.function)
    generator = (number for number in (1, 2))
    for argument in (object(), {1, 2}, math.nan, {"a": object()}, date(2026, 1, 1), generator):
        with pytest.raises(Misuse, match="arguments that cannot be part of a cache key"):
            call_with(loader, request_of(), argument)
        with pytest.raises(Misuse, match="arguments that cannot be part of a cache key"):
            call_with(loader, request_of(), year=argument)
    assert list(generator) == [1, 2]
    assert noted.calls == []


def test_cached_for__two_functions_share_nothing():
    one = cached_for(60, shared=True)(Rates.static)
    other = cached_for(60, shared=True)(rates)
    assert one(request_of()) == other(request_of())
    assert len(get_single_flight().store._cache._cache) == 2


class Rate:
    def __init__(self, currency):
        self.currency = currency

    def load(self, request):
        return self.currency


def test_cached_for__methods_of_two_objects_share_nothing():
    seen = []
    for currency in ("USD", "EUR"):
        try:
            seen.append(cached_for(60, shared=True)(Rate(currency).load)(request_of()))
        except Misuse:
            seen.append(currency)  # As good: nothing tells the two apart.
    assert seen == ["USD", "EUR"]


def test_cached_for__keeps_an_entry_an_identity(noted):
    loader = cached_for(60)(noted.function)
    for number, user in [(1, 7), (2, 8), (1, 7), (2, 8)]:
        assert call_with(loader, request_of(user=user)) == [[], {}, number]


def test_cached_for__keeps_nothing_without_an_identity(noted):
    loader = cached_for(60)(noted.function)
    assert [call_with(loader, request_of())[2] for _ in range(3)] == [1, 2, 3]


def test_cached_for__asks_the_view_whose_data_it_is():
    view = view_of(BindingView)
    one, other = (view.load_own(request_of(tenant=tenant)) for tenant in "ab")
    assert one != other
    assert view.load_own(request_of(tenant="a")) == one
    assert view_of(BindingView).load_own(request_of(tenant="a", user=7)) == one
    assert view.load_own(request_of(user=7)) != view.load_own(request_of(user=7))


def test_cached_for__two_views_share_nothing():
    views = [view_of(cls) for cls in (BindingView, OtherBindingView)]
    one, other = ([view.load_bound(request_of()) for _ in range(2)] for view in views)
    assert one[0] == one[1] != other[0] == other[1]
    assert (one[0][1], other[0][1]) == ("BindingView", "OtherBindingView")


class CallingView(ProgressiveView):
    """Its parts share the data of a loader that they call."""

    authentication_classes = ()
    chunk_size = 1
    parts = [(name, lazy("get_part")) for name in ("first", "second", "third")]

    def get_part(self, request):
        return self.get_rates(request)

    @cached_for(60, shared=True)
    def get_rates(self, request):
        return next(RUNS)


def test_cached_for__called_by_a_part_does_not_go_by_the_cursor(mount, client):
    mount(path("calling/", CallingView.as_view()))
    seen = dict(collect(client, "/calling/?year=1"))
    assert len(set(seen.values())) == 1
    assert set(collect(client, "/calling/?year=2").values()).isdisjoint(seen.values())


def test_cached_for__takes_a_key_for_the_identity(noted):
    loader = cached_for(60, key=lambda request: request.headers.get("tenant"))(noted.function)
    for number, tenant in [(1, "a"), (2, "b"), (1, "a")]:
        for user in (7, 8, None):
            assert call_with(loader, request_of(user=user, tenant=tenant))[2] == number
    assert [call_with(loader, request_of(user=7))[2] for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("key", [lambda request: 1 / 0, lambda request: 7], ids=["raises", "junk"])
def test_cached_for__a_key_that_fails_leaves_the_data_uncached(key, noted, caplog):
    loader = cached_for(60, key=key)(noted.function)
    assert [call_with(loader, request_of(user=7))[2] for _ in range(2)] == [1, 2]
    assert len(caplog.records) == 2
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_cached_for__takes_a_request_that_no_view_has_seen(noted, shared):
    # Of a task, a test, a middleware: Django's own, without a user.
    loader = cached_for(60, shared=shared)(noted.function)
    seen = [call_with(loader, RequestFactory().get("/"))[2] for _ in range(2)]
    assert seen == [1, 1] if shared else [1, 2]


def test_cached_for__ends_with_its_time(noted):
    loader = cached_for(60, shared=True)(noted.function)
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        seen = []
        for seconds in (0, 59, 2):
            clock.shift(seconds)
            seen.append(call_with(loader, request_of())[2])
    assert seen == [1, 1, 2]


class Turns:
    """A loader that raises or returns what is next."""

    def __init__(self, is_async, *turns):
        turns = iter(turns)

        def load(request):
            turn = next(turns)
            if isinstance(turn, BaseException):
                raise turn
            return turn

        async def load_later(request):
            return load(request)

        self.function = of_module(load_later if is_async else load)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("error", [*COVERED, *DENIALS], ids=itertools.count())
def test_cached_for__does_not_keep_an_exception(is_async, error):
    loader = cached_for(60, shared=True)(Turns(is_async, error, "data").function)
    with pytest.raises(type(error)) as caught:
        call_with(loader, request_of())
    assert caught.value is error
    assert [call_with(loader, request_of()) for _ in range(2)] == ["data", "data"]


def test_loader__called_from_python_raises_a_stop_iteration_as_it_is():
    error = StopIteration("empty")
    for loader in (Loader(raising(error)), cached_for(60, shared=True)(of_module(raising(error)))):
        with pytest.raises(StopIteration) as caught:
            loader(request_of())
        assert caught.value is error
    assert not get_single_flight()._flights


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_cached_for__does_not_keep_a_fallback(is_async):
    function = Turns(is_async, ValueError(), ValueError(), "data").function
    loader = cached_for(60, shared=True)(safe_call(function, ("not", "kept")))
    seen = [call_with(loader, request_of()) for _ in range(4)]
    assert seen == [["not", "kept"], ["not", "kept"], "data", "data"]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_cached_for__does_not_keep_what_is_no_json(is_async):
    loader = cached_for(60, shared=True)(Turns(is_async, object(), "data").function)
    with pytest.raises(NotSerializable):
        call_with(loader, request_of())
    assert [call_with(loader, request_of()) for _ in range(2)] == ["data", "data"]


@timed
@pytest.mark.parametrize("covered", [False, True], ids=["raised", "fallback"])
def test_cached_for__does_not_keep_a_timeout(held_of_each_kind, covered):
    held = held_of_each_kind("data")
    loader = cached_for(60, shared=True)(with_timeout(of_module(held), 0.3))
    if covered:
        assert call_with(safe_call(loader, "late"), request_of()) == "late"
    else:
        with pytest.raises(PartTimeout):
            call_with(loader, request_of())
    held.release()
    runs = held.runs
    patient = dataclasses.replace(loader, timeout=PATIENCE)
    assert [call_with(patient, request_of()) for _ in range(2)] == ["data", "data"]
    assert held.runs == runs + 1


# Called from Python: coroutines that meet


async def until_waited_for(count):
    """Return when ``count`` callers wait for the only flight."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    flights = get_single_flight()._flights
    while [len(flight._callbacks) for flight in list(flights.values())] != [count]:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


def test_async_loader__callers_are_merged(held):
    load = held("data", kind=HeldCoroutine)
    loader = cached_for(60, shared=True)(of_module(load))

    async def together():
        tasks = [asyncio.ensure_future(loader(request_of())) for _ in range(10)]
        await until_waited_for(9)
        load.release()
        return await asyncio.gather(*tasks)

    assert async_to_sync(together)() == ["data"] * 10
    assert load.runs == 1


@pytest.mark.parametrize(
    ("error", "fallback"), [(ValueError("no"), False), (ValueError("no"), True)], ids=str
)
def test_async_loader__all_callers_get_what_became_of_it(held, error, fallback):
    load = held(error=error, kind=HeldCoroutine)
    load_it = of_module(load)
    loader = cached_for(60, shared=True)(safe_call(load_it, "fallback") if fallback else load_it)

    async def together():
        tasks = [asyncio.ensure_future(loader(request_of())) for _ in range(3)]
        await until_waited_for(2)
        load.release()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert async_to_sync(together)() == (["fallback"] if fallback else [error]) * 3
    assert load.runs == 1


def test_async_loader__a_cancelled_owner_lets_the_next_begin(held):
    load = held("data", kind=HeldCoroutine)
    loader = cached_for(60, shared=True)(of_module(load))

    async def together():
        owner = asyncio.ensure_future(loader(request_of()))
        await until_waited_for(0)
        others = [asyncio.ensure_future(loader(request_of())) for _ in range(3)]
        await until_waited_for(3)
        owner.cancel()
        await until_waited_for(2)  # One of them has its place.
        load.release()
        assert await asyncio.gather(*others) == ["data"] * 3
        with pytest.raises(asyncio.CancelledError):
            await owner

    async_to_sync(together)()
    assert load.runs == 2
    assert load.cancelled.is_set()


def test_async_loader__a_cancelled_caller_does_not_affect_others(held):
    load = held("data", kind=HeldCoroutine)
    loader = cached_for(60, shared=True)(of_module(load))

    async def together():
        owner = asyncio.ensure_future(loader(request_of()))
        other = asyncio.ensure_future(loader(request_of()))
        await until_waited_for(1)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        load.release()
        return await owner

    assert async_to_sync(together)() == "data"
    assert load.runs == 1


def test_async_loader__a_caller_whose_loop_has_ended_delays_no_other(held, caplog):
    load = held("data", kind=HeldCoroutine)
    loader = cached_for(60, shared=True)(of_module(load))

    async def own():
        return await loader(request_of())

    async def give_up():
        task = asyncio.ensure_future(loader(request_of()))
        await until_waited_for(1)
        task.cancel()

    with in_background(asyncio.run, own()) as owned:
        load.wait_until_begun()
        asyncio.run(give_up())
        load.release()
        assert owned() == "data"
    assert caplog.records == []


def test_async_loader__of_several_loops_meet(held):
    load = held("data", kind=HeldCoroutine)
    loader = cached_for(60, shared=True)(of_module(load))

    def run(number):
        async def own():
            if number == 3:
                await until_waited_for(3)
                load.release()
            return await loader(request_of())

        return asyncio.run(own())

    assert in_threads(5, run) == ["data"] * 5
    assert load.runs == 1


def test_async_loader__that_asks_for_itself_does_not_wait_for_itself():
    depths = itertools.count()

    async def load(request):
        return "deep" if next(depths) else [await loader(request)]

    loader = cached_for(60, shared=True)(of_module(load))
    assert call_with(loader, request_of()) == ["deep"]


class SyncOnlyStore(NotingStore):
    """As a cache in the database: it may be asked in any thread that runs no event loop."""

    shared = True

    def __init__(self, **options):
        super().__init__(**options)
        self.shared = True

    def remove(self, key):
        """See `CacheStore.remove`."""
        refuse_event_loop()
        super().remove(key)

    def write(self, entries, ttl):
        """See `CacheStore.write`."""
        refuse_event_loop()
        super().write(entries, ttl)


def refuse_event_loop():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_async_loader__that_fails_gives_its_lock_back_outside_of_the_event_loop(settings, caplog):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "tests.unit.parts.test_loader.SyncOnlyStore"}
    loader = cached_for(60, shared=True)(of_module(raising_async(ValueError("no"))))
    store = get_single_flight().store
    with pytest.raises(ValueError, match="no"):
        call_with(loader, request_of())
    wait_until(lambda: any(operation == "write" for operation, *_ in store.trips))
    assert caplog.records == []
