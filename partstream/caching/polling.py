"""The thread that looks for the values that other processes compute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from partstream.backends.executors.daemon_threads import start_daemon
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger
from partstream.weak_methods import WeakMethod

from .flight import Flight

logger = get_logger("partstream.cache")

#: Seconds between two looks for a value, at first. Later it is a tenth of the time waited.
FIRST_SECONDS: Final = 0.01
#: Seconds between two looks for a value, at most.
MAX_SECONDS: Final = 0.1
#: Seconds after which the thread ends if it has had nothing to look for.
IDLE_SECONDS: Final = 30


class Polling:
    """A daemon thread that looks for many values in one round trip. It ends when it is idle.

    The longer a flight waits, the less often the thread looks for its value, so that many waiting
    callers cost little. A store may be a cache in the database, so the thread closes its
    connections after each round.

    Args:
        look: The bound method to call with the flights whose values are due; it ends those that
            are decided. The thread holds only a weak reference to it, and ends when its object is
            gone.
    """

    def __init__(self, look: Callable[[list[Flight]], None]) -> None:
        self._look = WeakMethod(look)
        self._changed = threading.Condition()
        #: Flight -> when it was added, and when its value is due, on the monotonic clock.
        self._flights: dict[Flight, tuple[float, float]] = {}
        self._is_running = False

    def add(self, flight: Flight) -> None:
        """Look for the flight's value until the flight has ended.

        Raises:
            NoThread: When the thread cannot be started.
        """
        with self._changed:
            if not self._is_running:
                start_daemon(self._run, name="partstream-polling")
                self._is_running = True
            now = monotonic()
            self._flights[flight] = (now, now + FIRST_SECONDS)
            self._changed.notify()

    def _run(self) -> None:
        held = ThreadConnections()
        while True:
            with self._changed:
                if not self._wait():
                    self._is_running = False
                    return
                due = self._take()
            look = self._look()
            if look is None:
                with self._changed:
                    self._is_running = False
                    return
            if due:
                try:
                    look(due)
                except Exception:
                    # It is a fault of the store's own. The callers still wait, so look again.
                    logger.exception("Looking for values that other processes compute failed.")
                held.close()
            # What they refer to may be freed while this thread waits.
            del look, due

    def _wait(self) -> bool:
        """Wait until a value may be due; False: the thread has had nothing to do for long."""
        if not self._flights:
            return self._changed.wait(IDLE_SECONDS) or bool(self._flights)
        first = min(due for _, due in self._flights.values())
        self._changed.wait(max(0.0, first - monotonic()))
        return True

    def _take(self) -> list[Flight]:
        """The flights that are due or nearly due, so that many waits share a round trip."""
        now, taken = monotonic(), []
        for flight, (added, due) in list(self._flights.items()):
            if flight.has_ended:
                del self._flights[flight]
            elif due <= now + FIRST_SECONDS / 2:
                taken.append(flight)
                pause = min(MAX_SECONDS, max(FIRST_SECONDS, (now - added) / 10))
                self._flights[flight] = (added, now + pause)
        return taken
