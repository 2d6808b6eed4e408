"""The contract of the rate-limit stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from secrets import token_hex
from typing import NamedTuple

from partstream.exceptions import ProbeFailed

from ..base import Backend
from ..breakers import Breaker
from ..faults import Fault, fault_of


class Window(NamedTuple):
    """The limit on the requests of one key within a period.

    Attributes:
        key: Printable ASCII without spaces, up to 200 characters. The keys of one `take` have the
            same text in braces, which puts them into the same slot of a Redis Cluster.
        limit: The maximum number of requests, 1 or more.
        seconds: Whole seconds, 1 or more.
    """

    key: str
    limit: int
    seconds: int


class Decision(NamedTuple):
    """Whether a request is admitted, and the state of each of its windows after it.

    Attributes:
        admitted: Whether every window had room.
        retry_after: Seconds until every window has room again, if there are no other requests; 0
            for a request that is admitted.
        remaining: The requests that each window still has room for.
        resets: Seconds until each window has room for one more request than it has now; 0 where
            it is empty.
    """

    admitted: bool
    retry_after: float
    remaining: tuple[int, ...]
    resets: tuple[float, ...]


class RateLimitStore(Backend, ABC):
    """Counts requests in windows of time.

    A subclass implements `consume` and sets the flags. Its methods may raise anything: a failure is
    logged and counted, and the store is not used for a while (see ``Breaker``), unless `fault_of`
    says that only this call failed. ``RATE_LIMIT_ON_STORE_ERROR`` determines what happens to a
    request that the store cannot decide.

    Args:
        retry_after: Seconds for which the store is not used after a failure.
    """

    #: Whether all processes count together.
    shared: bool
    #: Whether no window, wherever it begins, ever admits more than its limit.
    exact: bool

    def __init__(self, *, retry_after: float = 2) -> None:
        self._breaker = Breaker(type(self).__name__, retry_after, fault_of=self.fault_of)
        self.retry_after = retry_after
        #: The number of requests that were not decided, because the store was unavailable.
        self.undecided = 0

    def fault_of(self, error: Exception) -> Fault:
        """Whose fault an exception of `consume` is.

        Override it if your client raises exceptions that `partstream.backends.faults.fault_of`
        does not know. `consume` may also raise ``CallFault`` or ``ServiceFault`` of that module.
        """
        return fault_of(error)

    def take(self, windows: Sequence[Window]) -> Decision | None:
        """Count one request in all of these windows, or in none if one of them has no room.

        Args:
            windows: At least one; no two have the same key.

        Returns:
            The decision; None while the store is unavailable.
        """
        decision = self._breaker.call(self.consume, windows, otherwise=None)
        if decision is None:
            self.undecided += 1  # For people to read: two at once may count as one.
        return decision

    @abstractmethod
    def consume(self, windows: Sequence[Window]) -> Decision:
        """See `take`. It must be thread-safe, and never admit more than the limits."""

    def probe(self) -> None:
        """Count one request of a key that no client has, in a window of one second.

        Override it if your store would keep that counter for longer.

        Raises:
            ProbeFailed: When there is no room for that request.
            Exception: Whatever `consume` raises.
        """
        if not self.consume([Window(f"{{partstream.probe.{token_hex(8)}}}", 1, 1)]).admitted:
            raise ProbeFailed("the first request of a key was refused")
