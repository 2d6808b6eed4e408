"""What this process has measured since it was last collected."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from partstream.per_process import reset_after_fork

from .samples import (
    CACHE,
    COMPLETE,
    DEPARTED,
    FAILED,
    FIRST_PART,
    FIRST_RECORD,
    OK,
    PART,
    PART_ERRORS,
    PENDING,
    REFUSED,
    RESPONSE,
    RESUME,
    STREAM,
    THROTTLED,
    WITHOUT_ERROR,
    Samples,
    Table,
)

#: After so many responses they are added up, whether or not something asks for them.
_MOST_RESPONSES: Final = 1000


class StreamFigures(NamedTuple):
    """What is measured of a stream only.

    Attributes:
        end: How it ended; see `samples.COMPLETE`.
        resumes: Whether it began with a cursor.
        first_record: Seconds until its opening record was ready; None: there was none.
        first_part: Seconds until the first record with a part was ready; None: there was none.
    """

    end: str
    resumes: bool = False
    first_record: float | None = None
    first_part: float | None = None


class Response(NamedTuple):
    """One response and its parts, as a request leaves them.

    Attributes:
        view: The route of the view.
        status: The status; 0: the client left before there was one.
        seconds: How long it took.
        parts: Name, source or code of the error, seconds, and bytes of JSON of each part.
        pending: The parts that were left to a later chunk.
        looked_up: The `cached_for` parts that the cache was asked for.
        queries: Seconds of each query that was not a part's; None: neither queries nor memory were
            measured.
        part_queries: Part -> seconds of each of its queries.
        growth: By how many bytes it raised the peak of the process's memory.
        stream: What is measured of a stream only; None: it is none.
    """

    view: str
    status: int
    seconds: float
    parts: Sequence[tuple[str, str, float, int]]
    pending: Collection[str]
    looked_up: Collection[str]
    queries: Collection[float] | None
    part_queries: Mapping[str, Collection[float]]
    growth: int
    stream: StreamFigures | None = None


class Recorder:
    """Adds up what requests measure. Exact with any number of threads.

    A request only leaves its figures here. They are added up later, many at once.
    """

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._table = Table()
        self._responses: list[Response] = []

    def record(self, response: Response) -> None:
        """Add a response and its parts."""
        self._responses.append(response)
        # A stream may end where the garbage collector runs, in the midst of anything: it must not
        # wait for the lock. Whatever holds it adds up already.
        if len(self._responses) >= _MOST_RESPONSES and self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded since the last `take`."""
        return not (self._responses or self._table)

    def take(self) -> Table:
        """What was recorded since the last call."""
        with self._lock:
            self._add_up()
            taken, self._table = self._table, Table()
        return taken

    def _add_up(self) -> None:
        responses = self._responses
        # A request may append to the list meanwhile, so it is emptied from its front.
        count = len(responses)
        try:
            for response in responses[:count]:
                _add(self._table, response)
        finally:
            # One that cannot be added must not stay, and fail each later call.
            del responses[:count]


def _add(table: Table, response: Response) -> None:
    view, _, seconds, parts, pending, looked_up, queries, part_queries, growth, stream = response
    has_errors = False
    for name, kind, duration, size in parts:
        samples = table.of((PART, view, name, kind))
        samples.add(duration, 1 if kind == CACHE or name in looked_up else 0)
        if queries is not None:
            samples.track(part_queries.get(name, ()), size)
        has_errors = has_errors or kind not in WITHOUT_ERROR
    for name in pending:
        samples = table.of((PART, view, name, PENDING))
        samples.add(seconds, 1 if name in looked_up else 0)
        if queries is not None:
            samples.track(part_queries.get(name, ()), 0)
    if stream is None:
        samples = table.of((RESPONSE, view, "", _outcome(response.status, has_errors)))
    else:
        samples = _of_stream(table, view, stream, has_errors)
    samples.add(seconds)
    if queries is not None:
        every = [
            seconds for durations in (queries, *part_queries.values()) for seconds in durations
        ]
        samples.track(every, growth)


def _of_stream(table: Table, view: str, stream: StreamFigures, has_errors: bool) -> Samples:
    """Add what is measured of a stream only; returns the samples of the stream as a whole."""
    for measure, seconds in (
        (FIRST_RECORD, stream.first_record),
        (FIRST_PART, stream.first_part),
    ):
        if seconds is not None:
            table.of((measure, view, "", "")).add(seconds)
    if stream.resumes:
        table.of((RESUME, view, "", "")).count += 1
    outcome = PART_ERRORS if has_errors and stream.end == COMPLETE else stream.end
    return table.of((STREAM, view, "", outcome))


def _outcome(status: int, has_errors: bool) -> str:
    if not status:
        return DEPARTED
    if status >= 500:
        return FAILED
    if status >= 400:
        return THROTTLED if status == 429 else REFUSED
    return PART_ERRORS if has_errors else OK


#: The recorder of this process.
recorder = Recorder()
