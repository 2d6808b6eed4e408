"""The contract of the executors."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, ClassVar, TypeVar

from partstream.dotted_paths import import_function, refuse_coroutine
from partstream.exceptions import Misuse, ProbeFailed
from partstream.isolation.timeouts import in_worker
from partstream.setting_kinds import COUNT

from ..base import Backend
from .calls import Call, timeout_error
from .hooks import CallHooks
from .loop import LoopThread
from .pool import WorkerPool

T = TypeVar("T")

#: Seconds that a probe's call may take.
_PROBE_TIMEOUT = 30


class Executor(Backend, ABC):
    """Decides where loaders run. A subclass implements `submit`.

    Every executor has a pool of threads, since a function with a timeout can only be waited for
    from another thread. An executor that is not concurrent uses its pool for nothing else.

    Threads that partstream starts lack what your middleware keeps on the request's thread or on
    its database connection: a tenant's schema, a variable of row-level security, a cache in a
    ``threading.local``. Use the hooks `before_call` and `after_call` to set and reset it.

    Args:
        max_workers: The number of threads in the pool.
        max_queued: The number of calls that may wait for a thread of the pool.
        max_abandoned: The number of calls that may still run after their timeout while another
            thread takes their place in the pool. When that many run, a part with a timeout fails
            at once, with the code ``capacity``.
        max_coroutines: The number of coroutine loaders that may run at a time in the loop thread.
        before_call: The dotted path of the function of (request) that `before_call` calls.
        after_call: The dotted path of the function of (request) that `after_call` calls.

    Raises:
        Misuse: When a number is not a whole number above zero, or a function cannot be imported.
    """

    #: Whether parts run side by side. If so, coroutine loaders run in the process's loop thread;
    #: otherwise, they run together in the request's thread.
    concurrent: ClassVar[bool] = False
    #: Whether timeouts and time budgets apply. They always do, except in tests.
    watches_time: ClassVar[bool] = True
    #: How many parts of one request run side by side here; None: no limit.
    max_per_request: int | None = None

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
        self._check_counts(
            max_workers=max_workers,
            max_queued=max_queued,
            max_abandoned=max_abandoned,
            max_coroutines=max_coroutines,
        )
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

    def _check_counts(self, **options: Any) -> None:
        """Raise `Misuse` if an option is not a whole number of 1 or more."""
        for name, value in options.items():
            if not COUNT.accepts(value):
                raise Misuse(
                    f"{type(self).__name__}({name}={value!r}): write a whole number of 1 or more."
                )

    def before_call(self, request: Any) -> None:
        """Set up this thread and its database connections for a part's code.

        It is called with the loader's request, in each thread that runs code of the project's for
        a part: a worker, a coroutine's own thread for ``sync_to_async``, the thread of serializer
        and fallback. It is never called in the thread of an event loop. In the request's own
        thread it is called only when that thread opens a connection after it has given a pooled
        one back. It may be called again in the same thread.

        By default it calls the function of the option ``before_call``. If it raises, the part fails
        even if it has a fallback, and the exception is logged. In the request's own thread, the
        code that needed the connection fails.
        """
        if self._before_call is not None:
            self._before_call(request)

    def after_call(self, request: Any) -> None:
        """Reset what `before_call` has set, before the thread serves another request.

        It is called in the same threads except the request's own, even if `before_call` failed.
        By default it calls the function of the option ``after_call``. An exception that it raises
        is only logged.
        """
        if self._after_call is not None:
            self._after_call(request)

    @cached_property
    def has_hooks(self) -> bool:
        """Whether either hook does anything."""
        own = type(self).after_call is not Executor.after_call
        return self.sets_state or self._after_call is not None or own

    @property
    def sets_state(self) -> bool:
        """Whether `before_call` does anything."""
        own = type(self).before_call is not Executor.before_call
        return self._before_call is not None or own

    @cached_property
    def loop(self) -> LoopThread:
        """The loop thread for coroutine loaders."""
        return LoopThread(self.pool, max_coroutines=self._max_coroutines)

    @property
    def max_in_flight(self) -> int:
        """How many parts of one stream may run here, or have ended and wait to be sent, at a time.

        It bounds the memory that a stream to a slow client takes. Coroutines do not count. By
        default it is the number of threads in the pool, or `max_per_request` if that is smaller.
        """
        workers, limit = self.pool.max_workers, self.max_per_request
        return workers if limit is None else min(workers, limit)

    @property
    def abandoned(self) -> int:
        """The number of calls still running after their timeout; a thread cannot be killed."""
        return self.pool.abandoned

    def probe(self) -> None:
        """Check that the pool has room, and run a call that does nothing.

        While all workers are busy, no call is made: it would have to wait for its turn, which says
        nothing, and take the place of another one in the queue.

        Raises:
            ProbeFailed: When calls are refused for want of room, or that call does not end.
            Exception: Whatever `submit` raises, such as `NoThread`.
        """
        pool = self.pool
        if pool.abandoned >= pool.max_abandoned:
            raise ProbeFailed(f"{pool.abandoned} calls that timed out still run (max_abandoned)")
        if pool.is_busy:
            if pool.waiting >= pool.max_queued:
                raise ProbeFailed(f"{pool.waiting} calls wait for a thread (max_queued)")
            return
        call = self.submit(_nothing, timeout=_PROBE_TIMEOUT)
        if not isinstance(call, Call):
            return
        done = threading.Event()
        call.on_done(lambda _: done.set())
        # If it has not begun by then, the workers have become busy.
        if not done.wait(_PROBE_TIMEOUT) and not call.cancel():
            raise ProbeFailed("a call that does nothing did not end")
        if call.error is not None:
            raise call.error

    @abstractmethod
    def submit(self, function: Callable[[], T], *, timeout: float | None = None) -> T | Call:
        """Run a function now, or start it in another thread.

        Args:
            function: What to run.
            timeout: Seconds that callers will wait. With a timeout, the function always runs in
                another thread.

        Returns:
            What the function returned, or the `Call` that will have the result.

        Raises:
            NoCapacity: When it cannot be started.
        """

    def submit_to_worker(
        self, function: Callable[[], Any], *, timeout: float | None = None
    ) -> Call:
        """Start a function in a thread of the pool, even if `submit` would run it here.

        Streams run the parts of an executor that is not `concurrent` this way, one at a time, so
        that the request's thread can send meanwhile.

        Args:
            function: What to run.
            timeout: Seconds that callers will wait; None: no limit.

        Returns:
            The call that will have the result.

        Raises:
            NoCapacity: When it cannot be started. If its ``room`` is not None, that calls back when
                there is room.
        """
        return self.pool.submit(function, timeout)

    def wait_for(
        self, function: Callable[[], T], seconds: float, hooks: CallHooks | None = None
    ) -> T:
        """Call a function in a thread of the pool, and wait for it until its timeout.

        The timeout ends no statement of the hooks: `after_call` has to undo `before_call`.

        Args:
            function: What to call.
            seconds: The timeout.
            hooks: What is called around the function.

        Raises:
            PartTimeout: When it did not end in time; it runs on.
            NoCapacity: When it could not begin in time.
        """

        def limited() -> T:
            with in_worker(seconds):
                return function()

        with self.pool.blocking():
            work = limited if hooks is None else partial(hooks.around, limited)
            call = self.pool.submit(work, seconds)
            done = threading.Event()
            call.on_done(lambda _: done.set())
            if not done.wait(seconds):
                error = timeout_error(call.give_up())
                if error is not None:
                    raise error
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def submit_coroutine(
        self,
        start: Callable[[], Any],
        finish: Callable[[Any, BaseException | None], Any],
        *,
        timeout: float | None = None,
        hooks: CallHooks | None = None,
    ) -> Call:
        """Run a coroutine in the loop thread, then finish in the pool.

        Args:
            start: Makes the coroutine.
            finish: Called by a worker with what the coroutine returned, or raised.
            timeout: Seconds that callers will wait.
            hooks: The hooks to call in the coroutine's own thread for ``sync_to_async``.

        Raises:
            NoCapacity: When it cannot be started.
        """
        return self.loop.submit(start, finish, timeout, hooks)


def _nothing() -> None:
    """What a probe calls."""
