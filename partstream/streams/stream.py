"""One stream, step by step. A stream never waits: the body that takes its steps does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final

from partstream.isolation.connections import give_back_all, sessions_for_a_moment
from partstream.isolation.context import CallersContext
from partstream.resolution.pending import Ends

from .registry import registry

#: Seconds after which a response that no server has begun to send no longer counts as a stream.
ABANDONED_SECONDS: Final = 5


@dataclass(frozen=True)
class Record:
    """A step: send these pieces, then go on."""

    pieces: Iterator[bytes]


@dataclass(frozen=True)
class Pause:
    """A step: wait until a part has ended.

    Attributes:
        until: When to go on in any case, on the monotonic clock; None: there is no such moment.
    """

    until: float | None


class Stream:
    """The records of one response, in the context of its request.

    A step may ask a store or a database, so it must not run in an event loop. After each step the
    thread has no database connection: a stream holds one only while a loader uses it.

    Args:
        ends: Where parts arrive when they have ended; a body waits for them.
        heartbeat: What to send after a long silence.
        heartbeat_seconds: How long that is.
        renew: Sets up each connection that a step opens; None: there is nothing to set up.
    """

    def __init__(
        self,
        ends: Ends,
        heartbeat: bytes,
        heartbeat_seconds: float,
        renew: Callable[[], None] | None,
    ) -> None:
        self.ends = ends
        self.heartbeat = heartbeat
        self.heartbeat_seconds = heartbeat_seconds
        self._renew = renew
        self._steps: Iterator[Record | Pause] | None = None
        self._context = CallersContext()
        self._lock = threading.Lock()
        self._is_closed = False
        #: Until the first step: when it was made, on the monotonic clock.
        self._made: float | None = monotonic()

    @property
    def is_abandoned(self) -> bool:
        """Whether its server has taken no step for long: it has thrown the response away.

        A client that leaves before the view has ended, or a middleware that raises, has Django do
        so. The response may then exist until the next garbage collection.
        """
        return self._made is not None and monotonic() - self._made > ABANDONED_SECONDS

    def begin(self, steps: Iterator[Record | Pause]) -> None:
        """Set the steps: a generator, which is closed with the stream.

        It runs to its first ``yield`` now, so that its ``finally`` runs even if no step is taken.
        """
        self._steps = steps
        self._context.run(next, steps)

    def step(self) -> Record | Pause | None:
        """The next step; None at the end. Steps run one at a time, in any thread."""
        self._made = None
        try:
            with self._lock, sessions_for_a_moment(self._renew):
                try:
                    step = None
                    if not self._is_closed and self._steps is not None:
                        step = self._context.run(next, self._steps, None)
                    if step is None:
                        self._is_closed = True
                    return step
                except BaseException:
                    self._is_closed = True
                    raise
                finally:
                    if self._is_closed:
                        self._end()
        finally:
            if self._is_closed and self._steps is not None:
                self.close()  # Another thread closed it when the step had looked.

    def close(self) -> None:
        """End the stream. It does not wait for a step that runs in another thread."""
        self._is_closed = True
        # If a step is running, its thread closes the steps afterwards.
        if self._lock.acquire(blocking=False):
            try:
                self._end()
                give_back_all()
            finally:
                self._lock.release()

    def _end(self) -> None:
        registry.discard(self)
        steps, self._steps = self._steps, None
        close = getattr(steps, "close", None)
        if close is not None:
            self._context.run(close)
