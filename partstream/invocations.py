"""A loader that is called from Python: the same order of things as in a part."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from rest_framework.request import Request

from . import fragments
from .backends.loader import get_executor
from .exceptions import Misuse, PartTimeout
from .flights import LOST, POLL_SECONDS, Flight, Flights, Turn, get_flights
from .identity import get_identity
from .scopes import Scope
from .timeouts import atomic_aliases, in_database, wait_for

if TYPE_CHECKING:
    from .loaders import Loader


async def awaited(coroutine: Any) -> Any:
    """What a coroutine returns, for ``async_to_sync``, which takes functions only."""
    return await coroutine


def invoke(loader: Loader, request: Any, args: Any, kwargs: Any) -> Any:
    """What a plain loader gives: from the cache, from whoever makes it already, or made now."""
    key = _key(loader, request, args, kwargs)
    if key is None:
        return _covered(loader, request, args, kwargs)[0]
    flights = get_flights()
    while True:
        value = flights.store.get(key)
        if value is not None:
            return fragments.decode(value)
        flight, own = flights.board(key)
        if own:
            return fragments.decode(_own(flights, flight, loader, request, args, kwargs))
        if flight.is_nested():
            return _covered(loader, request, args, kwargs)[0]
        landed = threading.Event()
        flight.on_landing(partial(_ring, landed))
        landed.wait()
        if flight.result is not LOST:
            return fragments.decode(_value(flight))


async def invoke_async(loader: Loader, request: Any, args: Any, kwargs: Any) -> Any:
    """What an ``async def`` loader gives: as `invoke`, and nothing of it blocks the event loop."""
    key = await sync_to_async(_key)(loader, request, args, kwargs)
    if key is None:
        return (await _covered_async(loader, request, args, kwargs))[0]
    flights = get_flights()
    loop = asyncio.get_running_loop()
    while True:
        value = await sync_to_async(flights.store.get)(key)
        if value is not None:
            return fragments.decode(value)
        flight, own = flights.board(key)
        if own:
            value = await _own_async(flights, flight, loader, request, args, kwargs)
            return fragments.decode(value)
        landed = asyncio.Event()
        flight.on_landing(partial(_ring_in, loop, landed))
        await landed.wait()
        if flight.result is not LOST:
            return fragments.decode(_value(flight))


def _ring(landed: threading.Event, flight: Flight) -> None:
    landed.set()


def _ring_in(loop: asyncio.AbstractEventLoop, landed: asyncio.Event, flight: Flight) -> None:
    loop.call_soon_threadsafe(landed.set)


def _key(loader: Loader, request: Any, args: Any, kwargs: Any) -> str | None:
    """The key of what these arguments give; None where nothing is kept."""
    caching = loader.caching
    if caching is None:
        return None
    request = _for_view(request)
    owner = getattr(loader.function, "__self__", None)
    scope: Scope = getattr(owner, "make_scope", _scope)(request)
    given = fragments.encode([list(args), dict(sorted(kwargs.items()))])
    subject = f"loader:{_own_name(loader, owner)}"
    return scope.part_key(caching, subject, dependencies=[("arguments", given)])


def _own_name(loader: Loader, owner: Any) -> str:
    """The name that only this function has: two that share one would share what is kept.

    Raises:
        Misuse: When it has none.
    """
    function = getattr(loader.function, "__func__", loader.function)
    name = getattr(function, "__qualname__", "<none>")
    of_class = isinstance(owner, type)
    if "<" in name or not (owner is None or of_class or hasattr(owner, "make_scope")):
        raise Misuse(
            f"cached_for(): {loader.function!r:.120} is called from Python, and has no name that "
            "tells it from all others. Write a function of a module, or a method of a view; as a "
            "part it goes by the part's name."
        )
    label = f"{owner.__module__}.{owner.__qualname__}:" if of_class else ""
    return f"{label}{function.__module__}.{name}"


def _scope(request: Request) -> Scope:
    """Of a loader that is no view's method: every parameter of the query may matter to it."""
    path = request._request.path
    return Scope(request, None, identity=get_identity(request), path=path)


