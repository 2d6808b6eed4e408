"""A breaker keeps the faults of a service outside away from the requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from partstream.exceptions import Misuse
from partstream.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")
D = TypeVar("D")

#: Seconds that one caller may take to find out whether the service is back; then another tries.
LONGEST_TRIAL = 30


class Breaker:
    """Calls a service, and leaves it alone for a while after it failed. Safe from many threads.

    While it is left alone no caller waits for it. After that one caller tries it, and as long as
    that one waits for the answer the others still do without: a service that hangs holds one
    thread, and not all of them. An outage is logged once when it begins and once when it ends.

    Args:
        name: What the log calls the service.
        retry_after: Seconds for which it is left alone.
        clock: Seconds that never go back.

    Raises:
        Misuse: When ``retry_after`` is not above 0.

    Example:
        ``breaker.call(client.get, key, otherwise=None)``
    """

    def __init__(
        self, name: str, retry_after: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not retry_after > 0:
            raise Misuse(f"retry_after is {retry_after!r}. Give seconds above 0, for example 2.")
        self._name = name
        self._retry_after = retry_after
        self._clock = clock
        self._lock = threading.Lock()
        #: When it may be tried again; None: the service is well.
        self._retry_at: float | None = None

    def call(self, function: Callable[..., T], *args: Any, otherwise: D) -> T | D:
        """What the function returns; ``otherwise`` where it raises or is left alone."""
        trial = self._retry_at is not None
        if trial and not self._admits_trial():
            return otherwise
        try:
            answer = function(*args)
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

    def _close(self) -> None:
        with self._lock:
            ends, self._retry_at = self._retry_at is not None, None
        if ends:
            logger.info("%s answers again.", self._name)
