"""One flight: the making of a value, and those in this process who wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from partstream.backends.executors.calls import Call
from partstream.logs import get_logger

logger = get_logger("partstream.cache")


def _who() -> tuple[int, Any]:
    """The thread that asks, and its task, where it runs an event loop."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None


class Lost(Enum):
    """The result of a flight whose owner left before the end: whoever waited begins anew."""

    LOST = "lost"


LOST: Final = Lost.LOST


class Flight:
    """One making of a value, and those in this process who wait for it.

    Attributes:
        key: The value's key in the store.
        call: The call that makes it, where it runs elsewhere in this process.
        fresh: Whether a value that is in the store already will not do.
        result: What came of it, once it has landed.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_landed",
        "_lock",
        "call",
        "claims",
        "fresh",
        "key",
        "lingers",
        "locked",
        "owner",
        "refused",
        "result",
    )

    def __init__(self, key: str, *, fresh: bool = False, claims: bool = True) -> None:
        self.key = key
        self.fresh = fresh
        #: Whether this process tries to get the lock; if not, it only looks for the value.
        self.claims = claims
        #: Whether this process has the lock.
        self.locked = False
        #: Whether a result that is not in the store waits here for whoever comes next.
        self.lingers = False
        #: How often its lock could neither be had nor be read.
        self.refused = 0
        self.owner = _who()
        self.call: Call | None = None
        self.result: Any = None
        self._landed = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Flight], None]] = []

    @property
    def has_landed(self) -> bool:
        """Whether it is over: it will not be watched, and not be locked, any more."""
        return self._landed

    @property
    def lock_key(self) -> str:
        """The lock's key in the store."""
        return f"{self.key}.lock"

    @property
    def deadline(self) -> float | None:
        """When waiting for it ends, on the monotonic clock."""
        call = self.call
        return None if call is None else call.deadline

    def is_nested(self) -> bool:
        """Whether this thread is its owner: it would wait for itself."""
        return self.call is None and not self._landed and self.owner == _who()

    def on_landing(self, callback: Callable[[Flight], None]) -> None:
        """Have ``callback(flight)`` called when it lands, at once if it has.

        It runs in the thread that lands it, so it has to be short and must not raise.
        """
        with self._lock:
            if not self._landed:
                self._callbacks.append(callback)
                return
        callback(self)

    def land(self, result: Any, prepare: Callable[[int], None] | None = None) -> int | None:
        """Hand the result to all who wait: how many; None where it has landed before.

        Args:
            result: What they are told.
            prepare: Called with their number before they are told.
        """
        with self._lock:
            if self._landed:
                return None
            self._landed, self.result = True, result
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
                    logger.exception("One who waited for %r could not be told.", self.key)
        return len(callbacks)
