"""The thread that renews locks while loaders run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from partstream.backends.executors.daemon_threads import start_daemon
from partstream.exceptions import NoThread
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger
from partstream.weak_methods import WeakMethod

from .flight import Flight

logger = get_logger("partstream.cache")

#: Seconds after which the thread ends if it has had nothing to watch. Starting one can take
#: milliseconds while many callers begin, and a loader waits for it.
IDLE_SECONDS = 30


class LockRenewal:
    """A daemon thread that watches flights; it ends after `IDLE_SECONDS` without any.

    A store may be a cache in the database, so the thread closes its connections after each round.

    Args:
        tend: The bound method to call with each flight, every ``seconds``. The thread holds only a
            weak reference to it, and ends when its object is gone.
    """

    def __init__(self, tend: Callable[[Flight], None], seconds: float) -> None:
        self._tend = WeakMethod(tend)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._watched: set[Flight] = set()
        self._is_running = False

    def watch(self, flight: Flight) -> None:
        """Watch the flight from now on."""
        with self._lock:
            if flight.has_ended:
                return
            self._watched.add(flight)
            if self._is_running:
                return
            try:
                start_daemon(self._run, name="partstream-locks")
                self._is_running = True
            except NoThread:
                # The lock is not renewed until the next flight starts the thread: at worst,
                # another process runs the loader, too.
                logger.warning("The thread that renews locks could not be started.", exc_info=True)

    def unwatch(self, flight: Flight) -> None:
        """Stop watching the flight."""
        with self._lock:
            self._watched.discard(flight)

    def _run(self) -> None:
        pause, held = threading.Event(), ThreadConnections()
        used = monotonic()
        while True:
            pause.wait(self._seconds)
            tend = self._tend()
            with self._lock:
                flights = list(self._watched)
                # The end of a flight without a key unwatches nothing.
                self._watched.difference_update([it for it in flights if it.has_ended])
                if flights:
                    used = monotonic()
                if tend is None or (not flights and monotonic() - used >= IDLE_SECONDS):
                    self._is_running = False
                    return
            while flights:
                self._tend_safely(tend, flights.pop())
            held.close()
            del tend  # Neither its object nor a flight is held while this thread pauses.

    @staticmethod
    def _tend_safely(tend: Callable[[Flight], None], flight: Flight) -> None:
        try:
            tend(flight)
        except Exception:
            # It is a fault of the store's own, and other flights need this thread.
            logger.exception("The lock of %r could not be renewed.", flight.key)
