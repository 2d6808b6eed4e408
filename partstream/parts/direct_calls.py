"""Loaders called from Python: cache, single flight, fallback and timeout work as in a part."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from inspect import getattr_static
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from rest_framework.request import Request

from partstream.backends.executors.base import Executor
from partstream.backends.executors.coroutines import timed
from partstream.backends.executors.hooks import CallHooks
from partstream.backends.loader import get_executor
from partstream.caching.cache_keys import Caching, Scope
from partstream.caching.flight import LOST, Flight
from partstream.caching.protocol import Ask, Joined, Step, obtain
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import Misuse
from partstream.identity import get_dimension, get_identity, with_dimension
from partstream.isolation.connections import give_back_pooled
from partstream.isolation.timeouts import in_transaction
from partstream.isolation.transactions import atomic_aliases
from partstream.logs import get_logger

from .failures import is_refusal
from .fragment import decode, encode
from .loader_requests import drf_request

logger = get_logger("partstream.parts")


class _Wrapped(Protocol):
    """What a direct call needs of a `Loader`."""

    @property
    def function(self) -> Any: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def caching(self) -> Caching | None: ...
    @property
    def has_plain_fallback(self) -> bool: ...
    @property
    def qualified_name(self) -> str: ...
    def recover(self, request: Any, error: BaseException, subject: str) -> Any: ...
    def recover_later(self, request: Any, error: BaseException, subject: str) -> Any: ...


@dataclass
class DirectCall:
    """A loader, and the arguments of one call."""

    loader: _Wrapped
    request: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def executor(self) -> Executor:
        """The executor of the request's view, or else that of the settings."""
        context = getattr(self.request, "parser_context", None) or {}
        executor: Executor = getattr(context.get("view"), "get_executor", get_executor)()
        return executor

    @property
    def hooks(self) -> CallHooks | None:
        """The executor's hooks, to be called around the function in another thread."""
        executor = self.executor
        return CallHooks(executor, self.request) if executor.has_hooks else None

    def give_back(self) -> None:
        """Give back pooled connections before a wait: other threads may need them."""
        hooks = self.hooks
        give_back_pooled(None if hooks is None else hooks.before)


# The steps


@dataclass
class Make:
    """A step: call the function; or its fallback only, for another caller's ``error``.

    Send the data, and the failure that the fallback covered, if any.
    """

    error: BaseException | None = None


Steps = Generator[Step | Make, Any, Any]


def _steps(call: DirectCall) -> Steps:
    """The steps to a loader's data: from the cache, from another caller, or from the function."""
    caching = call.loader.caching
    key = None if caching is None else (yield Ask(partial(_key, call, caching)))
    if caching is None or key is None:
        return (yield Make())[0]
    flights, pool = get_single_flight(), call.executor.pool
    found = yield from obtain(flights, key, ttl=caching.ttl, pool=pool)
    if isinstance(found, Joined):
        if is_refusal(found.result):
            return (yield Make())[0]
        if not isinstance(found.result, bytes):
            return (yield Make(found.result))[0]
        found = found.result
    if isinstance(found, bytes):
        return decode(found)
    flight = found.flight
    if flight.key is None:  # The loader calls itself.
        return (yield Make())[0]
    try:
        data, failure = yield Make()
        value = yield Ask(partial(encode, data))
        if failure is None:
            yield Ask(partial(flights.end, flight, value, value=value))
        else:
            # The fallback is for this caller only.
            yield Ask(partial(flights.end, flight, failure, failed=True))
    except BaseException as error:
        result = error if isinstance(error, Exception) else LOST
        flights.end(flight, result, failed=True, pool=pool)
        raise
    return decode(value)


# The drivers


def call_loader(loader: _Wrapped, request: Any, args: Any, kwargs: Any) -> Any:
    """The data of a plain loader. It waits in this thread."""
    call = DirectCall(loader, request, args, kwargs)
    steps = _steps(call)
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as stop:
            return stop.value
        try:
            advance = partial(steps.send, _taken(call, step))
        except StopIteration:  # A generator cannot raise it.
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by the steps
            advance = partial(steps.throw, error)


def _taken(call: DirectCall, step: Step | Make) -> Any:
    """Do a step, and return the reply to it."""
    if isinstance(step, Ask):
        return step.store()
    if isinstance(step, Make):
        return _made(call, step.error)
    call.give_back()
    ended = threading.Event()
    step.flight.on_end(lambda _: ended.set())
    ended.wait()
    return None


