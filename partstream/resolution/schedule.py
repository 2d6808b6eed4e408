"""The schedule: settles parts that run elsewhere, are cached, or are joined.

It never waits. `Schedule.steps` is a generator that does all work that is possible now, and then
yields until when nothing can happen; its driver waits, in a thread or in an event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from time import monotonic
from typing import Any, Final

from partstream.backends.executors.calls import Call
from partstream.caching.flight import FAILED, LOST, Flight
from partstream.caching.protocol import Found, Joined, Run, Wait, obtain, proceed
from partstream.caching.single_flight import Turn, get_single_flight
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.parts.declaration import LazyPart
from partstream.parts.failures import is_refusal
from partstream.parts.outcome import Outcome, joined
from partstream.walks.walk_cache import WalkCache

from .boundary import Boundary
from .cached_parts import CachedParts
from .job import Job
from .launcher import Launcher
from .pending import Ends, Entry, Pending
from .request_parts import RequestParts
from .waiting import Waiting

#: Yielded by `Schedule.steps`: go on at once.
AT_ONCE: Final = 0.0
#: Seconds until the next try where an executor of the project's refuses a call, and does not
#: announce when it has room again.
_RETRY_SECONDS: Final = 0.01


class Schedule:
    """Settles parts, in the request's thread.

    Args:
        order: The parts to settle, each after its dependencies.
        walk: The walk whose next chunk joins unfinished work; None: none is left unfinished.
        ends: Where ends of parts arrive.

    Attributes:
        pending: The parts in progress; the driver waits until one of them ends.
    """

    def __init__(
        self,
        parts: RequestParts,
        boundary: Boundary,
        launcher: Launcher,
        cached: CachedParts,
        order: Iterable[str],
        walk: WalkCache | None = None,
        ends: Ends | None = None,
    ) -> None:
        self.pending = pending = Pending(ends)
        self._parts = parts
        self._outcomes = parts.outcomes
        self._boundary = boundary
        self._launcher = launcher
        self._cached = cached
        self._walk = walk
        #: Whether parts that run in this thread alternate with parts that run elsewhere.
        self._mixed = parts.layout.has_executors
        self._waiting = Waiting(parts, pending, order)
        self._batch: list[tuple[Job, Entry]] = []
        self._taken = 0

    def steps(self) -> Iterator[float | None]:
        """Start and settle parts, until every part has its outcome.

        Yields:
            When to go on at the latest, on the monotonic clock: earlier if a pending part ends;
            None: only then; `AT_ONCE`: now, unless the driver stops here. That comes between parts
            that run in this thread.
        """
        while True:
            yield from self._start()
            if not self.pending and not self._waiting:
                self._waiting.leave()
                return
            yield from self._pause()

    def take(self) -> list[Outcome]:
        """The new outcomes since the last call, in order of completion."""
        found = list(islice(self._outcomes.values(), self._taken, None))
        self._taken += len(found)
        return found

    def _settle(self, outcome: Outcome) -> None:
        self._outcomes[outcome.name] = outcome

    # Starting

    def _start(self) -> Iterator[float | None]:
        """Start what can start now: what runs elsewhere first, then one after another the rest."""
        waiting, goes_on = self._waiting, True
        while goes_on:
            goes_on = False
            elsewhere, here = waiting.take()
            if len(elsewhere) + len(here) > 1:
                self._cached.ask(filter(waiting.is_ready, chain(elsewhere, here)))
            for name in elsewhere:
                if waiting.is_ready(name):
                    self._begin(name)
                else:
                    waiting.add(name)
            if self._mixed:
                here.sort(key=waiting.is_lazy)  # Values are ready before any loader runs.
            for position, name in enumerate(here):
                if name in self._outcomes or name in self.pending:
                    continue  # A coroutine, which began with another one.
                is_lazy = waiting.is_lazy(name)
                if not waiting.is_ready(name) or (is_lazy and waiting.must_wait(name)):
                    waiting.add(name)
                    continue
                alternates = is_lazy and self._alternates(name)
                if alternates:
                    yield AT_ONCE
                    if self._handle():
                        # Parts that run elsewhere may be able to start now: they are first.
                        waiting.add(*here[position:])
                        goes_on = True
                        break
                self._begin(name)
                if self._batch:
                    # Coroutines run together, so start the later ones, too.
                    for other in here[position + 1 :]:
                        if waiting.is_next_coroutine(other):
                            self._begin(other)
                    self._gather()
                goes_on = goes_on or name in self._outcomes or name in self.pending
                if alternates:
                    waiting.add(*here[position + 1 :])
                    break
            goes_on = goes_on and bool(waiting)

    def _alternates(self, name: str) -> bool:
        """Whether what has ended elsewhere is handled before this part runs in this thread."""
        return self._mixed

    def join_running(self, names: Iterable[str]) -> None:
        """Wait for parts that an earlier chunk left running; they need no dependencies."""
        for name in names:
            entry = Entry(name, self._parts.loader_of(name, self._parts[name]))
            self._make(entry, Turn.WAIT)

    def _begin(self, name: str) -> None:
        part = self._parts[name]
        if not isinstance(part, LazyPart):
            self._settle(self._boundary.settle_value(name, part, self._launcher.atomic))
            return
        if self._parts.layout.gated and self._parts.depends_on_failure(name):
            return
        has_room = self._waiting.has_room(name)
        if not has_room and self._waiting.is_held(name):
            self._waiting.hold(name)  # It is not in the cache.
            return
        loader = self._parts.loader_of(name, part)
        caching = loader.caching
        key, value = (None, None) if caching is None else self._cached.find(name, part, caching)
        if value is not None:
            self._settle(Outcome(name, value, None, 0.0, "cache"))
        elif not has_room:
            self._waiting.hold(name)
        elif key is not None and caching is not None:
            flights, fresh = get_single_flight(), self._cached.fresh
            steps = obtain(flights, key, ttl=caching.ttl, fresh=fresh, looks=False)
            self._go_on(Entry(name, loader, steps), proceed(steps))
        else:
            self._make(Entry(name, loader))

    def _make(self, entry: Entry, turn: Turn = Turn.RUN, *, claims: bool = True) -> None:
        """Run a part: in a walk under its key there, or join the run that exists already."""
        if self._walk is None:
            self._launch(entry, Flight())
            return
        entry.of_walk, key = True, self._walk.key_of(entry.name)
        # Where the process that made it has died, others may wait for this one.
        ttl = self._walk.ttl if turn is Turn.WAIT else None
        entry.steps = obtain(get_single_flight(), key, ttl=ttl, turn=turn)
        self._go_on(entry, proceed(entry.steps))

    def _go_on(self, entry: Entry, found: Wait | Found) -> None:
        """Act on the next step, or on the result, of a part's single flight."""
        result: Any = found.result if isinstance(found, Joined) else found
        if isinstance(result, Wait):
            timeout = self._parts.timeout_of(entry.name, entry.loader)
            self.pending.add(entry, result.flight, timeout)
        elif isinstance(result, bytes):
            self._settle(Outcome(entry.name, result, None, 0.0, "cache"))
        elif isinstance(result, Run):
            if result.flight.key is None and not entry.of_walk:
                self._make(entry)  # To join, it would wait for itself.
            elif self._parts.can_run(entry.name):
                self._launch(entry, result.flight)
            else:
                result.flight.finish(LOST)
                self._waiting.add_again(entry.name)
        elif result is LOST:
            self._lost(entry)
        elif result is FAILED:
            self._make(entry, claims=False)
        elif isinstance(result, Exception):
            self._fail(entry, result)
        elif entry.steps is None:
            self._settle(result)
        elif result.error is None or entry.of_walk:
            self._settle(joined(result))
        elif is_refusal(result.error):
            self._make(entry)  # Another caller was refused, not this one.
        else:  # The fallback is this request's own.
            self._settle(self._boundary.fail(entry.name, entry.loader, result.error))

    # Running

    def _launch(self, entry: Entry, flight: Flight) -> None:
        """Run a loader here, or start it elsewhere; the flight ends when it does."""
        entry.flight, entry.steps = flight, None
        name = entry.name
        try:
            has_room = self._waiting.has_room(name)
        except BaseException:  # An executor of the project's says how much room it has.
            flight.finish(LOST, failed=True)
            raise
        if not has_room:  # Another caller's run was lost.
            flight.finish(LOST)
            self._waiting.hold(name)
            return
        self._waiting.release(name)
        claim = flight if entry.claims and flight.key is not None else None
        try:
            begun = self._launcher.begin(name, self._parts[name], entry.loader, claim)
        except NoCapacity as error:  # Try again later.
            flight.finish(LOST)
            self._waiting.add(name)
            if error.room is not None:
                self._waiting.wait_for(error.room)
        except BaseException:
            flight.finish(LOST, failed=True)
            raise
        else:
            self._note(entry, begun)
            if isinstance(begun, Call) and not self._parts.executor_of(name).concurrent:
                self._waiting.note_alone(name)

    def _gather(self) -> None:
        batch, self._batch = self._batch, []
        try:
            results = self._launcher.gather([job for job, _ in batch])
        except BaseException:
            for _, entry in batch:
                entry.flight.finish(LOST, failed=True)
            raise
        for (_, entry), result in zip(batch, results, strict=True):
            self._note(entry, result)

    def _note(self, entry: Entry, begun: Outcome | Call | Job | bytes | Turn) -> None:
        """Note an outcome, or wait for the call that will return it."""
        if isinstance(begun, Outcome):
            self._settle(begun)
            entry.end_with(begun)
        elif isinstance(begun, Job):
            self._batch.append((begun, entry))
        else:
            entry.flight.call = begun if isinstance(begun, Call) else None
            self.pending.add(entry, entry.flight, None)
            if isinstance(begun, Call):
                begun.on_done(entry.end_with_call)
            else:
                entry.end_with(begun)

    # Waiting

    def _pause(self) -> Iterator[float | None]:
        """Let the driver wait; then handle what has ended, and what is overdue."""
        until = self.pending.deadline()
        if self._waiting.polls():
            soon = monotonic() + _RETRY_SECONDS
            until = soon if until is None else min(until, soon)
        yield until
        self._handle()

    def _handle(self) -> bool:
        """Handle what has ended, and what is overdue; returns whether a part has ended."""
        has_ended = False
        for entry in self.pending.take():
            self._arrived(entry)
            has_ended = True
        if self._batch:
            self._gather()
        if self.pending:
            now = monotonic()
            for entry in self.pending.overdue(now):
                self._time_out(entry, now)
        return has_ended

    def _arrived(self, entry: Entry) -> None:
        steps = entry.steps
        self._go_on(entry, Joined(entry.flight.result) if steps is None else proceed(steps))

    def _lost(self, entry: Entry) -> None:
        """Handle a part whose flight ended without an outcome."""
        call = entry.flight.call if entry.steps is None else None
        error = None if call is None else call.error
        if error is None:
            self._waiting.add_again(entry.name)
        elif not isinstance(error, NoCapacity):
            raise error
        elif self._parts.timeout_of(entry.name, entry.loader) is not None:
            self._fail(entry, error)
        else:
            part = self._parts[entry.name]
            self._settle(self._launcher.run(entry.name, part, entry.loader))

    def _fail(self, entry: Entry, error: Exception) -> None:
        """Settle a part whose loader did not finish."""
        seconds = monotonic() - entry.started
        self._settle(self._boundary.fail(entry.name, entry.loader, error, seconds))

    def _time_out(self, entry: Entry, now: float) -> None:
        flight = entry.flight
        if flight.deadline is not None and flight.deadline <= now:
            entry.deadline = None
            error = flight.give_up()
            if error is not None:
                flight.finish(error, failed=True)
            return  # Its end arrives through the queue.
        self.pending.discard(entry)
        if entry.steps is not None:
            entry.steps.close()
        self._fail(entry, PartTimeout("it took longer than its timeout"))

    # Leaving

    def leave(self) -> None:
        """Leave unfinished work to the next chunk of the walk."""
        flights, left, walk = get_single_flight(), [], self._walk
        self._waiting.leave()
        if walk is None:
            return
        for entry in self.pending:
            if entry.of_walk and not entry.flight.polled:
                left.append((entry.flight, entry.ended))
                continue
            self.pending.discard(entry)
            if entry.steps is not None:
                entry.steps.close()
            else:
                flights.watch(entry.flight)
                own, is_new = flights.join(walk.key_of(entry.name))
                if is_new:
                    entry.share_with(own)  # It may not be in the cache for the next chunk.
        ended = flights.leave(left, walk.ttl)
        for entry in self.pending:
            if entry.flight in ended:
                self._arrived(entry)
        self._drop_batch()

    def drop(self) -> None:
        """The request failed: cancel calls that have not started and no other caller has joined."""
        self._waiting.leave()
        for entry in self.pending:
            call = entry.flight.call
            if entry.steps is not None:
                entry.steps.close()
            elif call is not None and entry.flight.waiting < 2 and call.cancel():
                entry.flight.finish(LOST)
        self._drop_batch()

    def _drop_batch(self) -> None:
        for _, entry in self._batch:
            entry.flight.finish(LOST)
