"""Observers: code that sees each part that runs, for traces and progress displays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from types import TracebackType
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.logs import get_logger
from partstream.parts.outcome import Outcome

logger = get_logger("partstream.parts")


class PartRun:
    """One run of a part's loader, serializer and encoding, wherever it runs.

    Attributes:
        view: The view.
        request: DRF's request.
        name: The part.
        queries: Seconds of each of its queries so far; None: they are not counted.
        started: When it began, on the clock of ``time.perf_counter()``.
        ended: When it ended; None: it has not.
        notes: For an observer's own use, by the observer.
    """

    __slots__ = ("ended", "name", "notes", "queries", "request", "started", "view")

    def __init__(
        self, view: APIView, request: Request, name: str, queries: list[float] | None
    ) -> None:
        self.view = view
        self.request = request
        self.name = name
        self.queries = queries
        self.started = perf_counter()
        self.ended: float | None = None
        self.notes: dict[Any, Any] = {}


class StreamRun:
    """One stream: a response that delivers each part when it is ready.

    Moments are on the clock of ``time.perf_counter()``; None: there was no such moment, so far.

    Attributes:
        view: The view.
        request: DRF's request.
        resumes: Whether it began with a cursor: another response had delivered parts before.
        records: The number of its records so far.
        parts: The number of parts in them, failed ones among them.
        started: When the view made it.
        first_record: When its opening record was ready to be sent.
        first_part: When its first record with a part was ready to be sent.
        ended: When it ended.
        end: How it ended: ``"complete"``, ``"time_limit"`` (``STREAM_MAX_SECONDS``), ``"departed"``
            (the client left before it had everything, or the server stopped) or ``"failed"``; None:
            it is open.
        notes: For an observer's own use, by the observer.
    """

    __slots__ = (
        "end",
        "ended",
        "first_part",
        "first_record",
        "notes",
        "parts",
        "records",
        "request",
        "resumes",
        "started",
        "view",
    )

    def __init__(self, view: APIView, request: Request, *, resumes: bool) -> None:
        self.view = view
        self.request = request
        self.resumes = resumes
        self.records = self.parts = 0
        self.started = perf_counter()
        self.first_record: float | None = None
        self.first_part: float | None = None
        self.ended: float | None = None
        self.end: str | None = None
        self.notes: dict[Any, Any] = {}

    def add_record(self, parts: int) -> None:
        """Note that a record with so many parts is ready to be sent."""
        now = perf_counter()
        if self.first_record is None:
            self.first_record = now
        if parts and self.first_part is None:
            self.first_part = now
        self.records += 1
        self.parts += parts


class PartObserver:
    """Sees the parts of all requests of this process. Its methods do nothing by default.

    They are called from many threads. An exception that they raise is only logged.

    Example::

        class Progress(PartObserver):
            def ended(self, run, outcome):
                print(run.name, "took", run.ended - run.started)

        add_observer(Progress())
    """

    #: Whether it needs the queries of a `PartRun`. Counting takes a moment for each part.
    counts_queries: ClassVar[bool] = False

    def running(self, run: PartRun) -> AbstractContextManager[Any]:
        """A context manager that is entered around the part's code, in its thread or task.

        For a part whose loader is a coroutine it is called twice with the same run: around the
        coroutine, then around its serializer and encoding, in another thread.
        """
        return nullcontext()

    def ended(self, run: PartRun, outcome: Outcome | None) -> None:
        """The part has ended, or nothing waits for it any more.

        Args:
            run: The run.
            outcome: Its outcome; None: it failed after its timeout, or it is a coroutine that was
                cancelled at its timeout.
        """

    def resolved(
        self, view: APIView, request: Request, outcomes: Sequence[Outcome], pending: Sequence[str]
    ) -> None:
        """A request's parts have their outcomes, in the thread of the request.

        For a stream it is called with each record, and once more if parts have ended that were not
        sent.

        Args:
            view: The view.
            request: DRF's request.
            outcomes: All parts of the response, those that came from a cache among them, and
                the parts that they depend on; in order of completion. Of a stream, those that
                are new.
            pending: Parts that were left to a later chunk. Of a stream, those that have not ended.
        """

    def stream_began(self, run: StreamRun) -> None:
        """A view has made a stream; its parts have not begun.

        It is called in the context of the stream: its parts see the context variables that you set.
        """

    def stream_ended(self, run: StreamRun) -> None:
        """The stream has ended, in whatever way. Parts that its client left may still run."""


_observers: tuple[PartObserver, ...] = ()


def add_observer(observer: PartObserver) -> None:
    """Call an observer for every part from now on, until `remove_observer`."""
    global _observers
    _observers = (*_observers, observer)


def remove_observer(observer: PartObserver) -> None:
    """Stop calling an observer; requests that run already may still call it."""
    global _observers
    _observers = tuple(known for known in _observers if known is not observer)


def get_observers() -> tuple[PartObserver, ...]:
    """The observers that are called now."""
    return _observers


def tolerate(call: Callable[..., Any], *args: Any) -> None:
    """Call a method of an observer. An exception that it raises is only logged."""
    try:
        call(*args)
    except Exception:
        logger.exception("An observer of parts failed.")


class Tolerated:
    """The context manager of an observer around a part: it neither raises nor swallows anything."""

    def __init__(self, observer: PartObserver, run: PartRun) -> None:
        self._observer = observer
        self._run = run
        self._manager: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        """Enter it; an exception that it raises is only logged."""
        tolerate(self._begin)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it, if it was entered."""
        if self._manager is not None:
            tolerate(self._manager.__exit__, kind, error, trace)

    def _begin(self) -> None:
        manager = self._observer.running(self._run)
        manager.__enter__()
        self._manager = manager
