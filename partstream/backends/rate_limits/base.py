"""The contract of the rate-limit stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from ..base import Backend
from ..breakers import Breaker
from ..faults import Fault, fault_of


class Window(NamedTuple):
    """So many requests in so much time, of whoever the key stands for.

    Attributes:
        key: Printable ASCII without spaces, up to 200 characters. The keys of one `take` have the
            same text in braces, which puts them into one slot of a Redis cluster.
        limit: Requests, 1 or more.
        seconds: Whole seconds, 1 or more.
    """

    key: str
    limit: int
    seconds: int


class Decision(NamedTuple):
    """Whether a request is admitted, and how each of its windows stands after that.

    Attributes:
        admitted: Whether every window had room.
        retry_after: Seconds after which every window has room again, if nobody else asks; 0 for
            a request that is admitted.
        remaining: Requests that each window still has room for.
        resets: Seconds until each window has room for one more than it has now; 0 where it is
            empty.
    """

    admitted: bool
    retry_after: float
    remaining: tuple[int, ...]
    resets: tuple[float, ...]


class RateLimitStore(Backend, ABC):
    """Counts requests in windows of time.

    A subclass writes `consume` and sets the flags, and lets everything raise what it likes: a
    fault is logged and counted, and the store is left alone for a while (see ``Breaker``), unless
    `fault_of` tells that only this call failed. What becomes of a request that it cannot decide is
    for ``RATE_LIMIT_ON_STORE_ERROR`` to say.

    Args:
        retry_after: Seconds for which the store is left alone after a fault.
    """

    #: Whether all processes count together.
    shared: bool
    #: Whether no window, wherever it begins, ever has more than its limit.
    exact: bool

    def __init__(self, *, retry_after: float = 2) -> None:
        self._breaker = Breaker(type(self).__name__, retry_after, fault_of=self.fault_of)
        self.retry_after = retry_after
        #: Requests that were not decided, because the store could not be asked.
        self.undecided = 0

    def fault_of(self, error: Exception) -> Fault:
        """Whose fault an exception of `consume` is.

        Override it where your client raises what `partstream.backends.faults.fault_of` does not
        know. `consume` may also raise ``CallFault`` or ``ServiceFault`` of that module.
        """
        return fault_of(error)

    def take(self, windows: Sequence[Window]) -> Decision | None:
        """Take one request out of all of these windows, or out of none if one has no room.

        Args:
            windows: At least one; no two have the same key.

        Returns:
            The decision; None while the store cannot be asked.
        """
        decision = self._breaker.call(self.consume, windows, otherwise=None)
        if decision is None:
            self.undecided += 1  # A count for people: two at once may count as one.
        return decision

    @abstractmethod
    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `take`. It is safe from many threads, and never admits more than the limits."""
