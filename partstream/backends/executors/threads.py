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

    Args:
        max_per_request: How many parts of one request run at the same time; None: no limit. The
            next one starts when one of them ends. Set it to 1 or 2 for loaders that compute in
            Python, which share one processor: side by side they would all end late. A call that
            timed out no longer counts.
        options: See `Executor`.

    Raises:
        Misuse: When an option is invalid.
    """

    concurrent: ClassVar[bool] = True

    def __init__(self, *, max_per_request: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if max_per_request is not None:
            self._check_counts(max_per_request=max_per_request)
        self.max_per_request = max_per_request

    def submit(self, function: Callable[[], Any], *, timeout: float | None = None) -> Call:
        """See `Executor.submit`."""
        return self.pool.submit(function, timeout)
