"""The keeper of a process's flights: it renews locks while loaders run."""

from __future__ import annotations

import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING

from partstream.backends.executors.daemon_threads import start_daemon
from partstream.exceptions import NoThread
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger

if TYPE_CHECKING:
    from .flight import Flight
    from .single_flight import Flights

logger = get_logger("partstream.cache")


class Keeper:
    """A daemon thread that renews the locks of running flights, and ends those that are overdue.

    It ends when nothing flies. A store may be a cache in the database, so the thread's connections
    are closed after each round.

    Args:
        flights: Whose flights they are.
        lock_ttl: Seconds that a lock outlives its owner.
    """

    def __init__(self, flights: Flights, lock_ttl: int) -> None:
        self._registry = weakref.ref(flights)
        self._lock_ttl = lock_ttl
        self._lock = threading.Lock()
        self._watched: set[Flight] = set()
        self._is_running = False

    def watch(self, flight: Flight) -> None:
        """Keep the flight's lock alive, and its deadline."""
        with self._lock:
            if flight.has_landed:
                return
            self._watched.add(flight)
            if self._is_running:
                return
            try:
                start_daemon(self._run, name="partstream-locks")
                self._is_running = True
            except NoThread:
                # The lock is not renewed, until the next flight tries again: at worst somebody
                # else makes the value as well.
                logger.warning("The keeper's thread could not be started.", exc_info=True)

    def unwatch(self, flight: Flight) -> None:
        """Let go of the flight."""
        with self._lock:
            self._watched.discard(flight)

    def _run(self) -> None:
        pause, held = threading.Event(), ThreadConnections()
        while True:
            pause.wait(self._lock_ttl / 3)
            registry = self._registry()
            with self._lock:
                flights = list(self._watched)
                if registry is None or not flights:
                    self._is_running = False
                    return
            for flight in flights:
                deadline = flight.deadline
                if deadline is not None and deadline < monotonic():
                    registry.give_up(flight)
                elif flight.locked:
                    registry.store.touch(flight.lock_key, self._lock_ttl)
            held.close()