async def call_loader_async(loader: _Wrapped, request: Any, args: Any, kwargs: Any) -> Any:
    """The data of an ``async def`` loader. It never blocks the event loop."""
    call = DirectCall(loader, request, args, kwargs)
    steps = _steps(call)
    advance = partial(steps.send, None)
    while True:
        try:
            step = advance()
        except StopIteration as stop:
            return stop.value
        try:
            advance = partial(steps.send, await _taken_async(call, step))
        except BaseException as error:  # noqa: BLE001 - raised again by the steps
            advance = partial(steps.throw, error)


async def _taken_async(call: DirectCall, step: Step | Make) -> Any:
    if isinstance(step, Ask):
        return await sync_to_async(step.store)()
    if isinstance(step, Make):
        return await _made_async(call, step.error)
    await sync_to_async(call.give_back)()
    ended = asyncio.Event()
    step.flight.on_end(partial(_set_in, asyncio.get_running_loop(), ended))
    await ended.wait()
    return None


def _set_in(loop: asyncio.AbstractEventLoop, ended: asyncio.Event, flight: Flight) -> None:
    with suppress(RuntimeError):  # The caller is gone, and its loop is closed.
        loop.call_soon_threadsafe(ended.set)


# The function


def _made(call: DirectCall, failed: BaseException | None) -> tuple[Any, Exception | None]:
    """The reply to `Make`."""
    loader = call.loader
    try:
        if failed is not None:
            raise failed
        return _timed(call, partial(loader.function, call.request, *call.args, **call.kwargs)), None
    except Exception as error:  # noqa: BLE001 - recover() logs
        return loader.recover(call.request, error, loader.qualified_name), error


def _timed(call: DirectCall, function: Callable[[], Any]) -> Any:
    seconds, executor = call.loader.timeout, call.executor
    if seconds is None or not executor.watches_time:
        return function()
    aliases = atomic_aliases()
    if aliases and not executor.concurrent:
        with in_transaction(seconds, aliases, call.loader.qualified_name):
            return function()
    call.give_back()
    return executor.wait_for(function, seconds, call.hooks)


async def _made_async(
    call: DirectCall, failed: BaseException | None
) -> tuple[Any, Exception | None]:
    loader = call.loader
    try:
        if failed is not None:
            raise failed
        seconds = loader.timeout if call.executor.watches_time else None
        return await timed(loader.function(call.request, *call.args, **call.kwargs), seconds), None
    except Exception as error:  # noqa: BLE001 - recover_later() logs
        recover = partial(loader.recover_later, call.request, error, loader.qualified_name)
        # Not in the event loop, which may serve all requests: a plain fallback may block.
        data = await sync_to_async(recover)() if loader.has_plain_fallback else recover()
        return await data if inspect.isawaitable(data) else data, error


# The key


def _key(call: DirectCall, caching: Caching) -> str | None:
    """The key of the data for these arguments; None if nothing is kept."""
    owner = getattr(call.loader.function, "__self__", None)
    scope: Scope = getattr(owner, "make_scope", _scope)(drf_request(call.request))
    name = _own_name(call.loader, owner)
    try:
        given = json.dumps([call.args, call.kwargs], sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Misuse(
            f"cached_for(): {name} is called from Python with arguments that cannot be part of a "
            f"cache key: {error}. Pass strings, numbers, lists and dictionaries."
        ) from error
    try:
        return scope.part_key(caching, f"loader:{name}", dependencies=[("arguments", given)])
    except Exception:
        # The project's key function failed. The loader can run without it.
        logger.exception("The cache key of %s failed; it runs uncached.", name)
        return None


def _own_name(loader: _Wrapped, owner: Any) -> str:
    """The import path of this function, which no other function has.

    Raises:
        Misuse: When there is none: two functions with one name would share their entries.
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
        # Each base class: super() can still call an overridden method.
        own = f"{kind.__module__}.{kind.__qualname__}"
        places = {f"{own}[{depth}]": base for depth, base in enumerate(kind.__mro__)}
    for label, place in places.items():
        found: Any = getattr(place, "__dict__", {}).get(name)
        while hasattr(found, "caching") or isinstance(found, (classmethod, staticmethod)):
            found = found.function if hasattr(found, "caching") else found.__func__
        if found is not None and found is function:
            return f"{label}.{name}"
    raise Misuse(
        f"cached_for(): {loader.function!r:.120} is called from Python, and no import path leads "
        "to it, so its cache key could be that of another function. Write a function of a module, "
        "or a method of a view. As a part it is cached under the part's name."
    )


def _attribute(place: Any, name: str) -> Any:
    return getattr_static(place, name, None)


def _scope(request: Request) -> Scope:
    """The scope of a loader outside a view: it may depend on every parameter of the query."""
    path = request._request.path
    identity = with_dimension(get_identity(request), get_dimension(request))
    return Scope(request, None, identity=identity, path=path)
