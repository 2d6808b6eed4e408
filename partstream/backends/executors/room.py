"""Callers that wait for a free place in a pool or an event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import Final

from partstream.weak_methods import WeakMethod

#: A number of free places that is enough for all who wait.
EVERYBODY: Final = 2**31


class Room:
    """Calls back when there is free room, so that callers who were refused need not poll.

    After `NoCapacity` a caller registers with the exception's ``room``. When it is called, it tries
    again. Another caller may have been quicker: then it is refused again, and registers again. A
    caller that no longer needs room calls `forget`, whether or not it was called back.

    Each call that ends wakes the callers that have waited longest, as many as there are free
    places: one, as long as those that were woken take their places. Nobody waits for ever because
    a caller that was woken is slow, or does not take its place:

    - The next call that ends counts the place as free, too.
    - `forget` passes on the place of a caller that was woken.
    - When nothing runs any more, no end would wake anybody, so everybody is woken.

    Args:
        count_free: A method that returns the number of free places, ``EVERYBODY`` if nothing runs.
            It is called with ``lock`` held, and its object is held by a weak reference.

    Attributes:
        lock: It guards what ``count_free`` counts, so that no place becomes free unnoticed between
            the check for room and the registration.

    Example::

        try:
            call = executor.submit(job)
        except NoCapacity as error:
            if error.room is None:
                raise
            error.room.call_when_free(wake_up)
    """

    def __init__(self, count_free: Callable[[], int]) -> None:
        self._count_free = WeakMethod(count_free)
        self.reset()

    def reset(self) -> None:
        """Start again, with a new lock, and with nobody who waits."""
        self.lock = threading.Lock()
        # In the order of registration.
        self._waiting: dict[Callable[[], None], None] = {}

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` once, when there is room; at once if there is room now.

        A callback that waits already keeps its place in the line.

        Args:
            callback: It runs in the thread that makes room, which may be that of an event loop, and
                which may hold locks. So it must be short and must not raise: set an event, or
                call ``loop.call_soon_threadsafe``. It is held until it is called or forgotten.
        """
        with self.lock:
            is_free = self._places() > 0
            if not is_free:
                self._waiting.setdefault(callback)
            else:
                self._waiting.pop(callback, None)
        if is_free:
            callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call a callback any more. If it was called, its place goes to the next caller."""
        with self.lock:
            was_waiting = callback in self._waiting
            self._waiting.pop(callback, None)
        if not was_waiting:
            self.announce()

    def announce(self) -> None:
        """Call back the callers that have waited longest, as many as there are free places.

        For the owner of ``lock``, which must not be held, after places have become free.
        """
        # Without the lock: who registers after the place became free has seen it.
        if not self._waiting:
            return
        with self.lock:
            called = list(islice(self._waiting, max(0, self._places())))
            for callback in called:
                del self._waiting[callback]
        for callback in called:
            callback()

    def _places(self) -> int:
        count_free = self._count_free()
        return EVERYBODY if count_free is None else count_free()
