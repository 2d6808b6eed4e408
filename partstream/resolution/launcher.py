"""Launches: where one loader runs, and how it is begun there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from asgiref.sync import async_to_sync

from partstream.backends.executors.calls import Call
from partstream.backends.executors.daemon_threads import patched_by
from partstream.exceptions import Misuse, NoCapacity, NoThread
from partstream.isolation.statement_timeout import can_stop_statements
from partstream.isolation.timeouts import atomic_aliases
from partstream.parts.declaration import LazyPart
from partstream.parts.direct_calls import timed
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome

from .boundary import NOTHING, Ambience, returned

if TYPE_CHECKING:
    from .resolver import Resolver


class Launch(NamedTuple):
    """One running of a loader: all that is to be known of it, wherever it will be."""

    name: str
    part: LazyPart
    loader: Loader
    dependencies: Mapping[str, Any]
    timeout: float | None


class Launcher:
    """Begins loaders: in the request's thread, in the pool, in the loop thread.

    Args:
        resolver: Whose parts they are.
        atomic: Aliases of databases in an atomic block, in the request's thread; None: nobody has
            looked yet.
    """

    def __init__(self, resolver: Resolver, atomic: list[str] | None) -> None:
        self._resolver = resolver
        self._boundary = resolver.boundary
        self._executor = resolver.executor
        self._atomic = atomic
        self._ambience = Ambience()

    @property
    def atomic(self) -> list[str]:
        """Aliases of databases in an atomic block, as they were at the first look."""
        if self._atomic is None:
            self._atomic = atomic_aliases()
        return self._atomic

    def launch(
        self, name: str, part: LazyPart, loader: Loader, *, patient: bool
    ) -> Outcome | Call | Launch:
        """Run a loader to its outcome, or begin to run it.

        Args:
            name: The part.
            part: The part itself.
            loader: Its loader.
            patient: Whether the request would rather wait than run it in its own thread.

        Returns:
            Its outcome; the call that will return it; or, of a coroutine loader that is to run in
            the request's thread beside others of its kind, what `gather` takes.

        Raises:
            NoCapacity: When a patient request has to wait.
        """
        launch = self._prepare(name, part, loader)
        if isinstance(launch, Outcome):
            return launch
        concurrent = self._executor.concurrent
        if loader.is_async:
            self._refuse_green_threads(name)
            if not concurrent and not self.atomic:
                return launch
        try:
            if loader.is_async and concurrent:
                return self._submit_coroutine(launch)
            outcome = self._submit(launch)
        except NoCapacity as error:
            if launch.timeout is not None:
                return self._boundary.fail(name, loader, error, 0.0)
            may_wait = patient and not self._executor.pool.is_own_thread()
            # Room will come, unless there is nobody who would make it.
            if may_wait and not isinstance(error, NoThread):
                raise
            outcome = self._run(launch)
        if not isinstance(outcome, Call):
            self._ambience.restore()
        return outcome

    def run_here(self, name: str, part: LazyPart, loader: Loader) -> Outcome:
        """Run a loader in the request's thread, when it turned out that no other will do it."""
        launch = self._prepare(name, part, loader)
        if isinstance(launch, Outcome):
            return launch
        outcome = self._run(launch)
        self._ambience.restore()
        return outcome

    def _prepare(self, name: str, part: LazyPart, loader: Loader) -> Launch | Outcome:
        dependencies: Mapping[str, Any] = NOTHING
        if part.depends_on:
            try:
                dependencies = self._resolver.data_of(part.depends_on)
            except Exception as error:  # noqa: BLE001 - fail() logs
                # Data so deeply nested that this thread's stack does not hold it.
                return self._boundary.fail(name, loader, error, 0.0)
        return Launch(name, part, loader, dependencies, self._resolver.timeout_of(loader))

    def _refuse_green_threads(self, name: str) -> None:
        package = patched_by()
        if package is not None:
            raise Misuse(
                f"{type(self._resolver.view).__name__}: the loader of part {name!r} is a "
                f"coroutine function, and {package} has patched threads in this process: an event "
                "loop would stop every ORM query of it. Write a plain function, def instead of "
                "async def, or run the process without monkey-patching."
            )

    def _run(self, launch: Launch) -> Outcome:
        name, part, loader, dependencies, _ = launch
        function = async_to_sync(loader.function) if loader.is_async else loader.function
        return self._boundary.settle(name, part, loader, function, self.atomic, dependencies)

    def _submit(self, launch: Launch) -> Outcome | Call:
        name, part, loader, dependencies, timeout = launch
        settle, function = self._boundary.settle, loader.function
        if self._executor.concurrent or (timeout is not None and not self.atomic):
            # A worker has connections of its own, and none of them is in a transaction.
            deadline = None if timeout is None else monotonic() + timeout
            work = partial(
                settle, name, part, loader, function, [], dependencies, deadline=deadline
            )
            return self._executor.submit(work, timeout=timeout)
        # Where there is a transaction it stays with it, and only the database can end it.
        limit = timeout
        if loader.is_async:
            # One connection has one stack of savepoints: coroutines run one after another.
            function = async_to_sync(partial(_timed_call, function, timeout))
            # Cancelled where it awaits; what it has the request's thread do, the database ends.
            limit = timeout if any(map(can_stop_statements, self.atomic)) else None
        work = partial(
            settle, name, part, loader, function, self.atomic, dependencies, timeout=limit
        )
        return self._executor.submit(work)

    def _submit_coroutine(self, launch: Launch) -> Call:
        name, part, loader, dependencies, timeout = launch
        now = monotonic()
        deadline = None if timeout is None else now + timeout
        return self._executor.submit_coroutine(
            partial(loader.function, self._resolver.request, **dependencies),
            partial(self._boundary.settle_result, name, part, loader, now, deadline),
            timeout=timeout,
            hooks=self._resolver.hooks,
        )

    def gather(self, launches: Sequence[Launch]) -> list[Outcome | Call]:
        """Run coroutine loaders together, under one event loop that keeps the connection.

        One with a timeout runs in the loop thread: here nobody could stop waiting for it.

        Returns:
            The outcome of each, or the call that will return it.
        """
        found: dict[str, Outcome | Call] = {}
        here: list[Launch] = []
        for launch in launches:
            if launch.timeout is None:
                here.append(launch)
            else:
                found[launch.name] = self._begin_in_time(launch)
        request = self._resolver.request
        calls = [
            partial(_measured, partial(launch.loader.function, request, **launch.dependencies))
            for launch in here
        ]
        try:
            results = async_to_sync(_gather)(calls) if calls else []
        except RuntimeError as refusal:  # This thread runs an event loop already.
            results = [(None, refusal, 0.0)] * len(calls)
        for launch, (data, error, seconds) in zip(here, results, strict=True):
            # Back in the request's thread: here a QuerySet may be evaluated.
            function = partial(returned, data, error)
            found[launch.name] = self._boundary.settle(
                launch.name, launch.part, launch.loader, function, [], seconds=seconds
            )
            self._ambience.restore()
        return [found[launch.name] for launch in launches]

    def _begin_in_time(self, launch: Launch) -> Outcome | Call:
        try:
            return self._submit_coroutine(launch)
        except NoCapacity as refusal:
            return self._boundary.fail(launch.name, launch.loader, refusal, 0.0)


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
