"""Single flight: of many callers that want a value, one computes it and the others wait.

Within a process, the callers share a `Flight`. Across processes, a flight has a lock in the cache
store. Its short time to live is renewed while the loader runs, so a process that dies delays the
others by at most `LOCK_TTL`. A process that does not get the lock looks for the value again and
again: one thread does that for all its callers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.pool import WorkerPool
from partstream.backends.loader import get_cache_store
from partstream.conf import SETTING
from partstream.exceptions import NoCapacity, NoThread
from partstream.logs import get_logger
from partstream.per_process import Kept, reset_after_fork

from .flight import FAILED, LOST, Caller, Flight, Lost
from .lock_renewal import LockRenewal
from .polling import Polling

logger = get_logger("partstream.cache")

#: Seconds for which a lock outlives its owner.
LOCK_TTL: Final = 3

#: Seconds for which a failed owner's mark tells waiting processes to run the loader themselves.
_MARK_TTL: Final = 1
_MARK: Final = b"failed"
_MOST_REFUSALS: Final = 3
#: How many results are kept for the next caller, and for how many seconds.
_MOST_RESULTS: Final = 100
_RESULT_SECONDS: Final = 60


class Turn(Enum):
    """What a process has to do about its own flight."""

    RUN = "run"
    WAIT = "wait"


class SingleFlight:
    """The flights of this process, and the store of their values and locks."""

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, with no flights."""
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        #: Flights whose request was answered first, with the expiry of their results.
        self._results: OrderedDict[str, tuple[float, Flight]] = OrderedDict()
        self._renewal = LockRenewal(self._tend, LOCK_TTL / 3)
        self._polling = Polling(self.look_for)
        self._token = token_hex(8).encode()

    # Within the process

    def join(
        self,
        key: str,
        *,
        ttl: int | None = None,
        fresh: bool = False,
        owner: Caller | None = None,
    ) -> tuple[Flight, bool]:
        """The flight to this value, and whether the caller owns it, and so computes the value.

        The arguments are those of a new `Flight`.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None and self._results:
                # Only one caller gets a result that was kept.
                expires, ended = self._results.pop(key, (0.0, None))
                flight = ended if expires > monotonic() else None
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight(
                key, ttl=ttl, fresh=fresh, owner=owner, end_at=self.end
            )
            return flight, True

    def look(self, key: str) -> bytes | None:
        """The value in the store, unless this process is computing it because there was none."""
        flight = self._flights.get(key)
        return self.store.get(key) if flight is None or flight.fresh else None

    def is_under_way(self, key: str) -> bool:
        """Whether a caller that joins now would find a flight, or a result that was kept."""
        return key in self._flights or key in self._results

    # Across processes

    def claim(self, flight: Flight) -> bytes | Turn:
        """Take the lock for a flight's owner: returns the value, or the owner's turn."""
        store, key, value = self.store, str(flight.key), None
        # The value may have been stored between the caller's look and the lock.
        if store.shared and not flight.locked:
            if flight.fresh:
                added = store.add(flight.lock_key, self._token, LOCK_TTL)
            else:
                added, value = store.add_and_get(flight.lock_key, self._token, LOCK_TTL, key)
            if not added:
                return Turn.WAIT
            flight.locked = True
            self._renewal.watch(flight)
            if flight.has_ended:
                # Its owner was cancelled while the lock was being taken.
                store.delete(flight.lock_key)
                return Turn.WAIT
        elif not flight.fresh:
            value = store.get(key)
        return Turn.RUN if value is None else value

    def follow(self, flight: Flight) -> None:
        """Let the flight end when the process that computes its value has done so."""
        flight.polled, flight.owner = True, None
        try:
            self._polling.add(flight)
        except NoThread:
            logger.warning("The thread that looks for values could not be started.", exc_info=True)
            self.end(flight, FAILED)

    def look_for(self, flights: Iterable[Flight]) -> None:
        """Look for the values that other processes compute, and end the flights that are decided.

        The result of a flight is its value; or LOST, if the other process has gone, so that its
        callers start again; or FAILED, if they need not wait for others when they do.
        """
        flights = list(flights)
        entries = self.store.get_many(
            [key for flight in flights for key in (str(flight.key), flight.lock_key)]
        )
        for flight in flights:
            lock, value = entries.get(flight.lock_key), entries.get(str(flight.key))
            if value is not None and not (flight.fresh and lock is not None):
                self.end(flight, value)
            elif lock == _MARK:
                # Each process runs the loader once, without waiting for the others.
                self.end(flight, FAILED)
            elif lock is None:
                self._take_over(flight)

    def _take_over(self, flight: Flight) -> None:
        """Handle a flight that no process computes any more."""
        turn = self.claim(flight)
        if turn is Turn.WAIT:
            # Another one was faster; or the lock can be neither taken nor read.
            flight.refused += 1
            if flight.refused > _MOST_REFUSALS:
                self.end(flight, FAILED)
        else:
            self.end(flight, LOST if turn is Turn.RUN else turn)

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
        """End a flight: notify callers, store the value if it has a ``ttl``, release the lock.

        The callers get the result; LOST: they have to start again. ``failed`` tells waiting
        processes to run the loader themselves. A thread of ``pool`` releases the lock, if it is
        given: an event loop must not access a store, which may be a cache in the database.
        """
        keeps = value is not None and flight.ttl is not None
        waiting = 0

        def prepare(callers: int) -> None:
            nonlocal waiting
            waiting = callers
            if not keeps:
                # Before they are notified: starting again, they would find this flight.
                self._forget(flight, waits=not callers and not isinstance(result, Lost))

        if not flight.end(result, prepare):
            return
        is_kept = False
        try:
            # After the callers here, who can answer their clients meanwhile.
            if keeps and value is not None and flight.ttl is not None:
                is_kept = self.store.set_many({str(flight.key): value}, flight.ttl)
        finally:
            self._renewal.unwatch(flight)
            try:
                if flight.locked:
                    self._unlock(flight, failed or (keeps and not is_kept), pool)
            finally:
                if keeps:
                    self._forget(flight, waits=not is_kept and not waiting)
                if flight.left:
                    flight.call = None  # It refers to the request.

    def _unlock(self, flight: Flight, failed: bool, pool: WorkerPool | None) -> None:
        unlock: Callable[[], object] = partial(self.store.delete, flight.lock_key)
        if failed:
            unlock = partial(self.store.set_many, {flight.lock_key: _MARK}, _MARK_TTL)
        if pool is None:
            unlock()
            return
        try:
            pool.submit(unlock)
        except NoCapacity:
            logger.warning("The lock of %r will expire by itself: no thread is free.", flight.key)

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

    # Flights that outlast their request

    def watch(self, flight: Flight) -> None:
        """Enforce the deadline of a flight, even if no caller waits for it."""
        self._renewal.watch(flight)

    def leave(
        self, flights: Iterable[tuple[Flight, Callable[[Flight], None]]], ttl: int
    ) -> list[Flight]:
        """Stop waiting for flights, by these callbacks, and keep the results for other requests.

        Returns:
            Those that have ended already: the request can still use their results.
        """
        leaving, shared, ended = list(flights), self.store.shared, []
        if leaving and shared:
            self.store.set_many({flight.lock_key: self._token for flight, _ in leaving}, LOCK_TTL)
        for flight, callback in leaving:
            flight.ttl, flight.locked = ttl, shared
            if flight.leave(callback):
                self._renewal.watch(flight)
            else:
                ended.append(flight)
                if shared:
                    self.store.delete(flight.lock_key)
        return ended

    def _tend(self, flight: Flight) -> None:
        """Renew the lock of a flight, or end the flight if its deadline has passed."""
        deadline = flight.deadline
        if deadline is not None and deadline < monotonic():
            error = flight.give_up()
            if error is not None:
                self.end(flight, error, failed=True)
        elif flight.locked:
            self.store.touch(flight.lock_key, LOCK_TTL)


#: The flights of this process.
get_single_flight = Kept(
    lambda: SingleFlight(get_cache_store()), SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"
).get
