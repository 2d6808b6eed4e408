"""A breaker keeps the faults of a service outside away from the requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from partstream.exceptions import Misuse
from partstream.logs import get_logger

from .faults import Fault, fault_of

logger = get_logger("partstream.stores")

T = TypeVar("T")
D = TypeVar("D")

#: Seconds that one caller may take to find out whether the service is back; then another tries.
LONGEST_TRIAL = 30
#: Seconds that a call may wait for a connection that another thread of this process has.
LONGEST_WAIT = 0.25
#: Seconds between two warnings of one kind about calls that failed by their own fault.
QUIET = 60

#: Seconds between two looks for a connection.
_PAUSE = 0.001
#: Kinds of exceptions whose last warning is remembered.
_MOST_KINDS = 20


class Breaker:
    """Calls a service, and leaves it alone for a while after it failed. Safe from many threads.

    While it is left alone no caller waits for it. After that one caller tries it, and as long as
    that one waits for the answer the others still do without: a service that hangs holds one
    thread, and not all of them. An outage is logged once when it begins and once when it ends.

    A call that fails by its own fault is no outage: the caller does without, and the next call is
    made as usual. It is logged once a minute for each kind of exception. A call for which this
    process has no connection to spare waits for one, 0.25 s at most.

    Args:
        name: What the log calls the service.
        retry_after: Seconds for which it is left alone.
        clock: Seconds that never go back.
        fault_of: Tells whose fault an exception is.

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
            raise Misuse(f"retry_after is {retry_after!r}. Give seconds above 0, for example 2.")
        self._name = name
        self._retry_after = retry_after
        self._clock = clock
        self._fault_of = fault_of
        self._lock = threading.Lock()
        #: When it may be tried again; None: the service is well.
        self._retry_at: float | None = None
        #: Held by the one call that looks for a connection, while others queue behind it.
        self._queue = threading.Lock()
        #: Until when nobody waits for a connection, because somebody has waited in vain.
        self._no_wait_until = float("-inf")
        #: When a call of each kind may be logged again.
        self._quiet_until: dict[type[Exception], float] = {}

    def call(self, function: Callable[..., T], *args: Any, otherwise: D) -> T | D:
        """What the function returns; ``otherwise`` where it raises or is left alone."""
        trial = self._retry_at is not None
        if trial and not self._admits_trial():
            return otherwise
        try:
            answer = self._answer(function, args, trial)
        except Exception as error:  # noqa: BLE001 - the boundary; _note() logs
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
        """Try again until there is a connection; raises the last error where there is none."""
        deadline = time.monotonic() + LONGEST_WAIT
        if not self._queue.acquire(timeout=LONGEST_WAIT):
            raise error
        try:
            # While the service hangs there is nothing to wait for.
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
            # One that began before the outage, and fails late, says nothing new.
            if begins or trial:
                self._retry_at = self._clock() + self._retry_after
        if begins:
            logger.warning(
                "%s failed, and is left alone until it answers again; it is tried every %g s.",
                self._name,
                self._retry_after,
                exc_info=error,
            )

    def _note_call(self, error: Exception, trial: bool) -> None:
        """Note an error that says nothing of the service."""
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
                "One call of %s failed by its own fault, and the store goes on; other %ss are not "
                "logged for %d s.",
                self._name,
                kind.__name__,
                QUIET,
                exc_info=error,
            )

    def _close(self) -> None:
        with self._lock:
            ends, self._retry_at = self._retry_at is not None, None
        if ends:
            logger.info("%s answers again.", self._name)
