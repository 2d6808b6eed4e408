"""What is noted of the parts of one request while they run, if anything wants to know it."""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any

from django.http import HttpRequest

from partstream.logs import get_logger
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome
from partstream.performance.queries import (
    Statements,
    count_queries,
    counted_in,
    current,
)

from .boundary import Boundary
from .job import Job
from .observers import PartObserver, PartRun, StreamRun, Tolerated, get_observers, tolerate

logger = get_logger("partstream.parts")

#: Seconds after which a part is reported as slow, under ``ENABLE_DEBUG_LOGGING``.
SLOW_SECONDS = 1.0
#: How many times a part may run one statement before that is reported, under the same setting.
MOST_REPEATS = 10

_ATTRIBUTE = "_partstream_observation"


class Observation:
    """What the parts of one request cost. It refers to neither the request nor its view.

    Args:
        counts_queries: Whether the queries of each part are counted.

    Attributes:
        warns: Whether slow parts and repeated queries are logged.
        observers: The observers to call.
        outcomes: Name -> outcome of the parts that were resolved.
        pending: The parts that were left to a later chunk.
        looked_up: The names of the `cached_for` parts that the cache was asked for.
        queries: Name -> seconds of each query, of the parts that ran here.
        has_stream: Whether the view has made a stream, or refused one.
    """

    warns = False
    observers: tuple[PartObserver, ...] = ()
    outcomes: Mapping[str, Outcome] = MappingProxyType({})
    pending: Sequence[str] = ()
    looked_up: Collection[str] = ()
    has_stream = False

    def __init__(self, *, counts_queries: bool) -> None:
        self.counts_queries = counts_queries
        self.queries: dict[str, list[float]] = {}

    @property
    def sees_runs(self) -> bool:
        """Whether the code of each part has to be watched."""
        return self.counts_queries or bool(self.observers)

    def attach(self, request: HttpRequest) -> None:
        """Let the view that answers a request fill this observation."""
        request.__dict__[_ATTRIBUTE] = self

    @staticmethod
    def detach(request: HttpRequest) -> None:
        """Take the observation off a request again."""
        request.__dict__.pop(_ATTRIBUTE, None)

    def begin_stream(self, run: StreamRun) -> None:
        """The view has made a stream."""
        self.has_stream = True
        for observer in self.observers:
            tolerate(observer.stream_began, run)

    def refuse_stream(self) -> None:
        """The view has refused a stream: the process has as many as it may."""
        self.has_stream = True

    def end_stream(self, run: StreamRun) -> None:
        """The stream has ended, maybe long after its view and all middleware."""
        for observer in self.observers:
            tolerate(observer.stream_ended, run)

    def count_of(self, name: str) -> int | None:
        """The number of a part's queries; None: they were not counted, or it did not run here."""
        durations = self.queries.get(name)
        return None if durations is None else len(durations)

    def durations_of(self, name: str) -> list[float]:
        """The list for the durations of a part's queries."""
        durations = self.queries.get(name)
        if durations is None:
            durations = self.queries[name] = Statements() if self.warns else []
        return durations


def observation_of(request: HttpRequest, *, debugs: bool) -> Observation | None:
    """The observation of a request, made now if something wants one; None: nothing does.

    Args:
        request: Django's request.
        debugs: ``ENABLE_DEBUG_LOGGING``.
    """
    attached: Observation | None = request.__dict__.get(_ATTRIBUTE)
    observers = get_observers()
    if debugs or observers:
        counts = debugs or any(observer.counts_queries for observer in observers)
        attached = attached or Observation(counts_queries=counts)
        attached.counts_queries = attached.counts_queries or counts
        attached.warns, attached.observers = debugs, observers
    return attached


