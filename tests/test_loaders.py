from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
import logging

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions as drf

from partstream import PartError, safe_call
from partstream.exceptions import Misuse
from partstream.loaders import Loader
from partstream.signatures import _SEEN_AT_MOST, _seen, signature_problem

REQUEST = object()

DENIALS = [
    PermissionDenied("no"),
    Http404("no"),
    drf.PermissionDenied(),
    drf.NotAuthenticated(),
    drf.NotFound(),
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
    drf.AuthenticationFailed(),
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
    assert record.name == "partstream.loaders"
    assert "load failed; its fallback is delivered." in record.getMessage()
    assert str(record.exc_info[1]) == "the cause"


@pytest.mark.parametrize("fallback", [list, dict, Exception, type])
def test_safe_call__refuses_a_class(fallback):
    with pytest.raises(Misuse) as caught:
        safe_call(raising(ValueError()), fallback)
    assert f"For an empty one write fallback={fallback.__name__}()." in str(caught.value)


def test_safe_call__refuses_a_second_fallback():
    once = safe_call(raising(ValueError()), None)
    with pytest.raises(Misuse, match="a loader has one fallback"):
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