def _for_view(request: Any) -> Request:
    """DRF's request, also where a loader is called with Django's."""
    if isinstance(request, Request):
        return request
    known = Request(request)
    if hasattr(request, "user"):
        known.user = request.user
    return known


def _value(flight: Flight) -> bytes:
    """What the flight brought, or raise what it failed with."""
    result = flight.result
    if isinstance(result, BaseException):
        raise result
    value: bytes = result
    return value


def _own(
    flights: Flights, flight: Flight, loader: Loader, request: Any, args: Any, kwargs: Any
) -> bytes:
    """The value, from another process or made here; the flight is ended in any case."""
    try:
        turn = flights.claim(flight)
        while turn is Turn.WAIT:
            time.sleep(POLL_SECONDS)
            turn = flights.poll([flight])[flight]
        if turn is not Turn.RUN:
            return _arrived(flights, flight, turn)
        data, is_own = _covered(loader, request, args, kwargs)
        return _made(flights, flight, loader, fragments.encode(data), is_own)
    except BaseException as error:
        flights.end(flight, error if isinstance(error, Exception) else LOST, failed=True)
        raise


async def _own_async(
    flights: Flights, flight: Flight, loader: Loader, request: Any, args: Any, kwargs: Any
) -> bytes:
    try:
        turn = await sync_to_async(flights.claim)(flight)
        while turn is Turn.WAIT:
            await asyncio.sleep(POLL_SECONDS)
            turn = (await sync_to_async(flights.poll)([flight]))[flight]
        if turn is not Turn.RUN:
            return await sync_to_async(_arrived)(flights, flight, turn)
        data, is_own = await _covered_async(loader, request, args, kwargs)
        encode = sync_to_async(fragments.encode)
        return await sync_to_async(_made)(flights, flight, loader, await encode(data), is_own)
    except BaseException as error:
        # A cancelled owner leaves too: the next one begins anew.
        result = error if isinstance(error, Exception) else LOST
        # Not awaited: a cancelled task could be cancelled here again.
        flights.end(flight, result, failed=True)
        raise


def _arrived(flights: Flights, flight: Flight, value: Any) -> bytes:
    flights.end(flight, value)
    found: bytes = value
    return found


def _made(flights: Flights, flight: Flight, loader: Loader, value: bytes, is_own: bool) -> bytes:
    """End the flight with what was made; a fallback is handed on, and not kept."""
    caching = loader.caching
    ttl = 0 if caching is None else caching.ttl
    flights.end(flight, value, keep=value if is_own else None, ttl=ttl, failed=not is_own)
    return value


def _covered(loader: Loader, request: Any, args: Any, kwargs: Any) -> tuple[Any, bool]:
    """The data, and whether it is the function's own: a failure gives the fallback."""
    try:
        return _timed(loader, partial(loader.function, request, *args, **kwargs)), True
    except Exception as error:  # noqa: BLE001 - the boundary; recover() logs
        return loader.recover(request, error, loader.qualified_name), False


def _timed(loader: Loader, function: partial[Any]) -> Any:
    seconds = loader.timeout
    executor = get_executor()
    if seconds is None or not executor.watches_time:
        return function()
    aliases = atomic_aliases()
    if aliases and not executor.concurrent:
        with in_database(seconds, aliases, loader.qualified_name):
            return function()
    return wait_for(executor, function, seconds)


async def _covered_async(loader: Loader, request: Any, args: Any, kwargs: Any) -> tuple[Any, bool]:
    try:
        return await timed(loader.function(request, *args, **kwargs), loader.timeout), True
    except Exception as error:  # noqa: BLE001 - the boundary; recover_later() logs
        data = loader.recover_later(request, error, loader.qualified_name)
        return (await data if inspect.isawaitable(data) else data), False


async def timed(coroutine: Any, seconds: float | None) -> Any:
    """What a coroutine returns; it is cancelled after so many seconds.

    Raises:
        PartTimeout: When it was.
    """
    if seconds is None:
        return await coroutine
    task = asyncio.ensure_future(coroutine)
    try:
        # Not wait_for(): a TimeoutError of the loader's own is another matter.
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
    finally:
        task.cancel()
    raise PartTimeout("it took longer than its timeout")
