"""A loader that is called from Python: the same order of things as in a part."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, reduce
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from rest_framework.request import Request

from partstream.backends.executors.base import Executor
from partstream.backends.executors.daemon_threads import patched_by
from partstream.backends.executors.hooks import CallHooks
from partstream.backends.executors.loop import cancel
from partstream.backends.loader import get_executor
from partstream.caching.cache_keys import Scope
from partstream.caching.flight import LOST, Flight
from partstream.caching.single_flight import POLL_SECONDS, Flights, Turn, get_flights
from partstream.exceptions import Misuse, PartTimeout
from partstream.identity import get_dimension, get_identity, with_dimension
from partstream.isolation.connections import give_back_pooled
from partstream.isolation.timeouts import atomic_aliases, in_database, wait_for
from partstream.logs import get_logger

from .fragment import decode, encode

if TYPE_CHECKING:
    from .loader import Loader


logger = get_logger("partstream.parts")


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def finished(coroutine: Any) -> Any:
    """What a coroutine returns, awaited by an event loop in this thread.

    Raises:
        Misuse: Where threads are green ones, which an event loop would all stop from querying.
    """
    package = patched_by()
    if package is not None:
        coroutine.close()
        raise Misuse(
            f"{coroutine.__qualname__}() is a coroutine, and {package} has patched threads in "
            "this process. Write a plain function, def instead of async def."
        )
    # Of functions only.
    return async_to_sync(_awaited)(coroutine)


def invoke(loader: Loader, request: Any, args: Any, kwargs: Any) -> Any:
    """What a plain loader gives: from the cache, from whoever makes it already, or made now."""
    key = _key(loader, request, args, kwargs)
    if key is None:
        return _covered(loader, request, args, kwargs)[0]
    flights = get_flights()
    while True:
        value = flights.look(key)
        if value is not None:
            return decode(value)
        flight, own = flights.board(key)
        if own:
            return decode(_own(flights, flight, loader, request, args, kwargs))
        if flight.is_nested():
            return _covered(loader, request, args, kwargs)[0]
        landed = threading.Event()
        flight.on_landing(partial(_ring, landed))
        _give_back(request)
        landed.wait()
        result = flight.result
        if isinstance(result, bytes):
            return decode(result)
        if loader.is_denial(result):
            return _covered(loader, request, args, kwargs)[0]
        if result is not LOST:
            return loader.recover(request, result, loader.qualified_name)


async def invoke_async(loader: Loader, request: Any, args: Any, kwargs: Any) -> Any:
    """What an ``async def`` loader gives: as `invoke`, and nothing of it blocks the event loop."""
    key = await sync_to_async(_key)(loader, request, args, kwargs)
    if key is None:
        return (await _covered_async(loader, request, args, kwargs))[0]
    flights = get_flights()
    loop = asyncio.get_running_loop()
    while True:
        value = await sync_to_async(flights.look)(key)
        if value is not None:
            return decode(value)
        flight, own = flights.board(key)
        if own:
            value = await _own_async(flights, flight, loader, request, args, kwargs)
            return decode(value)
        if flight.is_nested():
            return (await _covered_async(loader, request, args, kwargs))[0]
        landed = asyncio.Event()
        flight.on_landing(partial(_ring_in, loop, landed))
        await sync_to_async(_give_back)(request)
        await landed.wait()
        result = flight.result
        if isinstance(result, bytes):
            return decode(result)
        if loader.is_denial(result):
            return (await _covered_async(loader, request, args, kwargs))[0]
        if result is not LOST:
            return await _recovered_async(loader, request, result)


def _ring(landed: threading.Event, flight: Flight) -> None:
    landed.set()


def _ring_in(loop: asyncio.AbstractEventLoop, landed: asyncio.Event, flight: Flight) -> None:
    with suppress(RuntimeError):  # Who waited has left, and his loop is closed.
        loop.call_soon_threadsafe(landed.set)


def _key(loader: Loader, request: Any, args: Any, kwargs: Any) -> str | None:
    """The key of what these arguments give; None where nothing is kept."""
    caching = loader.caching
    if caching is None:
        return None
    request = _for_view(request)
    owner = getattr(loader.function, "__self__", None)
    scope: Scope = getattr(owner, "make_scope", _scope)(request)
    name = _own_name(loader, owner)
    try:
        given = json.dumps([args, kwargs], sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Misuse(
            f"cached_for(): {name} is called from Python with arguments that no key can be made "
            f"of: {error}. Take texts, numbers, lists and dictionaries."
        ) from error
    try:
        return scope.part_key(caching, f"loader:{name}", dependencies=[("arguments", given)])
    except Exception:
        # A key function of the project's: the data can be had all the same.
        logger.exception("The cache key of %s; it runs uncached.", name)
        return None


def _own_name(loader: Loader, owner: Any) -> str:
    """The name by which this function, and no other, can be found.

    Raises:
        Misuse: When there is none: two that share a name would share what is kept.
    """
    function = getattr(loader.function, "__func__", loader.function)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    places: dict[str, Any] = {}
    if owner is None:
        *path, name = name.split(".")
        start = sys.modules.get(module or "")
        places[f"{module}.{'.'.join(path)}"] = reduce(_attribute, path, start)
    elif isinstance(owner, type) or hasattr(owner, "make_scope"):
        name = getattr(function, "__name__", "")
        kind = owner if isinstance(owner, type) else type(owner)
        # Each base: one that was overridden can still be called, by super().
        own = f"{kind.__module__}.{kind.__qualname__}"
        places = {f"{own}[{depth}]": base for depth, base in enumerate(kind.__mro__)}
    for label, place in places.items():
        found: Any = getattr(place, "__dict__", {}).get(name)
        while hasattr(found, "caching") or isinstance(found, (classmethod, staticmethod)):
            found = found.function if hasattr(found, "caching") else found.__func__
        if found is not None and found is function:
            return f"{label}.{name}"
    raise Misuse(
        f"cached_for(): {loader.function!r:.120} is called from Python, and has no name by which "
        "it can be found, and so told from all others. Write a function of a module, or a method "
        "of a view; as a part it goes by the part's name."
    )


def _attribute(place: Any, name: str) -> Any:
    return getattr_static(place, name, None)


def _scope(request: Request) -> Scope:
    """Of a loader that is no view's method: every parameter of the query may matter to it."""
    path = request._request.path
    identity = with_dimension(get_identity(request), get_dimension(request))
    return Scope(request, None, identity=identity, path=path)


