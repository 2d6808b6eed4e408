"""A circuit breaker: it protects requests from an external service that is down."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from partstream.exceptions import Misuse
from partstream.logs import get_logger

from .faults import Fault, fault_of

logger = get_logger("partstream.stores")

T = TypeVar("T")
D = TypeVar("D")

#: Seconds that one trial call may take; after that, another caller may try the service.
LONGEST_TRIAL = 30
#: Seconds that a call may wait for a connection that another thread of this process uses.
LONGEST_WAIT = 0.25
#: Seconds between two warnings of the same kind about individual failed calls.
QUIET = 60

#: Seconds between two attempts to get a connection.
_PAUSE = 0.001
#: The maximum number of exception kinds whose last warning is remembered.
_MOST_KINDS = 20


_breakers: weakref.WeakSet[Breaker] = weakref.WeakSet()


def count_outages() -> dict[str, int]:
    """Name of a service -> how many outages it has had in this process."""
    counts: dict[str, int] = {}
    for breaker in list(_breakers):
        counts[breaker.name] = counts.get(breaker.name, 0) + breaker.outages
    return counts


class Breaker:
    """Calls a service, and stops calling it for a while after it fails. Thread-safe.

    While the breaker is open, no caller waits for the service. Then one caller tries it, and until
    that call returns, all others still go without: a service that hangs blocks one thread, not
    all of them. An outage is logged once when it begins and once when it ends.

    A call that fails through its own fault is no outage: its caller goes without, and the next call
    is made as usual. It is logged once a minute for each kind of exception. A call for which this
    process has no free connection waits for one, 0.25 s at most.

    Args:
        name: The service's name in the log.
        retry_after: Seconds for which the breaker stays open.
        clock: Returns seconds that never go back.
        fault_of: Determines whose fault an exception is.

    Raises:
        Misuse: When ``retry_after`` is not above 0.

    Example:
        ``breaker.call(client.get, key, otherwise=None)``
    """

    def __init__(
        self,
        name: str,
        retry_after: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        fault_of: Callable[[Exception], Fault] = fault_of,
    ) -> None:
        if not retry_after > 0:
            raise Misuse(f"retry_after is {retry_after!r}. Write seconds above 0, for example 2.")
        self.name = name
        #: How many times the service has failed.
        self.outages = 0
        self._retry_after = retry_after
        self._clock = clock
        self._fault_of = fault_of
        self._lock = threading.Lock()
        #: When the service may be tried again; None: it works.
        self._retry_at: float | None = None
        #: Held by the one call that tries to get a connection; others wait for the lock.
        self._queue = threading.Lock()
        #: No call waits for a connection until then, because a previous wait was unsuccessful.
        self._no_wait_until = float("-inf")
        #: When each kind of exception may be logged again.
        self._quiet_until: dict[type[Exception], float] = {}
        _breakers.add(self)

    def call(self, function: Callable[..., T], *args: Any, otherwise: D) -> T | D:
        """What the function returns; ``otherwise`` if it raises or the breaker is open."""
        trial = self._retry_at is not None
        if trial and not self._admits_trial():
            return otherwise
        try:
            answer = self._answer(function, args, trial)
        except Exception as error:  # noqa: BLE001 - the boundary; _note() logs it
            self._note(error, trial)
            return otherwise
        except BaseException:
            if trial:
                with self._lock:
                    self._retry_at = self._clock() + self._retry_after
            raise
        if trial:
            self._close()
        return answer

    def _answer(self, function: Callable[..., T], args: tuple[Any, ...], trial: bool) -> T:
        try:
            return function(*args)
        except Exception as error:
            if trial or self._fault_of(error) is not Fault.NO_ROOM:
                raise
            if self._clock() < self._no_wait_until:
                raise
            return self._wait_for_room(function, args, error)

    def _wait_for_room(
        self, function: Callable[..., T], args: tuple[Any, ...], error: Exception
    ) -> T:
        """Try again until there is a connection; raise the last error if there is none in time."""
        deadline = time.monotonic() + LONGEST_WAIT
        if not self._queue.acquire(timeout=LONGEST_WAIT):
            raise error
        try:
            # While the service is down, no connection will help.
            while self._retry_at is None and time.monotonic() < deadline:
                time.sleep(_PAUSE)
                try:
                    return function(*args)
                except Exception as again:
                    if self._fault_of(again) is not Fault.NO_ROOM:
                        raise
                    error = again
        finally:
            self._queue.release()
        self._no_wait_until = self._clock() + self._retry_after
        raise error

    def _admits_trial(self) -> bool:
        with self._lock:
            if self._retry_at is None:
                return True
            now = self._clock()
            if now < self._retry_at:
                return False
            self._retry_at = now + max(self._retry_after, LONGEST_TRIAL)
            return True

    def _note(self, error: Exception, trial: bool) -> None:
        if self._fault_of(error) not in {Fault.SERVICE, Fault.UNKNOWN}:
            self._note_call(error, trial)
            return
        with self._lock:
            begins = self._retry_at is None
            self.outages += begins
            # A call that began before the outage and fails late tells nothing new.
            if begins or trial:
                self._retry_at = self._clock() + self._retry_after
        if begins:
            logger.warning(
                "%s failed, and is not used until it answers again; it is tried every %g s.",
                self.name,
                self._retry_after,
                exc_info=error,
            )

    def _note_call(self, error: Exception, trial: bool) -> None:
        """Handle an error that tells nothing about the service."""
        kind = type(error)
        with self._lock:
            now = self._clock()
            if trial:
                # The next call is the trial.
                self._retry_at = now
            tells = now >= self._quiet_until.get(kind, now)
            if tells:
                if len(self._quiet_until) >= _MOST_KINDS:
                    self._quiet_until.clear()
                self._quiet_until[kind] = now + QUIET
        if tells:
            logger.warning(
                "One call of %s failed through its own fault, and the store stays in use; further "
                "%ss are not logged for %d s.",
                self.name,
                kind.__name__,
                QUIET,
                exc_info=error,
            )

    def _close(self) -> None:
        with self._lock:
            ends, self._retry_at = self._retry_at is not None, None
        if ends:
            logger.info("%s answers again.", self.name)
