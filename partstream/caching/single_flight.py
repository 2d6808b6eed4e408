"""Single flight: of many callers who want a value, one makes it and the others wait.

In a process they meet at a `Flight`. Across processes a flight has a lock in the cache store, with
a short time to live that is renewed while the loader runs: a process that dies holds up the others
for at most `LOCK_TTL`. A process that does not get the lock looks for the value every
`POLL_SECONDS`.

`obtain` is the protocol: a generator that says what to wait for, and leaves the waiting to its
driver. A request's schedule drives it, and so do direct calls of loaders, sync and async.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from enum import Enum
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any, Final, NamedTuple

from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.pool import WorkerPool
from partstream.backends.loader import get_cache_store
from partstream.conf import SETTING
from partstream.exceptions import NoCapacity
from partstream.logs import get_logger
from partstream.per_process import Kept, reset_after_fork

from .flight import LOST, Caller, Flight, current_caller
from .lock_renewal import LockRenewal

logger = get_logger("partstream.cache")

#: Seconds that a lock outlives its owner.
LOCK_TTL: Final = 3
#: Seconds between two looks for a value that another process makes.
POLL_SECONDS: Final = 0.01

#: Seconds for which a failed owner tells waiting processes to run the loader themselves.
_FAILED_TTL: Final = 1
_FAILED: Final = b"failed"
_MOST_REFUSALS: Final = 3
#: Results that wait for the next caller: how many, and for how many seconds.
_MOST_RESULTS: Final = 100
_RESULT_SECONDS: Final = 60


class Turn(Enum):
    """What a process is to do about a flight of its own."""

    RUN = "run"
    WAIT = "wait"


class SingleFlight:
    """The flights of this process, over one store.

    Args:
        store: Where values and locks are.
    """

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, with no flights."""
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        #: Of flights whose owner left: when the result is forgotten, and the flight.
        self._results: OrderedDict[str, tuple[float, Flight]] = OrderedDict()
        self._renewal = LockRenewal(self._tend, LOCK_TTL / 3)
        self._token = token_hex(8).encode()

    # Within the process

    def join(
        self,
        key: str,
        *,
        ttl: int | None = None,
        fresh: bool = False,
        caller: Caller | None = None,
    ) -> tuple[Flight, bool]:
        """The flight to this value, and whether it is the caller's own: then they make the value.

        Args:
            key: The value's key.
            ttl: Seconds that the store keeps the value; None: it does not keep it.
            fresh: Whether a value that is in the store already will not do.
            caller: Who asks; None: the current thread and task.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None and self._results:
                # One caller gets a result that waits.
                expires, ended = self._results.pop(key, (0.0, None))
                flight = ended if expires > monotonic() else None
            if flight is not None:
                return flight, False
            owner = current_caller() if caller is None else caller
            flight = self._flights[key] = Flight(key, ttl=ttl, fresh=fresh, owner=owner)
            return flight, True

    def look(self, key: str) -> bytes | None:
        """The value in the store; while it is made here for want of one, the store is not asked."""
        flight = self._flights.get(key)
        return self.store.get(key) if flight is None or flight.fresh else None

    def is_under_way(self, key: str) -> bool:
        """Whether a caller who joins now would find a flight, or a result that waits."""
        return key in self._flights or key in self._results

    # Across processes

    def claim(self, flight: Flight) -> bytes | Turn:
        """The first step of a flight's owner: the value, or what to do."""
        store = self.store
        if store.shared and not flight.locked:
            if not store.add(flight.lock_key, self._token, LOCK_TTL):
                return Turn.WAIT
            flight.locked = True
            self._renewal.watch(flight)
            if flight.has_ended:
                # Its owner was cancelled while the lock was on its way.
                store.delete(flight.lock_key)
                return Turn.WAIT
        # It may have come between the caller's look and the lock.
        value = None if flight.fresh else store.get(str(flight.key))
        return Turn.RUN if value is None else value

    def poll(self, flights: Iterable[Flight]) -> dict[Flight, bytes | Turn]:
        """Look for what other processes make: a value, or what to do, for each of the flights."""
        flights = list(flights)
        entries = self.store.get_many(
            [key for flight in flights for key in (str(flight.key), flight.lock_key)]
        )
        found: dict[Flight, bytes | Turn] = {}
        for flight in flights:
            lock, value = entries.get(flight.lock_key), entries.get(str(flight.key))
            if value is not None and not (flight.fresh and lock is not None):
                found[flight] = value
            elif lock == _FAILED:
                # Each process once, and without a queue.
                found[flight] = Turn.RUN
            elif lock is not None:
                found[flight] = Turn.WAIT
            else:
                turn = self.claim(flight)
                flight.refused = flight.refused + 1 if turn is Turn.WAIT else 0
                # A lock that can be neither had nor read: no other process is behind it.
                found[flight] = Turn.RUN if flight.refused > _MOST_REFUSALS else turn
        return found

    # The end

    def end(
        self,
        flight: Flight,
        result: Any,
        *,
        value: bytes | None = None,
        failed: bool = False,
        pool: WorkerPool | None = None,
    ) -> None:
        """End a flight: tell those who wait, keep the value, give the lock back.

        Args:
            flight: The flight.
            result: What they are told; LOST: that they have to start again.
            value: What the store keeps, where the flight has a ``ttl``.
            failed: Whether there is nothing to hand on: waiting processes run the loader.
            pool: Whose thread gives the lock back; None: this one. An event loop must not ask a
                store that is a cache in the database.
        """
        keeps = is_kept = False

        def prepare(waiting: int) -> None:
            nonlocal keeps, is_kept
            try:
                # First for the other processes: those who wait here keep the interpreter busy then.
                if value is not None and flight.ttl is not None:
                    keeps = True
                    is_kept = self.store.set_many({str(flight.key): value}, flight.ttl)
            finally:
                if not is_kept:
                    # Before they are told, or they would find the flight when they start again.
                    self._forget(flight, waits=not waiting and result is not LOST)

        if not flight.end(result, prepare):
            return
        self._renewal.unwatch(flight)
        if flight.locked:
            self._unlock(flight, failed or (keeps and not is_kept), pool)
        if is_kept:
            self._forget(flight)
        if flight.left:
            flight.call = None  # It holds on to the request.

    def _unlock(self, flight: Flight, failed: bool, pool: WorkerPool | None) -> None:
        unlock: Callable[[], object] = partial(self.store.delete, flight.lock_key)
        if failed:
            unlock = partial(self.store.set_many, {flight.lock_key: _FAILED}, _FAILED_TTL)
        if pool is None:
            unlock()
            return
        try:
            pool.submit(unlock)
        except NoCapacity:
            logger.warning("The lock of %r is left to expire: no thread is free.", flight.key)

    def _forget(self, flight: Flight, *, waits: bool = False) -> None:
        key = str(flight.key)
        with self._lock:
            if waits and flight.left:
                now, results = monotonic(), self._results
                while results and (
                    len(results) >= _MOST_RESULTS or next(iter(results.values()))[0] < now
                ):
                    results.popitem(last=False)
                results[key] = (now + _RESULT_SECONDS, flight)
            if self._flights.get(key) is flight:
                del self._flights[key]

    # Flights whose request does not wait for them

    def watch(self, flight: Flight) -> None:
        """Keep the deadline of a flight that nobody may be waiting for."""
        self._renewal.watch(flight)

    def leave(
        self, flights: Iterable[tuple[Flight, Callable[[Flight], None] | None]], ttl: int
    ) -> list[Flight]:
        """Let others have what comes of running flights, here or in another process.

        Args:
            flights: Each with the callback by which the caller waits for it.
            ttl: Seconds that the store keeps the values.

        Returns:
            Those that have ended already: their results are the caller's.
        """
        leaving = list(flights)
        if leaving and self.store.shared:
            locks = {flight.lock_key: self._token for flight, _ in leaving}
            self.store.set_many(locks, LOCK_TTL)
        ended = []
        for flight, callback in leaving:
            flight.ttl, flight.locked = ttl, self.store.shared
            if flight.leave(callback):
                self._renewal.watch(flight)
                continue
            ended.append(flight)
            if self.store.shared:
                self.store.delete(flight.lock_key)
        return ended

    def _tend(self, flight: Flight) -> None:
        """Renew the lock of a flight, or end the flight when its deadline is over."""
        deadline = flight.deadline
        if deadline is not None and deadline < monotonic():
            error = flight.give_up()
            if error is not None:
                self.end(flight, error, failed=True)
        elif flight.locked:
            self.store.touch(flight.lock_key, LOCK_TTL)