def _for_view(request: Any) -> Request:
    """DRF's request, also where a loader is called with Django's."""
    if isinstance(request, Request):
        return request
    known = Request(request)
    if hasattr(request, "user"):
        known.user = request.user
    return known


def _own(
    flights: Flights, flight: Flight, loader: Loader, request: Any, args: Any, kwargs: Any
) -> bytes:
    """The value, from another process or made here; the flight is ended in any case."""
    try:
        turn = flights.claim(flight)
        while turn is Turn.WAIT:
            _give_back(request)
            time.sleep(POLL_SECONDS)
            turn = flights.poll([flight])[flight]
        if turn is not Turn.RUN:
            return _arrived(flights, flight, turn)
        data, error = _covered(loader, request, args, kwargs)
        return _made(flights, flight, loader, encode(data), error)
    except BaseException as error:
        flights.end(flight, error if isinstance(error, Exception) else LOST, failed=True)
        raise


async def _own_async(
    flights: Flights, flight: Flight, loader: Loader, request: Any, args: Any, kwargs: Any
) -> bytes:
    try:
        turn = await sync_to_async(flights.claim)(flight)
        while turn is Turn.WAIT:
            await sync_to_async(_give_back)(request)
            await asyncio.sleep(POLL_SECONDS)
            turn = (await sync_to_async(flights.poll)([flight]))[flight]
        if turn is not Turn.RUN:
            return await sync_to_async(_arrived)(flights, flight, turn)
        data, raised = await _covered_async(loader, request, args, kwargs)
        value = await sync_to_async(encode)(data)
        return await sync_to_async(_made)(flights, flight, loader, value, raised)
    except BaseException as error:
        # A cancelled owner leaves too: the next one begins anew.
        result = error if isinstance(error, Exception) else LOST
        # Not awaited: a cancelled task could be cancelled here again.
        flights.end(flight, result, failed=True, pool=_executor_of(request).pool)
        raise


def _arrived(flights: Flights, flight: Flight, value: Any) -> bytes:
    flights.end(flight, value)
    found: bytes = value
    return found


def _made(
    flights: Flights, flight: Flight, loader: Loader, value: bytes, error: Exception | None
) -> bytes:
    """End the flight with what was made; a fallback is this caller's alone."""
    if error is not None:
        flights.end(flight, error, failed=True)
    else:
        ttl = 0 if loader.caching is None else loader.caching.ttl
        flights.end(flight, value, keep=value, ttl=ttl)
    return value


def _covered(loader: Loader, request: Any, args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
    """The data, and the failure for which it is the fallback."""
    try:
        function = partial(loader.function, request, *args, **kwargs)
        return _timed(loader, request, function), None
    except Exception as error:  # noqa: BLE001 - the boundary; recover() logs
        return loader.recover(request, error, loader.qualified_name), error


def _timed(loader: Loader, request: Any, function: Callable[[], Any]) -> Any:
    seconds = loader.timeout
    executor = _executor_of(request)
    if seconds is None or not executor.watches_time:
        return function()
    aliases = atomic_aliases()
    if aliases and not executor.concurrent:
        with in_database(seconds, aliases, loader.qualified_name):
            return function()
    hooks = CallHooks(executor, request) if executor.has_hooks else None
    _give_back(request)
    return wait_for(executor, function, seconds, hooks)


def _executor_of(request: Any) -> Executor:
    """That of the view that the request is for, or else that of the settings."""
    context = getattr(request, "parser_context", None) or {}
    executor: Executor = getattr(context.get("view"), "get_executor", get_executor)()
    return executor


def _give_back(request: Any) -> None:
    """Before a wait for other threads: they may need the pooled connection that this one has."""
    executor = _executor_of(request)
    give_back_pooled(CallHooks(executor, request).before if executor.has_hooks else None)


async def _covered_async(
    loader: Loader, request: Any, args: Any, kwargs: Any
) -> tuple[Any, Exception | None]:
    try:
        seconds = loader.timeout if _executor_of(request).watches_time else None
        return await timed(loader.function(request, *args, **kwargs), seconds), None
    except Exception as error:  # noqa: BLE001 - the boundary; recover_later() logs
        return await _recovered_async(loader, request, error), error


async def _recovered_async(loader: Loader, request: Any, error: BaseException) -> Any:
    recover = partial(loader.recover_later, request, error, loader.qualified_name)
    if loader.has_plain_fallback:
        # Not in the event loop, which may be that of all requests.
        return await sync_to_async(recover)()
    data = recover()
    return await data if inspect.isawaitable(data) else data


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
        cancel(task)
    raise PartTimeout("it took longer than its timeout")
