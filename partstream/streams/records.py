"""The records of a stream: outcomes of its parts, as envelopes with cursors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic, perf_counter

from partstream.logs import get_logger
from partstream.parts.layout import names_json
from partstream.parts.outcome import Outcome, sent
from partstream.renderers import StreamRenderer
from partstream.resolution.observers import StreamRun
from partstream.resolution.pending import Ends
from partstream.resolution.resolver import Resolver
from partstream.resolution.schedule import AT_ONCE
from partstream.resolution.stream_schedule import StreamSchedule
from partstream.walks.walk import Walk
from partstream.walks.walk_cache import WalkCache
from partstream.wire.envelopes import envelope
from partstream.wire.errors import STREAM_FAILED

from .stream import Pause, Record

logger = get_logger("partstream.requests")


class End(Enum):
    """How a stream ended."""

    #: Every part was sent.
    COMPLETE = "complete"
    #: It was open for ``STREAM_MAX_SECONDS``.
    TIME_LIMIT = "time_limit"
    #: Its client left, or its server stopped.
    DEPARTED = "departed"
    #: It crashed.
    FAILED = "failed"


@dataclass
class Records:
    """The records of one response, in order of completion.

    Attributes:
        resolver: The parts of the request.
        walk: The walk, which issues cursors.
        cache: The walk's cache, through which a resumed stream joins running work; None: work
            cannot be joined.
        names: The parts that remain for this user, in declared order.
        total: The number of the walk's parts that exist for this user.
        renderer: The renderer that the client has chosen.
        manifest_url: Path of the manifest, if the view has one.
        deliver: Returns outcomes with their data as the view's own JSON renderer writes it.
        debug: Returns what outcomes cost, as JSON; None: this client does not see it.
        seconds: How long the stream may be open.
        slower_than: Seconds: a part that took longer is stored for a resumed stream.
        ends: Where parts arrive when they have ended.
        end: How the stream ended; until then, `End.DEPARTED`.
        resumes: Whether the request has a cursor.
    """

    resolver: Resolver
    walk: Walk
    cache: WalkCache | None
    names: Sequence[str]
    total: int
    renderer: StreamRenderer
    manifest_url: str | None
    deliver: Callable[[list[Outcome]], list[Outcome]]
    debug: Callable[[Sequence[Outcome]], bytes] | None
    seconds: float
    slower_than: float
    ends: Ends = field(default_factory=Ends)
    end: End = End.DEPARTED
    resumes: bool = False

    def __post_init__(self) -> None:
        self._layout = self.resolver.parts.layout
        self._remaining = set(self.names)
        self._is_first = True
        #: What observers see of the stream; None: nothing observes it.
        self._run: StreamRun | None = None
        #: Parts that were sent, but that others still depend on.
        self._needed: list[str] = []
        # Issue it now, while an error can still set the status: the token may be too long.
        self._token = self._issue(self.names)

    def steps(self) -> Iterator[Record | Pause]:
        """The steps of the stream; the first does nothing, see `Stream.begin`."""
        self._begin()
        try:
            yield Pause(AT_ONCE)
            yield from self._records()
        finally:
            self._finish()

    def _begin(self) -> None:
        seen, parts = self.resolver.observation, self.resolver.parts
        if seen is not None:
            self._run = StreamRun(parts.view, parts.request, resumes=self.resumes)
            seen.begin_stream(self._run)

    def _finish(self) -> None:
        seen, run = self.resolver.observation, self._run
        if seen is not None and run is not None:
            self.resolver.tell(self.names)
            run.ended, run.end = perf_counter(), self.end.value
            seen.end_stream(run)

    def _records(self) -> Iterator[Record | Pause]:
        schedule: StreamSchedule | None = None
        time_up = monotonic() + self.seconds
        try:
            ready = self.resolver.settle_values(self.names)
            self._remaining.difference_update(outcome.name for outcome in ready)
            names = [name for name in self.names if name in self._remaining]
            # Send it before any part starts: their threads would compete for the interpreter.
            yield self._record(ready, pending=names)
            if names:
                schedule = self.resolver.schedule(
                    names, self.cache, self.ends, slower_than=self.slower_than
                )
                yield from self._settled(schedule, time_up)
            self.end = End.TIME_LIMIT if self._remaining else End.COMPLETE
        except Exception:
            logger.exception("A stream of %s failed.", type(self.resolver.parts.view).__name__)
            self.end = End.FAILED
            yield self._failure()
        finally:
            if schedule is not None:
                schedule.leave()

    def _settled(self, schedule: StreamSchedule, time_up: float) -> Iterator[Record | Pause]:
        """Records of the outcomes that a schedule settles, until none remains or time is up."""
        moments = schedule.steps()
        while self._remaining:
            until = next(moments, AT_ONCE)
            outcomes = [outcome for outcome in schedule.take() if outcome.name in self._remaining]
            if outcomes:
                self._remaining.difference_update(outcome.name for outcome in outcomes)
                yield self._record(outcomes)
                self._forget(outcomes)
                del outcomes  # Their fragments may be freed while the stream waits.
                if not self._remaining:
                    return
            if monotonic() >= time_up:
                return
            if until == AT_ONCE:
                continue
            yield Pause(time_up if until is None else min(until, time_up))

    def _record(self, outcomes: list[Outcome], pending: Sequence[str] | None = None) -> Record:
        rest = [name for name in self.names if name in self._remaining]
        self._token = self._issue(rest)
        self.resolver.tell(self.names)
        delivered = self.deliver(outcomes)
        found = envelope(
            delivered,
            total=self.total,
            current=self.total - len(rest),
            cursor=self._token if rest else None,
            retry_cursors={
                outcome.name: self._issue([outcome.name])
                for outcome in delivered
                if outcome.failure is not None and outcome.failure.retryable
            },
            manifest_url=self.manifest_url,
            pending=None if pending is None else names_json(pending),
            debug=None if self.debug is None else self.debug(outcomes),
        )
        record = self._framed(found, len(outcomes))
        return record if rest else Record(self._to_the_end(record.pieces))

    def _failure(self) -> Record:
        """The last record of a stream that crashed, with the cursor of the previous record."""
        found = envelope(
            (),
            total=self.total,
            current=self.total - len(self._remaining),
            cursor=self._token,
            manifest_url=self.manifest_url,
            stream_error=STREAM_FAILED,
        )
        return self._framed(found, 0)

    def _to_the_end(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of the last record. A client that leaves after them has the whole stream."""
        yield from pieces
        self.end = End.COMPLETE

    def _framed(self, found: list[bytes], parts: int) -> Record:
        is_first, self._is_first = self._is_first, False
        if self._run is not None:
            self._run.add_record(parts)
        return Record(self.renderer.record(found, self._token, is_first=is_first))

    def _issue(self, names: Sequence[str]) -> str:
        index = self._layout.index
        return self.walk.issue(self._layout, [index[name] for name in names])

    def _forget(self, outcomes: Sequence[Outcome]) -> None:
        """Drop the sent fragments that no other part needs."""
        known = self.resolver.parts.outcomes
        names = [*self._needed, *(outcome.name for outcome in outcomes)]
        self._needed = []
        for name in names:
            if self._layout.gated and any(
                self._layout.names[position] in self._remaining
                for position in self._layout.dependents[name]
            ):
                self._needed.append(name)
            else:
                known[name] = sent(known[name])
