"""The open streams of this process."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from partstream.exceptions import StreamsFull
from partstream.per_process import reset_after_fork
from partstream.performance.publication import add_gauge

#: Seconds after which a client that found no room may try again.
RETRY_SECONDS: Final = 5


class Registry:
    """Counts open streams. It does not count a stream that nothing refers to any more."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget the streams of the parent process."""
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, stream: object, most: int) -> None:
        """Count a stream.

        Raises:
            StreamsFull: When ``most`` are open already.
        """
        with self._lock:
            if len(self._open) >= most:
                for known in list(self._open):
                    if known.is_abandoned:
                        self._open.discard(known)
            if len(self._open) >= most:
                raise StreamsFull(RETRY_SECONDS)
            self._open.add(stream)

    def discard(self, stream: object) -> None:
        """Stop counting a stream."""
        with self._lock:
            self._open.discard(stream)

    def __len__(self) -> int:
        return len(self._open)


#: The streams of this process.
registry = Registry()


def count_open_streams() -> int:
    """The number of open streams of this process, now."""
    return len(registry)


add_gauge("open_streams", count_open_streams)
