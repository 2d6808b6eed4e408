"""The event loop of a process: one thread, in which the coroutine loaders of all requests run."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext
from django.db import connections

from partstream.exceptions import NoCapacity

from .calls import Call
from .pool import WorkerPool

_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _forget_loops() -> None:
    for loop in _loops:
        loop.reset()


os.register_at_fork(after_in_child=_forget_loops)


class LoopThread:
    """A daemon thread with an event loop; what a coroutine returns is finished by a pool.

    Each coroutine has a thread of its own for its ``sync_to_async`` calls, Django's asynchronous
    ORM among them, so that two coroutines query at the same time; the thread's connections are
    closed at its end.

    Args:
        pool: Its threads do what may not be done in an event loop.
        max_coroutines: Coroutines that run at a time.
    """

    def __init__(self, pool: WorkerPool, *, max_coroutines: int) -> None:
        self.max_coroutines = max_coroutines
        self._pool = pool
        self.reset()
        _loops.add(self)

    def reset(self) -> None:
        """Begin anew, with no loop."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0

    def submit(
        self,
        start: Callable[[], Coroutine[Any, Any, Any]],
        finish: Callable[[Any, BaseException | None], Any],
        timeout: float | None = None,
    ) -> Call:
        """Run a coroutine in the loop, then a function in the pool.

        Args:
            start: Makes the coroutine; called in the loop.
            finish: Called by a worker with what the coroutine returned, or raised; what it returns
                is the call's result.
            timeout: Seconds from now to the call's deadline.

        Raises:
            NoCapacity: When so many coroutines run that no more may join them.
        """
        with self._lock:
            if self._running >= self.max_coroutines:
                raise NoCapacity(f"{self._running} coroutines run")
            loop = self._loop or self._start()
            self._running += 1
        call = Call(_nothing, timeout)
        # The task copies the context variables that are in force where it is made.
        loop.call_soon_threadsafe(call.enter, self._begin, loop, call, start, finish)
        return call

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        try:
            threading.Thread(target=loop.run_forever, name="partstream-loop", daemon=True).start()
        except RuntimeError as error:
            loop.close()
            raise NoCapacity("the system has no thread for the event loop") from error
        self._loop = loop
        return loop

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Call,
        start: Callable[[], Coroutine[Any, Any, Any]],
        finish: Callable[[Any, BaseException | None], Any],
    ) -> None:
        task = loop.create_task(_isolated(start))

        def ended(task: asyncio.Task[Any]) -> None:
            with self._lock:
                self._running -= 1
            try:
                result, error = task.result()
            except BaseException as raised:  # noqa: BLE001 - cancelled before it began
                result, error = None, raised
            call.then(lambda: finish(result, error))
            try:
                self._pool.resume(call)
            except BaseException as raised:  # noqa: BLE001 - no thread to be had: it ends here
                call.finish(None, raised)

        task.add_done_callback(ended)

        def cancel(_: Call) -> None:
            loop.call_soon_threadsafe(task.cancel)

        if not call.begin(cancel):
            task.cancel()


async def _isolated(
    start: Callable[[], Coroutine[Any, Any, Any]],
) -> tuple[Any, BaseException | None]:
    """What a coroutine returned or raised: a SystemExit raised here would end the loop."""
    # Not entered: inside of the request's own context that would do nothing, and the request's
    # thread, which waits for this coroutine, would be asked to run its calls.
    context = ThreadSensitiveContext()
    SyncToAsync.thread_sensitive_context.set(context)
    AsyncToSync.executors.current = None
    thread = SyncToAsync.context_to_thread_executor[context] = _OwnThread()
    try:
        return await start(), None
    except BaseException as raised:  # noqa: BLE001 - for whoever finishes
        return None, raised
    finally:
        SyncToAsync.context_to_thread_executor.pop(context, None)
        if thread.is_started:
            # Until its last call has ended, it counts among those that run.
            await asyncio.wrap_future(thread.submit(connections.close_all))
            thread.shutdown(wait=False)


class _OwnThread(Executor):
    """The daemon thread of one coroutine, for its ``sync_to_async`` calls; started at need.

    That of a ``ThreadPoolExecutor`` would hold up the end of the process.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.is_started = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have the thread call a function."""
        future: Future[Any] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        if not self.is_started:
            self.is_started = True
            threading.Thread(target=self._work, name="partstream-sync", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after its last call; nobody waits for it."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - for the coroutine
                future.set_exception(error)
            del call, future, function


def _nothing() -> None:
    """What a call does until its coroutine has ended."""
