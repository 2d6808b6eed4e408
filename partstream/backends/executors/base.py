"""The contract of the executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from partstream.dotted_paths import import_function, refuse_coroutine
from partstream.exceptions import Misuse

from ..base import Backend
from .calls import Call
from .hooks import CallHooks
from .loop import LoopThread
from .pool import WorkerPool

T = TypeVar("T")


class Executor(Backend, ABC):
    """Says where loaders run. A subclass writes `submit`.

    Every executor has a pool of threads, since a function with a timeout can only be waited for
    from another thread; an executor that is not concurrent uses it for nothing else.

    A thread that partstream starts has nothing of what your middleware keeps on the request's
    thread, or on its database connection: a tenant's schema, a variable of row-level security, a
    cache in a ``threading.local``. Its hooks set that, and take it away: `before_call` and
    `after_call`.

    Args:
        max_workers: Threads of the pool.
        max_queued: Calls that wait for a thread of the pool.
        max_abandoned: Calls that timed out, still run, and have their place in the pool given to
            another thread. When so many run, a part with a timeout fails at once, with the code
            ``capacity``.
        max_coroutines: Coroutine loaders that run at a time in the loop thread.
        before_call: The dotted path of the function of (request) that `before_call` calls.
        after_call: The dotted path of the function of (request) that `after_call` calls.

    Raises:
        Misuse: When a number is not whole, or not above zero; when a function cannot be imported.
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
        before_call: str | Callable[[Any], Any] | None = None,
        after_call: str | Callable[[Any], Any] | None = None,
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
        self._before_call, self._after_call = (
            None if path is None else import_function(path, name)
            for name, path in (("before_call", before_call), ("after_call", after_call))
        )
        for name in ("before_call", "after_call"):
            refuse_coroutine(getattr(self, name), f"{type(self).__name__}.{name}")

    def before_call(self, request: Any) -> None:
        """Set what a part's code needs of this thread, and of its database connections.

        Called with the loader's request, in each thread that runs code of the project's for a
        part: a worker, a coroutine's own thread of ``sync_to_async``, the thread of serializer and
        fallback. Never in the thread of an event loop. In the request's own thread only when that
        thread opens a connection after it has given a pooled one back. It may be called again in
        the same thread.

        By default it calls the function of the option ``before_call``. What it raises fails the
        part, fallback or not, and is logged; in the request's own thread, whatever wanted the
        connection.
        """
        if self._before_call is not None:
            self._before_call(request)

    def after_call(self, request: Any) -> None:
        """Take away what `before_call` has set, before the thread serves another request.

        Called in the same threads, except the request's own, also after a `before_call` that
        failed. By default it calls the function of the option ``after_call``. What it raises is
        only logged.
        """
        if self._after_call is not None:
            self._after_call(request)

    @cached_property
    def has_hooks(self) -> bool:
        """Whether one of the two hooks does anything."""
        own = type(self).after_call is not Executor.after_call
        return self.sets_state or self._after_call is not None or own

    @property
    def sets_state(self) -> bool:
        """Whether `before_call` does anything."""
        own = type(self).before_call is not Executor.before_call
        return self._before_call is not None or own

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
        hooks: CallHooks | None = None,
    ) -> Call:
        """Run a coroutine in the loop thread, and finish what it returned in the pool.

        Args:
            start: Makes the coroutine.
            finish: Called by a worker with what it returned, or raised.
            timeout: Seconds that whoever waits will wait.
            hooks: What is called in the coroutine's own thread of ``sync_to_async``.

        Raises:
            NoCapacity: When it cannot be begun.
        """
        return self.loop.submit(start, finish, timeout, hooks)
