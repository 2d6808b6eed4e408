"""The schedule: brings parts that run elsewhere, are joined or cached to their outcomes.

It never waits. `Schedule.steps` is a generator that does what can be done, and then says until when
nothing can happen; its driver waits, in a thread or in an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from partstream.backends.executors.base import Executor
from partstream.backends.executors.calls import Call
from partstream.caching.flight import LOST, Flight
from partstream.caching.single_flight import (
    POLL_SECONDS,
    Found,
    Joined,
    Poll,
    SingleFlight,
    Turn,
    Wait,
    get_single_flight,
    obtain,
    proceed,
)
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.parts.declaration import LazyPart
from partstream.parts.failures import is_denial
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome, worth_keeping

from .boundary import Boundary
from .cached_parts import CachedParts
from .job import Job
from .launcher import Launcher
from .pending import Entry, Pending, Steps
from .request_parts import RequestParts


@dataclass(frozen=True)
class MovingWork:
    """How the next chunk of a walk joins the work that this one leaves running.

    Attributes:
        key_of: Makes the key of a part in this walk.
        ttl: Seconds that the store keeps what comes of the work.
        running: The parts that an earlier chunk has left running.
    """

    key_of: Callable[[str], str]
    ttl: int
    running: set[str]


class Schedule:
    """Brings parts to their outcomes. All its methods are called in the request's thread.

    Args:
        parts: The parts of the request.
        boundary: The error boundary of the request.
        executor: Where loaders run.
        launcher: Begins loaders.
        cached: What `cached_for` has kept.
        order: The parts to settle, each behind its dependencies.
        moving: How work that is left running is joined; None: no work is left. With it a part
            that finds the pool full waits for room, instead of running in the request's thread.

    Attributes:
        pending: What is under way; the driver waits for its next end.
    """

    def __init__(
        self,
        parts: RequestParts,
        boundary: Boundary,
        executor: Executor,
        launcher: Launcher,
        cached: CachedParts,
        order: Iterable[str],
        moving: MovingWork | None = None,
    ) -> None:
        self.pending = Pending()
        self._parts = parts
        self._outcomes = parts.outcomes
        self._layout = parts.layout
        self._boundary = boundary
        self._executor = executor
        self._launcher = launcher
        self._cached = cached
        self._moving = moving
        self._waiting = list(order)
        self._batch: list[tuple[Job, Flight | None]] = []
        self._polled_at = 0.0
        self._taken = 0

    def steps(self) -> Iterator[float | None]:
        """Do what can be done, until every part has its outcome.

        Yields:
            The moment until which nothing can happen, on the monotonic clock, unless something
            ends before; None: until something ends.
        """
        while True:
            yield from self._start()
            if not self.pending and not self._waiting:
                return
            yield from self._pause()

    def take(self) -> list[Outcome]:
        """The outcomes that are new since the last call, in order of completion."""
        found = self._parts.settled[self._taken :]
        self._taken += len(found)
        return found

    # Starting

    def _start(self) -> Iterator[float | None]:
        """Begin each part whose dependencies are settled."""
        if self._batch:
            self._gather()
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1:
            self._cached.ask(
                name
                for name in waiting
                if name not in self._outcomes
                and not self._is_left_running(name)
                and self._is_ready(name)
            )
        for position, name in enumerate(waiting):
            if name in self._outcomes or name in self.pending:
                continue
            if not self._is_ready(name):
                self._waiting.append(name)
                continue
            self._begin(name)
            while not self._executor.concurrent and self.pending.is_ours(name):
                yield from self._pause()  # One after another.
            if self._batch:
                # Coroutines run together: those further on come along.
                for other in waiting[position + 1 :]:
                    if self._is_coroutine(other) and self._is_ready(other):
                        self._begin(other)
                self._gather()

    def _is_left_running(self, name: str) -> bool:
        return self._moving is not None and name in self._moving.running

    def _is_ready(self, name: str) -> bool:
        layout = self._layout
        return (
            not layout.gated
            # A part that runs already needs nothing more.
            or self._is_left_running(name)
            or all(other in self._outcomes for other in layout.dependencies[layout.index[name]])
        )

    def _is_coroutine(self, name: str) -> bool:
        part = self._parts[name]
        return (
            name not in self._outcomes
            and name not in self.pending
            and isinstance(part, LazyPart)
            and self._parts.loader_of(name, part).is_async
        )

    def _begin(self, name: str) -> None:
        part, moving = self._parts[name], self._moving
        if not isinstance(part, LazyPart):
            self._parts.settle(self._boundary.settle_value(name, part, self._launcher.atomic))
            return
        loader = self._parts.loader_of(name, part)
        if moving is not None and name in moving.running:
            moving.running.discard(name)
            self._obtain(name, loader, moving, Turn.WAIT)
            return
        if self._layout.gated and self._parts.depends_on_failure(name):
            return
        caching = loader.caching
        if caching is not None:
            key, value = self._cached.find(name, part, loader)
            if value is not None:
                self._parts.settle(Outcome(name, value, None, 0.0, "cache"))
                return
            if key is not None:
                flights, fresh = self._flights, self._cached.fresh
                steps = obtain(flights, key, ttl=caching.ttl, fresh=fresh, looks=False)
                self._go_on(name, loader, steps, proceed(steps), of_walk=False)
                return
        if moving is not None:
            self._obtain(name, loader, moving, Turn.RUN)
        else:
            self._launch(name, loader, None)

    def _obtain(self, name: str, loader: Loader, moving: MovingWork, turn: Turn) -> None:
        """Make a part under its key in the walk, unless this walk makes it already."""
        steps = obtain(self._flights, moving.key_of(name), ttl=None, turn=turn)
        self._go_on(name, loader, steps, proceed(steps), of_walk=True)

    @property
    def _flights(self) -> SingleFlight:
        return get_single_flight()

    def _go_on(
        self, name: str, loader: Loader, steps: Steps, found: Wait | Poll | Found, *, of_walk: bool
    ) -> None:
        """Do what single flight says of a part."""
        if isinstance(found, Wait | Poll):
            flight = found.flight
            deadline, timeout = flight.deadline, self._parts.timeout_of(loader)
            if deadline is None and timeout is not None:
                deadline = monotonic() + timeout
            polls = isinstance(found, Poll)
            self.pending.add(Entry(name, loader, flight, deadline, steps, polls, of_walk))
        elif isinstance(found, bytes):
            self._parts.settle(Outcome(name, found, None, 0.0, "cache"))
        elif isinstance(found, Joined):
            self._take_over(name, loader, found.result, of_walk)
        elif found.flight is None or self._can_run(name):
            self._launch(name, loader, found.flight, of_walk=of_walk)
        else:
            self._flights.end(found.flight, LOST, failed=True)
            self._begin_again(name)

    def _can_run(self, name: str) -> bool:
        """Whether all dependencies are there: who joins running work has no need of them."""
        dependencies = self._layout.dependencies[self._layout.index[name]]
        return all(
            other in self._outcomes and self._outcomes[other].failure is None
            for other in dependencies
        )

    def _take_over(self, name: str, loader: Loader, result: object, of_walk: bool) -> None:
        """Settle a part by what another caller's flight was ended with."""
        if result is LOST:
            self._begin_again(name)
        elif isinstance(result, Outcome):
            if result.error is None or of_walk:
                self._parts.settle(result)
            elif is_denial(result.error):
                self._launch(name, loader, None)  # The other caller was denied, not this one.
            else:
                # The fallback is this request's own.
                self._parts.settle(self._boundary.fail(name, loader, result.error))
        elif isinstance(result, bytes):
            self._parts.settle(Outcome(name, result, None, 0.0, "cache"))
        elif isinstance(result, Exception):
            self._parts.settle(self._boundary.fail(name, loader, result))

    def _begin_again(self, name: str) -> None:
        """Begin a part that another caller was to make; its dependencies may be missing."""
        self._waiting += [
            other
            for other in self._layout.closure([name], self._outcomes)
            if other not in self.pending and other not in self._waiting
        ]

    # Running

    def _launch(
        self, name: str, loader: Loader, flight: Flight | None, *, of_walk: bool = False
    ) -> None:
        """Run a loader, or have it run; the flight, if there is one, ends with it."""
        try:
            job = self._launcher.prepare(name, self._parts[name], loader)
            begun: Outcome | Call | None
            if isinstance(job, Outcome):
                begun = job
            else:
                begun = self._launcher.begin(job, patient=self._moving is not None)
                if begun is None:
                    self._batch.append((job, flight))
                    return
        except NoCapacity:  # It will be tried again.
            if flight is not None:
                self._flights.end(flight, LOST)
            self._waiting.append(name)
            return
        except BaseException:
            if flight is not None:
                self._flights.end(flight, LOST, failed=True)
            raise
        self._note(name, loader, begun, flight, of_walk)

    def _gather(self) -> None:
        batch, self._batch = self._batch, []
        try:
            outcomes = self._launcher.gather([job for job, _ in batch])
        except BaseException:
            for _, flight in batch:
                if flight is not None:
                    self._flights.end(flight, LOST, failed=True)
            raise
        for (job, flight), outcome in zip(batch, outcomes, strict=True):
            self._note(job.name, job.loader, outcome, flight, False)

    def _note(
        self, name: str, loader: Loader, begun: Outcome | Call, flight: Flight | None, of_walk: bool
    ) -> None:
        """Note an outcome, or wait for the call that will return it."""
        if isinstance(begun, Outcome):
            self._parts.settle(begun)
            if flight is not None:
                _end(self._flights, flight, begun)
            return
        flights = None if flight is None else self._flights
        flight = Flight() if flight is None else flight
        flight.call = begun
        self.pending.add(Entry(name, loader, flight, begun.deadline, of_walk=of_walk))
        begun.on_done(lambda call: _end_call(flights, flight, call))

    # Waiting

    def _pause(self) -> Iterator[float | None]:
        """Let the driver wait until something happens, and take what happened."""
        polls = bool(self.pending.polled())
        until = self.pending.deadline()
        if polls or any(map(self._is_ready, self._waiting)):  # Ready parts wait for a free thread.
            soon = monotonic() + POLL_SECONDS
            until = soon if until is None else min(until, soon)
        yield until
        for entry in self.pending.take():
            self._arrived(entry)
        if not self.pending:
            return
        now = monotonic()
        for entry in self.pending.overdue(now):
            self._time_out(entry, now)
        if polls and now - self._polled_at >= POLL_SECONDS:
            self._poll()

    def _arrived(self, entry: Entry) -> None:
        name, loader, result = entry.name, entry.loader, entry.flight.result
        if entry.steps is not None:
            self._go_on(name, loader, entry.steps, proceed(entry.steps), of_walk=entry.of_walk)
        elif result is LOST:
            self._broke_off(entry)
        elif isinstance(result, Exception):
            self._fail(entry, result)
        else:
            self._parts.settle(result)

    def _broke_off(self, entry: Entry) -> None:
        """A call of this request's own ended without an outcome."""
        call, name, loader = entry.flight.call, entry.name, entry.loader
        error = None if call is None else call.error
        if error is None:
            self._begin_again(name)
        elif not isinstance(error, NoCapacity):
            raise error
        elif self._parts.timeout_of(loader) is not None:
            self._fail(entry, error)
        else:
            job = self._launcher.prepare(name, self._parts[name], loader)
            outcome = job if isinstance(job, Outcome) else self._launcher.run_here(job)
            self._parts.settle(outcome)

    def _fail(self, entry: Entry, error: Exception) -> None:
        """Settle a part that never came to its end."""
        seconds = monotonic() - entry.started
        self._parts.settle(self._boundary.fail(entry.name, entry.loader, error, seconds))

    def _time_out(self, entry: Entry, now: float) -> None:
        flight = entry.flight
        if flight.deadline is not None and flight.deadline <= now:
            entry.deadline = None
            error = flight.give_up()
            if error is not None:
                self._end(flight, error)
            return  # Its end is on the way.
        self.pending.discard(entry)
        if entry.steps is not None:
            entry.steps.close()
        self._fail(entry, PartTimeout("it took longer than its timeout"))

    def _end(self, flight: Flight, result: object) -> None:
        if flight.key is None:
            flight.end(result)
        else:
            self._flights.end(flight, result, failed=True)

    def _poll(self) -> None:
        """Look whether other processes have brought what is waited for."""
        self._polled_at = monotonic()
        polled = self.pending.polled()
        for flight, turn in self._flights.poll(polled).items():
            entry = polled[flight]
            if turn is Turn.WAIT or entry.steps is None:
                continue
            self.pending.discard(entry)
            found = proceed(entry.steps, turn)
            self._go_on(entry.name, entry.loader, entry.steps, found, of_walk=entry.of_walk)

    # Leaving

    def leave(self) -> None:
        """Leave the work that runs to the next chunk of the walk."""
        ours = []
        for entry in self.pending:
            if entry.of_walk and not entry.polls:
                ours.append(entry)
            elif entry.steps is not None:
                entry.steps.close()
            else:
                self._flights.watch(entry.flight)
        if not ours or self._moving is None:
            return
        callbacks = [(entry.flight, entry.callback) for entry in ours]
        ended = set(self._flights.leave(callbacks, self._moving.ttl))
        for entry in ours:
            if entry.flight in ended:
                self._arrived(entry)

    def drop(self) -> None:
        """The request fails: cancel what has not started and no other caller has joined."""
        for entry in self.pending:
            if entry.steps is not None:
                entry.steps.close()
            elif entry.flight.key is None or (entry.of_walk and entry.flight.waiting < 2):
                call = entry.flight.call
                if call is not None and call.cancel():
                    self._end(entry.flight, LOST)
        for _, flight in self._batch:
            if flight is not None:
                self._flights.end(flight, LOST)


def _end(flights: SingleFlight, flight: Flight, outcome: Outcome) -> None:
    """End a flight with what the loader brought."""
    value = worth_keeping(outcome)
    flights.end(flight, outcome, value=value, failed=value is None)


def _end_call(flights: SingleFlight | None, flight: Flight, call: Call) -> None:
    """End a flight with its call, in the thread that ran the call."""
    error = call.error
    if error is None and flights is not None:
        _end(flights, flight, call.result)
        return
    result = call.result
    if error is not None:
        result = error if isinstance(error, PartTimeout) else LOST
    if flights is None:
        flight.end(result)
    else:
        flights.end(flight, result, failed=True)