class ObservedBoundary(Boundary):
    """Watches the code of each part, around another boundary."""

    def __init__(self, inner: Boundary, observation: Observation) -> None:
        super().__init__(inner.view, inner.request)
        self._inner = inner
        self._observation = observation
        #: The runs of coroutines that nothing has settled yet.
        self._runs: dict[str, PartRun] = {}

    def settle(self, job: Job) -> Outcome:
        """See `Boundary.settle`."""
        return self._watched(job.name, self._inner.settle, job)

    def settle_value(self, name: str, value: Any, atomic: list[str]) -> Outcome:
        """See `Boundary.settle_value`."""
        return self._watched(name, self._inner.settle_value, name, value, atomic)

    def fail(
        self, name: str, loader: Loader, error: BaseException, seconds: float = 0.0
    ) -> Outcome:
        """See `Boundary.fail`."""
        self._give_up(name)
        with counted_in(self._durations_of(name)):
            return self._inner.fail(name, loader, error, seconds)

    def start_of(self, job: Job) -> Callable[[], Any]:
        """See `Boundary.start_of`."""
        start, durations = self._inner.start_of(job), self._durations_of(job.name)
        if durations is not None:
            count_queries()

        async def counted() -> Any:
            # As `counted_in`, whose frames on Python 3.10 would wait for the garbage collector
            # after an exception.
            before = current.get()
            current.set(durations)
            try:
                return await start()
            finally:
                current.set(before)

        async def shown() -> Any:
            run = self._runs[job.name] = self._new_run(job.name)
            try:
                with ExitStack() as stack:
                    self._enter(stack, run)
                    return await (start if durations is None else counted)()
            except CancelledError:
                self._give_up(job.name)
                raise

        if self._observation.observers:
            return shown
        return start if durations is None else counted

    def _watched(self, name: str, settle: Callable[..., Outcome], *args: Any) -> Outcome:
        observation = self._observation
        if observation.observers:
            settle = partial(self._shown, name, settle)
        if not observation.counts_queries:
            return settle(*args)
        durations = observation.durations_of(name)
        count_queries()
        # As `counted_in`, which takes longer.
        before = current.get()
        current.set(durations)
        try:
            outcome = settle(*args)
        finally:
            current.set(before)
        if observation.warns:
            self._warn(outcome, durations)
        return outcome

    def _durations_of(self, name: str) -> list[float] | None:
        observation = self._observation
        return observation.durations_of(name) if observation.counts_queries else None

    # Observers

    def _new_run(self, name: str) -> PartRun:
        return PartRun(self.view, self.request, name, self._durations_of(name))

    def _shown(self, name: str, settle: Callable[..., Outcome], *args: Any) -> Outcome:
        """Let the observers see a run."""
        run, outcome = self._runs.pop(name, None) or self._new_run(name), None
        try:
            with ExitStack() as stack:
                self._enter(stack, run)
                outcome = settle(*args)
            return outcome
        finally:
            self._end(run, outcome)

    def _give_up(self, name: str) -> None:
        """End the run of a coroutine that was cancelled: nothing will settle it.

        A run in a thread is not known here. It goes on, and ends by itself.
        """
        run = self._runs.pop(name, None)
        if run is not None:
            self._end(run, None)

    def _end(self, run: PartRun, outcome: Outcome | None) -> None:
        run.ended = perf_counter()
        for observer in self._observation.observers:
            tolerate(observer.ended, run, outcome)

    def _enter(self, stack: ExitStack, run: PartRun) -> None:
        for observer in self._observation.observers:
            stack.enter_context(Tolerated(observer, run))

    # Warnings

    def _warn(self, outcome: Outcome, durations: list[float]) -> None:
        subject = f"Part {outcome.name!r} of {type(self.view).__name__}"
        if outcome.duration > SLOW_SECONDS:
            logger.warning("%s is slow: it took %.1f s.", subject, outcome.duration)
        if isinstance(durations, Statements):
            for statement, count in Counter(durations.statements).most_common(1):
                if count > MOST_REPEATS:
                    logger.warning(
                        "%s ran one statement %d times. If that is a query for each row, use "
                        "select_related() or prefetch_related(). The statement: %.500s",
                        subject,
                        count,
                        " ".join(statement.split()),
                    )