#: The flights of this process.
get_single_flight: Kept[SingleFlight] = Kept(
    lambda: SingleFlight(get_cache_store()), SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"
)


def end_flight(
    flight: Flight, result: Any, *, value: bytes | None = None, failed: bool = False
) -> None:
    """`SingleFlight.end`, also for a flight without a key."""
    if flight.key is None:
        flight.end(result)
    else:
        get_single_flight().end(flight, result, value=value, failed=failed)


# The protocol


class Ask(NamedTuple):
    """A step: call this, a round trip to the store, and send what it returns."""

    store: Callable[[], Any]


class Wait(NamedTuple):
    """A step: wait until the flight has ended."""

    flight: Flight


class Poll(NamedTuple):
    """A step: wait for `POLL_SECONDS`, then send what `SingleFlight.poll` says of the flight."""

    flight: Flight


class Joined(NamedTuple):
    """The end: another caller's flight ended with this result."""

    result: Any


class Run(NamedTuple):
    """The end: the caller makes the value, and ends the flight with it."""

    flight: Flight


Step = Ask | Wait | Poll
#: The value, from the store; or what another caller made; or that it has to be made.
Found = bytes | Joined | Run


def obtain(
    flights: SingleFlight,
    key: str,
    *,
    ttl: int | None,
    fresh: bool = False,
    turn: Turn | None = None,
    looks: bool = True,
    pool: WorkerPool | None = None,
) -> Generator[Step, Any, Found]:
    """The steps to a value that one caller makes at a time.

    Args:
        flights: The flights of this process.
        key: The value's key.
        ttl: Seconds that the store keeps the value; None: it does not keep it.
        fresh: Whether a value that is in the store already will not do.
        turn: What the caller knows to be its turn across processes; None: the store is asked.
        looks: Whether the store has still to be asked for the value.
        pool: See `SingleFlight.end`.

    Yields:
        What to do next.

    Returns:
        What came of it. `Joined` with LOST, which only a caller gets who knew its turn, says that
        the caller has to start again.
    """
    caller = current_caller()
    while True:
        if looks and not fresh and turn is None:
            value = yield Ask(partial(flights.look, key))
            if value is not None:
                return bytes(value)
        flight, own = flights.join(key, ttl=ttl, fresh=fresh, caller=caller)
        if own:
            break
        if flight.is_nested(caller):
            return Run(Flight())
        yield Wait(flight)
        if flight.result is not LOST or turn is not None:
            return Joined(flight.result)
        looks = True
    try:
        if turn is None:
            turn = yield Ask(partial(flights.claim, flight))
        while turn is Turn.WAIT:
            turn = yield Poll(flight)
        if turn is not Turn.RUN:
            yield Ask(partial(flights.end, flight, turn))
    except BaseException:
        # A flight without an owner would keep all others waiting.
        flights.end(flight, LOST, failed=True, pool=pool)
        raise
    return Run(flight) if turn is Turn.RUN else bytes(turn or b"")


def proceed(steps: Generator[Step, Any, Found], reply: Any = None) -> Wait | Poll | Found:
    """Go on to the next step that takes time, with the round trips to the store on the way.

    Args:
        steps: What `obtain` returned.
        reply: What is sent to the step that it stands at.
    """
    try:
        step = steps.send(reply)
        while isinstance(step, Ask):
            try:
                reply = step.store()
            except BaseException as error:  # noqa: BLE001 - raised again by the generator
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as stop:
        found: Found = stop.value
        return found
    return step
