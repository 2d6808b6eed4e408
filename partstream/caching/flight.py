"""A flight: one computation of a value, and the callers in this process that wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from partstream.backends.executors.calls import Call, timeout_error
from partstream.logs import get_logger

logger = get_logger("partstream.cache")

#: A thread, and its asyncio task if it runs an event loop.
Caller = tuple[int, Any]


def current_caller() -> Caller:
    """The current thread and task."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None


class Lost(Enum):
    """The results of flights that ended without a result: waiting callers start again."""

    #: The owner stopped before the end.
    LOST = "lost"
    #: Another process cannot compute the value: this one need not wait for others again.
    FAILED = "failed"


LOST: Final = Lost.LOST
FAILED: Final = Lost.FAILED


class Flight:
    """One computation of a value, and the callers in this process that wait for it.

    Attributes:
        key: The value's key in the store; None: no other caller can join.
        ttl: Seconds for which the store keeps the value; None: the store does not keep it.
        fresh: Whether a value that is already in the store is ignored.
        owner: The caller that computes the value.
        call: The call that computes it, if it runs elsewhere in this process.
        locked: Whether this process holds the key's lock.
        polled: Whether another process computes the value, and `Polling` looks for it.
        left: Whether its request was answered first: an unstored result is kept for one caller.
        refused: How many times in a row the lock could be neither taken nor read.
        result: The result, once the flight has ended.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        ttl: int | None = None,
        fresh: bool = False,
        owner: Caller | None = None,
        end_at: Callable[..., None] | None = None,
    ) -> None:
        self.key = key
        self.ttl = ttl
        self.fresh = fresh
        self.owner = owner
        self.call: Call | None = None
        self.locked = False
        self.polled = False
        self.left = False
        self.refused = 0
        self.result: Any = None
        #: Whether it is over: from then on it is neither locked nor watched.
        self.has_ended = False
        self._end_at = end_at
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Flight], None]] = []

    @property
    def lock_key(self) -> str:
        """The lock's key in the store."""
        return f"{self.key}.lock"

    @property
    def deadline(self) -> float | None:
        """When to stop waiting for it, on the monotonic clock."""
        return None if self.call is None else self.call.deadline

    @property
    def waiting(self) -> int:
        """The number of callers in this process that wait for it."""
        return len(self._callbacks)

    def is_nested(self, caller: Caller) -> bool:
        """Whether this caller is computing the value itself, and would wait for itself."""
        return self.call is None and not self.has_ended and self.owner == caller

    def on_end(self, callback: Callable[[Flight], None]) -> None:
        """Call ``callback(flight)`` when the flight ends, or at once if it has ended already.

        The callback runs in the thread that ends the flight, so it must be short and not raise.
        """
        with self._lock:
            if not self.has_ended:
                self._callbacks.append(callback)
                return
        callback(self)

    def forget(self, callback: Callable[[Flight], None]) -> bool:
        """Remove a callback of `on_end`; False if the flight has ended already."""
        with self._lock:
            if not self.has_ended:
                self._callbacks = [known for known in self._callbacks if known != callback]
            return not self.has_ended

    def leave(self, callback: Callable[[Flight], None]) -> bool:
        """Stop waiting, and keep the result for the next caller; False if it has ended already."""
        self.left = True
        return self.forget(callback)

    def finish(self, result: Any, *, value: bytes | None = None, failed: bool = False) -> None:
        """End the flight with a result, see `SingleFlight.end`."""
        if self._end_at is None:
            self.end(result)
        else:
            self._end_at(self, result, value=value, failed=failed)

    def end(self, result: Any, prepare: Callable[[int], None] | None = None) -> bool:
        """Notify all waiting callers of the result; False if the flight has ended already.

        ``prepare`` is called before that, with the number of waiting callers.
        """
        with self._lock:
            if self.has_ended:
                return False
            self.has_ended, self.result = True, result
            callbacks, self._callbacks = self._callbacks, []
        try:
            if prepare is not None:
                prepare(len(callbacks))
        finally:
            for callback in callbacks:
                try:
                    callback(self)
                except Exception:
                    # The other callers still have to be notified.
                    logger.exception("A caller that waits for %r could not be notified.", self.key)
        return True

    def give_up(self) -> Exception | None:
        """Give up the call that computes it; returns the error for callers, see `timeout_error`."""
        return None if self.call is None else timeout_error(self.call.give_up())
