"""The queue of a pool: it serves requests in turn."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue with a line for each owner: the items of a line in their order, the lines in turn.

    With the calls of requests as items, a request that has queued twenty calls delays another
    request's call by one of them, not by twenty. An owner whose line is empty takes no memory.

    Example:
        After ``put("a1", "a")``, ``put("a2", "a")`` and ``put("b1", "b")``, ``get()`` returns
        ``"a1"``, ``"b1"``, ``"a2"``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In the order of their turns; none is empty.
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()
        # One for each item: getters wait here, since this queue wakes one without holding a lock.
        self._tickets: SimpleQueue[None] = SimpleQueue()

    def put(self, item: T | None, owner: Hashable = None) -> None:
        """Add an item to the line of its owner.

        Args:
            item: What a `get` will return. None is returned after all other items.
            owner: Whose line it joins.
        """
        if item is not None:
            with self._lock:
                line = self._lines.get(owner)
                if line is None:
                    self._lines[owner] = deque((item,))
                else:
                    line.append(item)
        self._tickets.put(None)

    def get(self, timeout: float | None = None) -> T | None:
        """Remove and return the next item; wait for it if there is none.

        Args:
            timeout: Seconds to wait; None: for ever.

        Raises:
            queue.Empty: When there is no item within the timeout.
        """
        self._tickets.get(timeout=timeout)
        return self._take()

    def get_nowait(self) -> T | None:
        """Remove and return the next item.

        Raises:
            queue.Empty: When there is none.
        """
        self._tickets.get_nowait()
        return self._take()

    def _take(self) -> T | None:
        with self._lock:
            if not self._lines:
                return None
            owner, line = self._lines.popitem(last=False)
            item = line.popleft()
            if line:
                self._lines[owner] = line
            return item
