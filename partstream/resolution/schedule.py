"""The schedule of a resolution in which parts run elsewhere, are joined, or come from a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING

from partstream.backends.executors.calls import Call, State
from partstream.caching.flight import LOST, Flight
from partstream.caching.single_flight import POLL_SECONDS, Flights, Turn, get_flights
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.isolation.connections import give_back_pooled
from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome, worth_keeping

from .cached_parts import Lookup
from .launcher import Launch, Launcher
from .pending import Entry, UnderWay

if TYPE_CHECKING:
    from partstream.walks.walk_cache import WalkCache

    from .resolver import Resolver


class Schedule:
    """Brings parts to their outcomes, from the request's thread.

    Args:
        resolver: Whose outcomes they are.
        order: The parts, each behind its dependencies.
        wanted: Those of them that are to be delivered.
        atomic: Aliases of databases in an atomic block; None: nobody has looked yet.
        walk: The walk's cache, if it has one.
        joined: Name -> flight that an earlier chunk of the walk left running.
        budget: Seconds after which what is ready is enough; None: everything is waited for.
    """

    def __init__(
        self,
        resolver: Resolver,
        order: Iterable[str],
        wanted: Sequence[str],
        *,
        atomic: list[str] | None = None,
        walk: WalkCache | None = None,
        joined: Mapping[str, Flight] | None = None,
        budget: float | None = None,
    ) -> None:
        self._resolver = resolver
        self._boundary = resolver.boundary
        self._executor = resolver.executor
        self._renew = None if resolver.hooks is None else resolver.hooks.before
        self._outcomes = resolver.outcomes
        self._layout = resolver.parts.layout
        self._wanted = wanted
        self._walk = walk
        self._joined = dict(joined) if joined else {}
        self._ends = None if budget is None else monotonic() + budget
        self._waiting = list(order)
        self._under_way = UnderWay()
        self._batch: list[tuple[Launch, Flight | None]] = []
        self._polled = 0.0
        self._launcher = Launcher(resolver, atomic)

    def run(self) -> None:
        """Return when every part has its outcome; or when the budget is spent, and one has it."""
        try:
            while True:
                self._start()
                if not self._under_way and not self._waiting:
                    return
                until = self._until()
                if until is not None and monotonic() >= until:
                    self._leave_running()
                    return
                self._wait(until)
        except BaseException:
            self._drop()
            raise

    def _until(self) -> float | None:
        """When the budget is spent; None: there is nothing to send yet, or no budget."""
        if self._ends is None or not any(name in self._outcomes for name in self._wanted):
            return None
        return self._ends

    # Starting

    def _start(self) -> None:
        """Begin each part whose dependencies are there."""
        if self._batch:
            self._gather()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1:
            self._lookup.ask(
                name
                for name in waiting
                if name not in self._outcomes and name not in self._joined and self._is_ready(name)
            )
        for position, name in enumerate(waiting):
            if name in self._outcomes or name in self._under_way:
                continue
            if not self._is_ready(name):
                self._waiting.append(name)
                continue
            self._begin(name)
            while not self._executor.concurrent and self._under_way.is_ours(name):
                self._wait()  # One after another.
            if self._batch:
                # Coroutines run together: those further on come along.
                for other in waiting[position + 1 :]:
                    if self._is_coroutine(other) and self._is_ready(other):
                        self._begin(other)
                self._gather()

    def _is_ready(self, name: str) -> bool:
        layout = self._layout
        # One that runs already needs nothing more.
        return (
            not layout.gated
            or name in self._joined
            or all(other in self._outcomes for other in layout.dependencies[layout.index[name]])
        )

    def _is_coroutine(self, name: str) -> bool:
        part = self._resolver.parts[name]
        return (
            name not in self._outcomes
            and name not in self._under_way
            and isinstance(part, LazyPart)
            and self._resolver.loader_of(name, part).is_async
        )

    def _begin(self, name: str) -> None:
        part = self._resolver.parts[name]
        if not isinstance(part, LazyPart):
            atomic = self._launcher.atomic
            self._outcomes[name] = self._boundary.settle(name, part, None, None, atomic)
            return
        loader = self._resolver.loader_of(name, part)
        flight = self._joined.pop(name, None)
        if flight is not None:
            self._wait_at(name, loader, flight, polls=not flight.claims)
            return
        if self._layout.gated and self._resolver.depends_on_failure(name):
            return
        key, value = None, None
        if loader.caching is not None:
            key, value = self._lookup.find(name, part, loader)
        if value is not None:
            self._outcomes[name] = Outcome(name, value, None, 0.0, "cache")
        elif key is None:
            self._launch(name, part, loader, None)
        else:
            self._board(name, part, loader, key)

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self._resolver)

    @property
    def _flights(self) -> Flights:
        return get_flights()

    # Flights

    def _board(self, name: str, part: LazyPart, loader: Loader, key: str) -> None:
        """Make the value, unless somebody does so already."""
        flight, own = self._flights.board(key, fresh=self._resolver.fresh)
        if own:
            try:
                self._take(name, loader, flight, self._flights.claim(flight))
            except BaseException:
                # A flight without an owner would keep all others waiting.
                self._flights.end(flight, LOST, failed=True)
                raise
        elif flight.is_nested():
            self._launch(name, part, loader, None)
        else:
            self._wait_at(name, loader, flight)

    def _take(self, name: str, loader: Loader, flight: Flight, turn: bytes | Turn) -> None:
        """Go on with a flight of our own as the store says."""
        if turn is Turn.WAIT:
            if name not in self._under_way:
                self._wait_at(name, loader, flight, polls=True)
            return
        self._under_way.discard(name)
        if isinstance(turn, bytes):
            outcome = self._outcomes[name] = Outcome(name, turn, None, 0.0, "cache")
            self._flights.end(flight, outcome)
        elif flight.claims:
            self._launch(name, self._resolver.parts[name], loader, flight)
        else:
            # The walk's other process did not come to an end.
            self._begin_anew(name)

    # Running

    def _launch(self, name: str, part: LazyPart, loader: Loader, flight: Flight | None) -> None:
        """Run a loader, or have it run; the flight, if there is one, ends with it."""
        try:
            outcome = self._launcher.launch(name, part, loader, patient=self._ends is not None)
        except NoCapacity:  # It will be tried again: the budget allows to wait.
            if flight is not None:
                self._flights.end(flight, LOST)
            self._waiting.append(name)
            return
        except BaseException:
            if flight is not None:
                self._flights.end(flight, LOST, failed=True)
            raise
        if isinstance(outcome, Call):
            self._wait_at_call(name, loader, outcome, flight)
        elif isinstance(outcome, Launch):
            self._batch.append((outcome, flight))
        else:
            self._settle(name, loader, flight, outcome)

    def _settle(self, name: str, loader: Loader, flight: Flight | None, outcome: Outcome) -> None:
        self._outcomes[name] = outcome
        if flight is not None:
            _end(self._flights, flight, loader, outcome)

    def _gather(self) -> None:
        batch, self._batch = self._batch, []
        try:
            outcomes = self._launcher.gather([launch for launch, _ in batch])
        except BaseException:
            for _, flight in batch:
                if flight is not None:
                    self._flights.end(flight, LOST, failed=True)
            raise
        for (launch, flight), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Call):
                self._wait_at_call(launch.name, launch.loader, outcome, flight)
            else:
                self._settle(launch.name, launch.loader, flight, outcome)

    def _wait_at_call(self, name: str, loader: Loader, call: Call, flight: Flight | None) -> None:
        if flight is None:
            self._under_way.add_call(name, loader, call)
            return
        flight.call = call
        flights = self._flights
        self._wait_at(name, loader, flight, is_ours=True)
        call.on_done(lambda call: _end_call(flights, flight, loader, call))

    def _wait_at(self, name: str, loader: Loader, flight: Flight, **kind: bool) -> None:
        timeout = self._resolver.timeout_of(loader)
        self._under_way.add_flight(name, loader, flight, timeout, **kind)

    # Waiting

    def _wait(self, until: float | None = None) -> None:
        """Wait until something happens, or this moment comes, and take what happened."""
        now = monotonic()
        polls = bool(self._under_way.polled())
        if polls or (self._waiting and self._waits_for_capacity()):
            soon = now + POLL_SECONDS
            until = soon if until is None else min(until, soon)
        give_back_pooled(self._renew)  # The workers that are waited for may need one.
        for name, entry in self._under_way.wait(until):
            self._arrived(name, entry)
        if not self._under_way:
            return
        now = monotonic()
        for name, entry in self._under_way.overdue(now):
            self._time_out(name, entry, now)
        if polls and now - self._polled >= POLL_SECONDS:
            self._poll()

    def _waits_for_capacity(self) -> bool:
        return any(self._is_ready(name) for name in self._waiting)

    def _arrived(self, name: str, entry: Entry) -> None:
        source = entry.source
        if isinstance(source, Call):
            if source.error is None:
                self._outcomes[name] = source.result
            else:
                self._broke_off(name, entry, source.error)
            return
        result = source.result
        if result is LOST:
            if entry.is_ours and source.call is not None and source.call.error is not None:
                self._broke_off(name, entry, source.call.error)
            else:
                self._begin_anew(name)
        elif isinstance(result, Exception):
            self._fail(name, entry, result)
        elif result.error is None or entry.is_ours or source.lingers:
            self._outcomes[name] = result
        else:
            self._recover(name, entry, result.error)

    def _broke_off(self, name: str, entry: Entry, error: BaseException) -> None:
        """A call of this request's own ended without an outcome."""
        if isinstance(error, PartTimeout):
            self._fail(name, entry, error)
        elif not isinstance(error, NoCapacity):
            raise error
        elif self._resolver.timeout_of(entry.loader) is not None:
            self._fail(name, entry, error)
        else:
            part = self._resolver.parts[name]
            self._outcomes[name] = self._launcher.run_here(name, part, entry.loader)

    def _recover(self, name: str, entry: Entry, error: BaseException) -> None:
        """A flight that was run for another request failed: the fallback is this request's own."""
        if entry.loader.is_denial(error):
            # That was for somebody else.
            self._launch(name, self._resolver.parts[name], entry.loader, None)
        else:
            self._outcomes[name] = self._boundary.fail(name, entry.loader, error, 0.0)

    def _begin_anew(self, name: str) -> None:
        """Begin a part that somebody else was to make; what it depends on may be missing."""
        self._waiting += [
            other
            for other in self._layout.closure([name], self._outcomes)
            if other not in self._under_way and other not in self._waiting
        ]

    def _fail(self, name: str, entry: Entry, error: Exception) -> None:
        """Settle a part that never came to its end."""
        seconds = monotonic() - entry.started
        self._outcomes[name] = self._boundary.fail(name, entry.loader, error, seconds)

    def _time_out(self, name: str, entry: Entry, now: float) -> None:
        source = entry.source
        error: Exception = PartTimeout("it took longer than its timeout")
        entry.deadline = None
        if isinstance(source, Call):
            state = source.give_up()
            if state is State.DONE:
                return  # At the last moment; its event is on the way.
            if state is State.CANCELLED:
                error = NoCapacity("it waited for a thread until its timeout")
        elif source.deadline is not None and source.deadline <= now:
            self._flights.give_up(source)
            return  # As above.
        elif entry.polls and source.claims:
            self._flights.end(source, LOST)
        self._under_way.discard(name)
        self._fail(name, entry, error)

    def _poll(self) -> None:
        """Look whether other processes have brought what is waited for."""
        self._polled = monotonic()
        polled = self._under_way.polled()
        for flight, turn in self._flights.poll(polled).items():
            name, entry = polled[flight]
            self._take(name, entry.loader, flight, turn)

    # Leaving

    def _leave_running(self) -> None:
        """The budget is spent: what runs is left to the next chunk."""
        for flight in self._under_way.our_flights().values():
            self._flights.watch(flight)
        self._leave_polled()
        if self._walk is not None:
            self._walk.leave_running(self._under_way.calls(), self._under_way.our_flights())

    def _leave_polled(self) -> None:
        for flight in self._under_way.polled():
            if flight.claims:
                self._flights.end(flight, LOST)

    def _drop(self) -> None:
        """The request fails: cancel what has not started and nobody else has joined."""
        self._leave_polled()
        for call in self._under_way.calls().values():
            call.cancel()
        for _, flight in self._batch:
            if flight is not None:
                self._flights.end(flight, LOST)


def _end(flights: Flights, flight: Flight, loader: Loader, outcome: Outcome) -> None:
    """End a flight with what the loader brought."""
    keep = worth_keeping(outcome)
    ttl = 0 if loader.caching is None else loader.caching.ttl
    flights.end(flight, outcome, keep=keep, ttl=ttl, failed=keep is None)


def _end_call(flights: Flights, flight: Flight, loader: Loader, call: Call) -> None:
    if call.error is None:
        _end(flights, flight, loader, call.result)
    else:
        late = isinstance(call.error, PartTimeout)
        flights.end(flight, call.error if late else LOST, failed=True)
