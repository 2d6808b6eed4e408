"""Single flight: of many who want a value, one makes it, and the others wait for it.

In a process they meet at a `Flight`. Across processes a flight has a lock in the cache store, with
a short time to live that is renewed while the loader runs: a process that dies holds up the others
for at most `LOCK_TTL`. Whoever does not get the lock looks for the value itself, every
`POLL_SECONDS`, from the thread of the waiting request.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.calls import Call, State
from partstream.backends.executors.pool import WorkerPool
from partstream.backends.loader import get_cache_store
from partstream.conf import SETTING
from partstream.exceptions import NoCapacity, PartTimeout
from partstream.logs import get_logger
from partstream.per_process import Kept

from .flight import LOST, Flight
from .lock_renewal import Keeper

logger = get_logger("partstream.cache")

#: Seconds that a lock outlives its owner.
LOCK_TTL: Final = 3
#: Seconds between two looks for a value that another process makes.
POLL_SECONDS: Final = 0.01

#: Seconds for which a failed owner tells the waiting processes to run the loader themselves.
_FAILED_TTL: Final = 1
_FAILED: Final = b"failed"
_MOST_REFUSALS: Final = 3
#: Results of walks that are not in the store, kept for the next chunk: how many, and for how long.
_MOST_LANDED: Final = 100
_LANDED_SECONDS: Final = 60


class Turn(Enum):
    """What a process is to do about a flight of its own."""

    RUN = "run"
    WAIT = "wait"


class Flights:
    """The flights of this process, over one store.

    Args:
        store: Where values and locks are.
    """

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.reset()
        _registries.add(self)

    def reset(self) -> None:
        """Begin anew, with no flights."""
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        self._landed: OrderedDict[str, tuple[float, Flight]] = OrderedDict()
        self._keeper = Keeper(self, LOCK_TTL)
        self._token = token_hex(8).encode()

    # Within the process

    def board(self, key: str, *, fresh: bool = False) -> tuple[Flight, bool]:
        """The flight to this value, and whether it is the caller's to make it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight(key, fresh=fresh)
            return flight, True

    def look(self, key: str) -> bytes | None:
        """The value in the store; while it is made here for want of one, the store is not asked."""
        flight = self._flights.get(key)
        return self.store.get(key) if flight is None or flight.fresh else None

    def find(self, key: str) -> Flight | None:
        """The flight to this value, if there is one; it may have landed."""
        if not self._flights and not self._landed:
            return None
        with self._lock:
            flight = self._flights.get(key)
            if flight is None and key in self._landed:
                # For one chunk only.
                expires, landed = self._landed.pop(key)
                flight = landed if expires > monotonic() else None
            return flight

    # Across processes

    def claim(self, flight: Flight) -> bytes | Turn:
        """The first step of a flight's owner: the value, or what to do."""
        store = self.store
        if store.shared and not flight.locked:
            if not store.add(flight.lock_key, self._token, LOCK_TTL):
                return Turn.WAIT
            flight.locked = True
            self._keeper.watch(flight)
            if flight.has_landed:
                # Its owner was cancelled while the lock was on its way.
                store.delete(flight.lock_key)
                return Turn.WAIT
        # It may have come between the caller's look and the lock.
        value = None if flight.fresh else store.get(flight.key)
        return Turn.RUN if value is None else value

    def poll(self, flights: Iterable[Flight]) -> dict[Flight, bytes | Turn]:
        """Look for what other processes make: a value, or what to do, for each of the flights."""
        flights = list(flights)
        entries = self.store.get_many(
            [key for flight in flights for key in (flight.key, flight.lock_key)]
        )
        found: dict[Flight, bytes | Turn] = {}
        for flight in flights:
            lock, value = entries.get(flight.lock_key), entries.get(flight.key)
            if value is not None and not (flight.fresh and lock is not None):
                found[flight] = value
            elif lock == _FAILED:
                # Each process once, and without a queue.
                found[flight] = Turn.RUN
            elif lock is not None:
                found[flight] = Turn.WAIT
            elif flight.claims:
                turn = self.claim(flight)
                flight.refused = flight.refused + 1 if turn is Turn.WAIT else 0
                # A lock that cannot be had, and cannot be read: nobody is behind it.
                found[flight] = Turn.RUN if flight.refused > _MOST_REFUSALS else turn
            else:
                # The owner died, or the value came between the two entries.
                value = self.store.get(flight.key)
                found[flight] = Turn.RUN if value is None else value
        return found

    # The end

    def end(
        self,
        flight: Flight,
        result: Any,
        *,
        keep: bytes | None = None,
        ttl: int = 0,
        failed: bool = False,
        pool: WorkerPool | None = None,
    ) -> None:
        """End a flight: tell those who wait, keep the value, give the lock back.

        Args:
            flight: The flight.
            result: What they are told; LOST: that they have to begin anew.
            keep: The value to keep, if any.
            ttl: Seconds that it is kept.
            failed: Whether the owner has nothing to hand on: waiting processes run the loader.
            pool: Whose thread gives the lock back; None: this one. An event loop may not ask a
                store that is a cache in the database.
        """
        store, is_kept = self.store, False

        def prepare(waiting: int) -> None:
            nonlocal is_kept
            # First for the other processes: those who wait here have the interpreter busy then.
            is_kept = keep is not None and store.set_many({flight.key: keep}, ttl)
            if is_kept:
                return
            # Before they are told, or they would find it when they begin anew.
            if flight.lingers and not waiting and result is not LOST:
                self._linger(flight)
            self._forget(flight)

        if flight.land(result, prepare) is None:
            return
        failed = failed or (keep is not None and not is_kept)
        self._keeper.unwatch(flight)
        if flight.locked:
            self._unlock(flight, failed, pool)
        self._forget(flight)
        if flight.lingers:
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
            logger.warning("The lock of %r is left to run out: no thread is free.", flight.key)

    def watch(self, flight: Flight) -> None:
        """Keep the deadline of a flight that nobody may be waiting for."""
        self._keeper.watch(flight)

    def give_up(self, flight: Flight) -> None:
        """Wait no longer for a flight whose deadline is over; all who wait are told."""
        call = flight.call
        if call is None:
            return
        state = call.give_up()
        if state is State.CANCELLED:
            self.end(flight, NoCapacity("it waited for a thread until its timeout"), failed=True)
        elif state is State.ABANDONED:
            self.end(flight, PartTimeout("it took longer than its timeout"), failed=True)

    def _forget(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    # What a walk leaves running

    def publish(
        self,
        calls: dict[str, Call],
        ttl: int,
        value_of: Callable[[Any], bytes | None],
    ) -> None:
        """Let the next chunk of a walk, here or in another process, wait for running calls.

        Args:
            calls: Key -> call.
            ttl: Seconds that the values are kept.
            value_of: What is kept of a call's result; None: nothing, and the result itself waits
                here for a while.
        """
        if not calls:
            return
        flights = [self._depart(key, call) for key, call in calls.items()]
        if self.store.shared:
            locks = {flight.lock_key: self._token for flight in flights if flight.lingers}
            self.store.set_many(locks, LOCK_TTL)
        for flight, call in zip(flights, calls.values(), strict=True):
            flight.locked = self.store.shared and flight.lingers
            self._keeper.watch(flight)
            call.on_done(partial(self._end_call, flight, ttl, value_of))

    def follow(self, key: str, flight: Flight) -> None:
        """Let the next chunk of a walk, in this process, have what comes of another flight."""
        own = self._depart(key, flight.call)
        flight.on_landing(lambda flight: self.end(own, flight.result))

    def _depart(self, key: str, call: Call | None) -> Flight:
        """A new flight; where there is one to the same value, nobody will find this one."""
        with self._lock:
            flight = Flight(key)
            flight.call = call
            known = self._flights.get(key)
            if known is None or known.has_landed:
                self._flights[key] = flight
                flight.lingers = True
            return flight

    def _end_call(
        self, flight: Flight, ttl: int, value_of: Callable[[Any], bytes | None], call: Call
    ) -> None:
        result, value = call.result, None
        if call.error is None:
            value = value_of(result)
        else:
            result = call.error if isinstance(call.error, PartTimeout) else LOST
        self.end(flight, result, keep=value, ttl=ttl, failed=value is None)

    def _linger(self, flight: Flight) -> None:
        with self._lock:
            now = monotonic()
            while self._landed and (
                len(self._landed) >= _MOST_LANDED or next(iter(self._landed.values()))[0] < now
            ):
                self._landed.popitem(last=False)
            self._landed[flight.key] = (now + _LANDED_SECONDS, flight)


_registries: weakref.WeakSet[Flights] = weakref.WeakSet()


def _forget_flights() -> None:
    for registry in _registries:
        registry.reset()


# What flies in the parent does not fly here.
os.register_at_fork(after_in_child=_forget_flights)

#: The flights of this process.
get_flights: Kept[Flights] = Kept(
    lambda: Flights(get_cache_store()), SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"
)
