"""The launcher: decides where a job runs, and starts it there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic, perf_counter
from typing import Any

from asgiref.sync import async_to_sync

from partstream.backends.executors.base import Executor
from partstream.backends.executors.calls import Call
from partstream.backends.executors.coroutines import refuse_green_threads, timed
from partstream.backends.executors.hooks import CallHooks
from partstream.caching.flight import Flight
from partstream.caching.single_flight import Turn
from partstream.exceptions import NoCapacity, NoThread
from partstream.isolation.context import SavedContext
from partstream.isolation.statement_timeout import can_stop_statements
from partstream.isolation.testcase_transactions import warn_outside_of_test
from partstream.isolation.transactions import atomic_aliases
from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome

from .boundary import Boundary
from .job import NO_DEPENDENCIES, ClaimingJob, Job
from .request_parts import RequestParts


class Launcher:
    """Starts jobs: in the request's thread, in the pool or in the loop thread.

    Args:
        hooks: The hooks of the view's executor, if it has any.
        atomic: Aliases of databases in an atomic block, in the request's thread; None: not yet
            known.

    Attributes:
        apart: Whether no loader runs in the request's thread, whatever its executor, unless that
            thread is in an atomic block.
        patient: Whether a job waits for room in a full pool. If not, it runs in the request's
            thread.
    """

    apart = False
    patient = False

    def __init__(
        self,
        parts: RequestParts,
        boundary: Boundary,
        hooks: CallHooks | None,
        atomic: list[str] | None,
    ) -> None:
        self._parts = parts
        self._boundary = boundary
        self._settle = boundary.settle
        self._hooks = hooks
        self._atomic = atomic
        self._context = SavedContext()

    @property
    def atomic(self) -> list[str]:
        """Aliases of databases in an atomic block, determined at the first use."""
        if self._atomic is None:
            self._atomic = atomic_aliases()
        return self._atomic

    def run(self, name: str, part: LazyPart, loader: Loader) -> Outcome:
        """Run a part in the request's thread; its dependencies are settled."""
        if part.depends_on:
            job = self._prepare(name, part, loader)
            if isinstance(job, Outcome):
                return job
        else:
            job = Job(self._settle, name, part, loader, NO_DEPENDENCIES)
        return self._run(job)

    def runs_here(self, executor: Executor) -> bool:
        """Whether an executor's loaders without a timeout occupy the request's thread."""
        if executor.concurrent:
            return False
        return not self.apart or bool(self.atomic) or not executor.watches_time

    def begin(
        self, name: str, part: LazyPart, loader: Loader, claim: Flight | None = None
    ) -> Outcome | Call | Job | bytes | Turn:
        """Run a part here, or start it elsewhere; its dependencies are settled.

        Args:
            name: The part's name.
            part: The part.
            loader: Its loader.
            claim: The flight whose lock another thread takes before it runs the part; None: there
                is no lock to take.

        Returns:
            Its outcome; the call that will return it; or the job of a coroutine loader that will
            run in the request's thread together with others, see `gather`. With a ``claim``, what
            `ClaimingJob` returns.

        Raises:
            NoCapacity: When the pool is full and the request is patient.
        """
        job = self._prepare(name, part, loader)
        if isinstance(job, Outcome):
            return job
        executor = job.executor = self._parts.executor_of(name)
        runs_here = self.runs_here(executor)
        job.hooks = self._hooks_of(executor)
        job.timeout = self._parts.timeout_of(name, loader)
        if loader.is_async:
            view = type(self._parts.view).__name__
            refuse_green_threads(f"{view}: the loader of part {name!r}")
            if runs_here and not self.atomic:
                return job
        if executor.concurrent:
            warn_outside_of_test(self._parts.view, name)
        try:
            if loader.is_async and not runs_here:
                return self._submit_coroutine(job)
            outcome = self._submit(job, claim)
        except NoCapacity as error:
            if job.timeout is not None:
                return self._boundary.fail(name, loader, error)
            may_wait = self.patient and not executor.pool.is_own_thread()
            # There will be room, unless the pool has no thread at all.
            if may_wait and not isinstance(error, NoThread):
                raise
            return self._run(job)
        if not isinstance(outcome, Call):
            self._context.restore()
        return outcome

    def _hooks_of(self, executor: Executor) -> CallHooks | None:
        if executor is self._parts.executor:
            return self._hooks
        return CallHooks(executor, self._parts.request) if executor.has_hooks else None

    def _prepare(self, name: str, part: LazyPart, loader: Loader) -> Job | Outcome:
        """The job of a part, or its failure."""
        if not part.depends_on:
            return Job(self._settle, name, part, loader, NO_DEPENDENCIES)
        try:
            dependencies = self._parts.data_of(part.depends_on)
        except Exception as error:  # noqa: BLE001 - fail() logs
            # The data is nested too deeply for this thread's stack.
            return self._boundary.fail(name, loader, error)
        return Job(self._settle, name, part, loader, dependencies)

    def _run(self, job: Job) -> Outcome:
        if job.loader.is_async:
            job.function = async_to_sync(job.loader.function)
        job.atomic = self.atomic if self._atomic is None else self._atomic
        outcome = self._settle(job)
        self._context.restore()
        return outcome

    def _submit(self, job: Job, claim: Flight | None) -> Outcome | Call | bytes | Turn:
        executor, timeout = job.executor, job.timeout
        has_worker = not self.runs_here(executor)
        if has_worker or (timeout is not None and not self.atomic):
            # A worker has connections of its own, and none of them is in a transaction.
            job.deadline = None if timeout is None else monotonic() + timeout
            work = job if claim is None else ClaimingJob(job, claim)
            if has_worker and not executor.concurrent:
                return executor.submit_to_worker(work, timeout=timeout)
            return executor.submit(work, timeout=timeout)
        # A job in a transaction stays in its thread, and only the database can end it.
        job.atomic, job.limit = self.atomic, timeout
        if job.loader.is_async:
            # One connection has one stack of savepoints: coroutines run one after another.
            job.function = async_to_sync(partial(_timed_call, job.function, timeout))
            # The timeout cancels it where it awaits. The database ends its queries.
            job.limit = timeout if any(map(can_stop_statements, self.atomic)) else None
        return executor.submit(job)

    def _submit_coroutine(self, job: Job) -> Call:
        now, timeout = monotonic(), job.timeout
        job.deadline = None if timeout is None else now + timeout
        return job.executor.submit_coroutine(
            self._boundary.start_of(job),
            partial(job.finish, now),
            timeout=timeout,
            hooks=job.hooks,
        )

    def gather(self, jobs: Sequence[Job]) -> list[Outcome | Call]:
        """Run coroutine loaders together, in one event loop that uses this thread's connection.

        A loader with a timeout runs in the loop thread: this thread could not stop waiting for it.
        """
        found: dict[str, Outcome | Call] = {}
        here: list[Job] = []
        for job in jobs:
            if job.timeout is None:
                here.append(job)
                continue
            try:
                found[job.name] = self._submit_coroutine(job)
            except NoCapacity as refusal:
                found[job.name] = self._boundary.fail(job.name, job.loader, refusal)
        starts = list(map(self._boundary.start_of, here))
        results: list[_Measured]
        try:
            results = async_to_sync(_gather)(starts) if starts else []
        except RuntimeError as refusal:  # This thread runs an event loop already.
            results = [(None, refusal, 0.0)] * len(starts)
        for job, (data, error, seconds) in zip(here, results, strict=True):
            # In the request's thread again, where a QuerySet can be evaluated.
            found[job.name] = job.returned(data, error, seconds)
            self._context.restore()
        return [found[job.name] for job in jobs]


async def _timed_call(
    function: Callable[..., Awaitable[Any]], timeout: float | None, *args: Any, **kwargs: Any
) -> Any:
    return await timed(function(*args, **kwargs), timeout)


_Measured = tuple[Any, BaseException | None, float]


async def _gather(starts: Iterable[Callable[[], Awaitable[Any]]]) -> list[_Measured]:
    return await asyncio.gather(*map(_measured, starts))


async def _measured(start: Callable[[], Awaitable[Any]]) -> _Measured:
    """What a coroutine loader returned or raised, and the seconds it took."""
    started = perf_counter()
    try:
        return await start(), None, perf_counter() - started
    except BaseException as error:  # noqa: BLE001 - settled in the request's thread
        return None, error, perf_counter() - started
