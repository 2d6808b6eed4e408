"""The executor that runs parts side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .base import Executor
from .calls import Call


class ThreadExecutor(Executor):
    """Runs loaders side by side, in one bounded pool of threads per process.

    Each thread has its own database connection: a loader sees committed data only, and nothing of
    the request's open transaction.
    """

    concurrent: ClassVar[bool] = True

    def submit(self, function: Callable[[], Any], *, timeout: float | None = None) -> Call:
        """See `Executor.submit`."""
        return self.pool.submit(function, timeout)
