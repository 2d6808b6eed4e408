"""A flight: one making of a value, and the callers in this process who wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from partstream.backends.executors.calls import Call, timeout_error
from partstream.logs import get_logger

logger = get_logger("partstream.cache")

#: A thread, and its asyncio task where it runs an event loop.
Caller = tuple[int, Any]


def current_caller() -> Caller:
    """The thread and the task that ask."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None


class Lost(Enum):
    """The result of a flight whose owner left before the end: those who waited start again."""

    LOST = "lost"


LOST: Final = Lost.LOST


class Flight:
    """One making of a value, and the callers in this process who wait for it.

    Attributes:
        key: The value's key in the store; None: nobody else can ask for it.
        ttl: Seconds that the store keeps the value; None: it does not keep it.
        fresh: Whether a value that is in the store already will not do.
        owner: Who makes the value.
        call: The call that makes it, where it runs elsewhere in this process.
        locked: Whether this process has the lock of the key.
        left: Whether its request has left: a result that is not kept waits for the next caller.
        refused: How often the lock could be neither had nor read.
        result: What came of it, once it has ended.
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
        self.left = False
        self.refused = 0
        self.result: Any = None
        #: Whether it is over: nobody will lock it, or watch it, any more.
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
        """When waiting for it ends, on the monotonic clock."""
        return None if self.call is None else self.call.deadline

    @property
    def waiting(self) -> int:
        """How many callers wait for it in this process."""
        return len(self._callbacks)

    def is_nested(self, caller: Caller) -> bool:
        """Whether this caller makes the value, and would wait for itself."""
        return self.call is None and not self.has_ended and self.owner == caller

    def on_end(self, callback: Callable[[Flight], None]) -> None:
        """Have ``callback(flight)`` called when it ends, at once if it has ended.

        It runs in the thread that ends the flight, so it has to be short and must not raise.
        """
        with self._lock:
            if not self.has_ended:
                self._callbacks.append(callback)
                return
        callback(self)

    def forget(self, callback: Callable[[Flight], None]) -> bool:
        """Do not call it when the flight ends; False where the flight has ended."""
        with self._lock:
            if not self.has_ended:
                self._callbacks = [known for known in self._callbacks if known != callback]
            return not self.has_ended

    def leave(self, callback: Callable[[Flight], None]) -> bool:
        """Stop waiting, and let the result wait for the next caller; False where it has ended."""
        self.left = True
        return self.forget(callback)

    def finish(self, result: Any, *, value: bytes | None = None, failed: bool = False) -> None:
        """End it where others can find it, see `SingleFlight.end`."""
        if self._end_at is None:
            self.end(result)
        else:
            self._end_at(self, result, value=value, failed=failed)

    def end(self, result: Any, prepare: Callable[[int], None] | None = None) -> bool:
        """Hand the result to all who wait; False where it has ended before.

        ``prepare`` is called before that, with the number of those who wait.
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
                    # The others wait, too.
                    logger.exception("A caller who waited for %r could not be told.", self.key)
        return True

    def give_up(self) -> Exception | None:
        """Stop the call that makes it; what those who wait are to be told, see `timeout_error`."""
        return None if self.call is None else timeout_error(self.call.give_up())
