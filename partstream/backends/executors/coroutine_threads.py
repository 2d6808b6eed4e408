"""The threads that run the synchronous calls of coroutine loaders."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from partstream.exceptions import NoCapacity, NoThread
from partstream.isolation.connections import ThreadConnections, forget_renewal
from partstream.isolation.context import CallersContext

from .daemon_threads import start_daemon
from .hooks import CallHooks
from .pool import WorkerPool

#: The hooks of the current coroutine.
current_hooks: ContextVar[CallHooks | None] = ContextVar("current_hooks", default=None)


class OwnThread(Executor):
    """The daemon thread of one coroutine, for its ``sync_to_async`` calls. Started when needed.

    A ``ThreadPoolExecutor``'s thread would delay the exit of the process.

    Args:
        hooks: The hooks to call before its first call and after its last one.

    Attributes:
        is_started: Whether the thread has been started.
        refusal: The reason why calls are refused; None if they are not.
    """

    def __init__(self, hooks: CallHooks | None) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._hooks = hooks
        self._context = CallersContext() if hooks is not None else None
        self._ended: Future[None] = Future()
        # So that it cannot be cancelled: the thread ends, awaited or not.
        self._ended.set_running_or_notify_cancel()
        self.is_started = False
        self.refusal: BaseException | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the thread."""
        future: Future[Any] = Future()
        if not self.is_started:
            try:
                start_daemon(self._work, name="partstream-sync")
            except NoThread as error:
                self.refusal = error
                future.set_exception(error)
                return future
            self.is_started = True
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def end(self) -> Future[None]:
        """End the thread after its last call; the future is done when its connections close."""
        self._calls.put(None)
        return self._ended

    def _work(self) -> None:
        try:
            if self._context is None or self._hooks is None:
                self._run()
            else:
                self._context.run(self._run_between, self._hooks)
            ThreadConnections().close()
        finally:
            self._ended.set_result(None)

    def _run_between(self, hooks: CallHooks) -> None:
        try:
            hooks.before()
        except BaseException as error:  # noqa: BLE001 - for the coroutine
            self.refusal = error
        try:
            self._run()
        finally:
            forget_renewal()
            hooks.after()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if self.refusal is not None:
                    raise self.refusal
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - for the coroutine
                future.set_exception(error)
            del call, future, function


class _NoThread(Executor):
    """Replaces an `OwnThread` that has ended, for tasks that outlive their coroutine."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Refuse the call with a ``RuntimeError``."""
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("the coroutine loader of this task has ended"))
        return future


NO_THREAD: Final = _NoThread()


class LoopThreads(ThreadPoolExecutor):
    """The default executor of the event loop, for ``asyncio.to_thread`` and the like.

    Event loops accept no other class. It starts no threads: calls run in a pool of partstream's,
    which closes their database connections and never delays the exit of the process. The
    executor's hooks are called around each call.

    Args:
        pool: The pool whose threads run the calls.
    """

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(max_workers=1)
        self._pool = pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a worker; its future raises `NoCapacity` if there is no room."""
        future: Future[Any] = Future()
        hooks, function = current_hooks.get(), partial(fn, *args, **kwargs)
        work = function if hooks is None else partial(hooks.around, function)

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - for the coroutine
                future.set_exception(error)

        try:
            self._pool.submit(run)
        except NoCapacity as error:
            future.set_exception(error)
        return future
