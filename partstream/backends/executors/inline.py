"""The default executor: it runs loaders in the request's own thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .base import Executor
from .calls import Call

T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs loaders in the request's thread, one after another, in declared order.

    They share the request's database connection and transaction. Only a loader with a timeout runs
    in another thread, with its own connection.
    """

    def submit(self, function: Callable[[], T], *, timeout: float | None = None) -> T | Call:
        """See `Executor.submit`."""
        return function() if timeout is None else self.pool.submit(function, timeout)
