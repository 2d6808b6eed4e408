"""Launches: where one loader runs, and how it is begun there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync

from .backends.executors.calls import Call
from .boundary import Ambience, returned
from .exceptions import NoCapacity
from .invocations import timed
from .loaders import Loader
from .outcomes import Outcome
from .parts import LazyPart
from .statements import can_stop_statements

if TYPE_CHECKING:
    from .resolution import Resolver


@dataclass(slots=True)
class Coroutine:
    """A coroutine loader that is to run in the request's thread, beside others of its kind."""

    name: str
    part: LazyPart
    loader: Loader
    dependencies: Mapping[str, Any]


class Launcher:
    """Begins loaders: in the request's thread, in the pool, in the loop thread.

    Args:
        resolver: Whose parts they are.
        atomic: Aliases of databases in an atomic block, in the request's thread.
    """

    def __init__(self, resolver: Resolver, atomic: list[str]) -> None:
        self._resolver = resolver
        self._boundary = resolver.boundary
        self._executor = resolver.executor
        self._atomic = atomic
        self._ambience = Ambience()

    def launch(
        self, name: str, part: LazyPart, loader: Loader, *, patient: bool
    ) -> Outcome | Call | Coroutine:
        """Run a loader to its outcome, or begin to run it.

        Args:
            name: The part.
            part: The part itself.
            loader: Its loader.
            patient: Whether the request would rather wait than run it in its own thread.

        Returns:
            Its outcome; the call that will return it; or a coroutine for `gather`.

        Raises:
            NoCapacity: When a patient request has to wait.
        """
        try:
            dependencies = self._resolver.data_of(part.depends_on)
        except Exception as error:  # noqa: BLE001 - fail() logs
            # Data so deeply nested that this thread's stack does not hold it.
            return self._boundary.fail(name, loader, error, 0.0)
        timeout = self._resolver.timeout_of(loader)
        concurrent = self._executor.concurrent
        if loader.is_async and not concurrent and not self._atomic:
            return Coroutine(name, part, loader, dependencies)
        try:
            if loader.is_async and concurrent:
                return self._submit_coroutine(name, part, loader, dependencies, timeout)
            outcome = self._submit(name, part, loader, dependencies, timeout)
        except NoCapacity as error:
            if timeout is not None:
                return self._boundary.fail(name, loader, error, 0.0)
            if patient and not self._executor.pool.is_own_thread():
                raise
            function = async_to_sync(loader.function) if loader.is_async else loader.function
            outcome = self._boundary.settle(
                name, part, loader, function, self._atomic, dependencies
            )
        if not isinstance(outcome, Call):
            self._ambience.restore()
        return outcome

    def _submit(
        self,
        name: str,
        part: LazyPart,
        loader: Loader,
        dependencies: Mapping[str, Any],
        timeout: float | None,
    ) -> Outcome | Call:
        function, limit = loader.function, timeout
        if loader.is_async:
            # One connection has one stack of savepoints: coroutines run one after another.
            function = async_to_sync(partial(_timed_call, loader.function, timeout))
            # Cancelled where it awaits; what it has the request's thread do, the database ends.
            limit = timeout if any(map(can_stop_statements, self._atomic)) else None
            timeout = None
        elif self._atomic and not self._executor.concurrent:
            # It stays with its transaction, and only the database can end it.
            timeout = None
        work = partial(self._boundary.settle, name, part, loader, function)
        if self._executor.concurrent or timeout is not None:
            # A worker has connections of its own, and none of them is in a transaction.
            deadline = None if timeout is None else monotonic() + timeout
            work = partial(work, [], dependencies, deadline=deadline)
        else:
            work = partial(work, self._atomic, dependencies, timeout=limit)
        return self._executor.submit(work, timeout=timeout)

    def _submit_coroutine(
        self,
        name: str,
        part: LazyPart,
        loader: Loader,
        dependencies: Mapping[str, Any],
        timeout: float | None,
    ) -> Call:
        now = monotonic()
        deadline = None if timeout is None else now + timeout
        return self._executor.submit_coroutine(
            partial(loader.function, self._resolver.request, **dependencies),
            partial(self._boundary.settle_result, name, part, loader, now, deadline),
            timeout=timeout,
        )

    def gather(self, coroutines: Sequence[Coroutine]) -> list[Outcome | Call]:
        """Run coroutine loaders together, under one event loop that keeps the connection.

        One with a timeout runs in the loop thread: here nobody could stop waiting for it.

        Returns:
            The outcome of each, or the call that will return it.
        """
        found: dict[str, Outcome | Call] = {}
        here: list[Coroutine] = []
        for coroutine in coroutines:
            timeout = self._resolver.timeout_of(coroutine.loader)
            if timeout is None:
                here.append(coroutine)
            else:
                found[coroutine.name] = self._begin_in_time(coroutine, timeout)
        request = self._resolver.request
        calls = [
            partial(_measured, partial(entry.loader.function, request, **entry.dependencies))
            for entry in here
        ]
        try:
            results = async_to_sync(_gather)(calls) if calls else []
        except RuntimeError as refusal:  # This thread runs an event loop already.
            results = [(None, refusal, 0.0)] * len(calls)
        for entry, (data, error, seconds) in zip(here, results, strict=True):
            # Back in the request's thread: here a QuerySet may be evaluated.
            function = partial(returned, data, error)
            found[entry.name] = self._boundary.settle(
                entry.name, entry.part, entry.loader, function, [], seconds=seconds
            )
            self._ambience.restore()
        return [found[coroutine.name] for coroutine in coroutines]

    def _begin_in_time(self, coroutine: Coroutine, timeout: float) -> Outcome | Call:
        name, part, loader = coroutine.name, coroutine.part, coroutine.loader
        try:
            return self._submit_coroutine(name, part, loader, coroutine.dependencies, timeout)
        except NoCapacity as refusal:
            return self._boundary.fail(name, loader, refusal, 0.0)


async def _timed_call(
    function: Callable[..., Awaitable[Any]], timeout: float | None, *args: Any, **kwargs: Any
) -> Any:
    return await timed(function(*args, **kwargs), timeout)


async def _measured(
    call: Callable[[], Awaitable[Any]],
) -> tuple[Any, BaseException | None, float]:
    """What a coroutine loader returned or raised, and the seconds it took."""
    started = perf_counter()
    try:
        return await call(), None, perf_counter() - started
    except Exception as error:  # noqa: BLE001 - settled in the request's thread
        return None, error, perf_counter() - started


async def _gather(
    calls: Sequence[Callable[[], Awaitable[tuple[Any, BaseException | None, float]]]],
) -> list[tuple[Any, BaseException | None, float]]:
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    return [
        (None, result, 0.0) if isinstance(result, BaseException) else result for result in results
    ]
