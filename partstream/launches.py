"""Launches: where one loader runs, and how it is begun there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync

from .backends.executors.calls import Call
from .boundary import Surroundings, returned
from .exceptions import NoCapacity
from .invocations import timed
from .loaders import Loader
from .outcomes import Outcome
from .parts import LazyPart

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
        self._surroundings = Surroundings()

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
        dependencies = self._resolver.data_of(part.depends_on)
        timeout = self._resolver.timeout_of(loader)
        concurrent = self._executor.concurrent
        if loader.is_async and not concurrent and not self._atomic:
            return Coroutine(name, part, loader, dependencies)
        try:
            if loader.is_async and concurrent:
                return self._executor.submit_coroutine(
                    partial(loader.function, self._resolver.request, **dependencies),
                    partial(self._boundary.settle_result, name, part, loader, perf_counter()),
                    timeout=timeout,
                )
            outcome = self._submit(name, part, loader, dependencies, timeout)
        except NoCapacity as error:
            if timeout is not None:
                return self._boundary.fail(name, loader, error, 0.0)
            if patient:
                raise
            function = async_to_sync(loader.function) if loader.is_async else loader.function
            outcome = self._boundary.settle(
                name, part, loader, function, self._atomic, dependencies
            )
        if not isinstance(outcome, Call):
            self._surroundings.restore()
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
            limit = timeout = None
        elif self._atomic and not self._executor.concurrent:
            # It stays with its transaction, and only the database can end it.
            timeout = None
        # A worker has connections of its own, and none of them is in a transaction.
        elsewhere = self._executor.concurrent or timeout is not None
        work = partial(
            self._boundary.settle,
            name,
            part,
            loader,
            function,
            [] if elsewhere else self._atomic,
            dependencies,
            timeout=limit,
        )
        return self._executor.submit(work, timeout=timeout)

    def gather(self, coroutines: Sequence[Coroutine]) -> list[Outcome | Call]:
        """Run coroutine loaders together, under one event loop that keeps the connection.

        Returns:
            The outcome of each, or the call that will return it.
        """
        calls = [
            partial(
                _measured,
                partial(
                    _timed_call,
                    coroutine.loader.function,
                    self._resolver.timeout_of(coroutine.loader),
                    self._resolver.request,
                    **coroutine.dependencies,
                ),
            )
            for coroutine in coroutines
        ]
        try:
            results = async_to_sync(_gather)(calls)
        except RuntimeError as refusal:  # This thread runs an event loop already.
            results = [(None, refusal, 0.0)] * len(calls)
        return [
            self._finish(coroutine, data, error, seconds)
            for coroutine, (data, error, seconds) in zip(coroutines, results, strict=True)
        ]

    def _finish(
        self, coroutine: Coroutine, data: Any, error: BaseException | None, seconds: float
    ) -> Outcome | Call:
        """Serializer and JSON: here, or within what is left of a timeout in a worker."""
        timeout = self._resolver.timeout_of(coroutine.loader)
        settle = partial(
            self._boundary.settle,
            coroutine.name,
            coroutine.part,
            coroutine.loader,
            partial(returned, data, error),
            [],
            seconds=seconds,
        )
        if timeout is None or error is not None:
            outcome = settle()
            self._surroundings.restore()
            return outcome
        left = max(0.001, timeout - seconds)
        try:
            return self._executor.submit(partial(settle, timeout=left), timeout=left)
        except NoCapacity as refusal:
            return self._boundary.fail(coroutine.name, coroutine.loader, refusal, seconds)


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
