"""The contract of the executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from partstream.exceptions import Misuse

from ..base import Backend
from .calls import Call
from .loop import LoopThread
from .pool import WorkerPool

T = TypeVar("T")


class Executor(Backend, ABC):
    """Says where loaders run. A subclass writes `submit`.

    Every executor has a pool of threads, since a function with a timeout can only be waited for
    from another thread; an executor that is not concurrent uses it for nothing else.

    Args:
        max_workers: Threads of the pool.
        max_queued: Calls that wait for a thread of the pool.
        max_abandoned: Calls that timed out, still run, and have their place in the pool given to
            another thread. When so many run, a part with a timeout fails at once, with the code
            ``capacity``.
        max_coroutines: Coroutine loaders that run at a time in the loop thread.

    Raises:
        Misuse: When one of them is not a whole number, or not above zero.
    """

    #: Whether parts run side by side. If so, coroutine loaders run in the process's loop thread;
    #: if not, in the request's, together.
    concurrent: ClassVar[bool] = False
    #: Whether timeouts and time budgets hold. Only in tests they do not.
    watches_time: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_workers: int = 16,
        max_queued: int = 64,
        max_abandoned: int = 16,
        max_coroutines: int = 256,
    ) -> None:
        limits = {
            "max_workers": max_workers,
            "max_queued": max_queued,
            "max_abandoned": max_abandoned,
            "max_coroutines": max_coroutines,
        }
        for name, value in limits.items():
            if type(value) is not int or value < 1:
                raise Misuse(f"{type(self).__name__}({name}={value!r}): write a whole number >= 1.")
        self.pool = WorkerPool(
            max_workers=max_workers, max_queued=max_queued, max_abandoned=max_abandoned
        )
        self._max_coroutines = max_coroutines

    @cached_property
    def loop(self) -> LoopThread:
        """The loop thread of coroutine loaders."""
        return LoopThread(self.pool, max_coroutines=self._max_coroutines)

    @property
    def abandoned(self) -> int:
        """How many calls run on after their timeout, because a thread cannot be killed."""
        return self.pool.abandoned

    @abstractmethod
    def submit(self, function: Callable[[], T], *, timeout: float | None = None) -> T | Call:
        """Run a function now, or begin to run it elsewhere.

        Args:
            function: What to run.
            timeout: Seconds that whoever waits will wait. With one the function always runs
                elsewhere.

        Returns:
            What the function returned, or the `Call` that will have it.

        Raises:
            NoCapacity: When it cannot be begun.
        """

    def submit_coroutine(
        self,
        start: Callable[[], Any],
        finish: Callable[[Any, BaseException | None], Any],
        *,
        timeout: float | None = None,
    ) -> Call:
        """Run a coroutine in the loop thread, and finish what it returned in the pool.

        Raises:
            NoCapacity: When it cannot be begun.
        """
        return self.loop.submit(start, finish, timeout)
