"""The event loop of a process: one thread, in which the coroutine loaders of all requests run."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
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
            self._running += 1
            loop = self._loop or self._start()
        call = Call(_nothing, timeout)
        # The task copies the context variables that are in force where it is made.
        loop.call_soon_threadsafe(call.enter, self._begin, loop, call, start, finish)
        return call

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="partstream-loop", daemon=True).start()
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
            error: BaseException | None
            try:
                result, error = task.result(), None
            except BaseException as raised:  # noqa: BLE001 - for whoever finishes
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


async def _isolated(start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async with ThreadSensitiveContext() as context:
        try:
            return await start()
        finally:
            # Only where it has made a thread at all: to make one for this would cost more.
            if context in SyncToAsync.context_to_thread_executor:
                await sync_to_async(connections.close_all)()


def _nothing() -> None:
    """What a call does until its coroutine has ended."""
