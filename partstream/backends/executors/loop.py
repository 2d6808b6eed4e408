"""The event loop of a process: one thread that runs the coroutine loaders of all requests."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from time import monotonic
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext

from partstream.exceptions import NoCapacity, NoThread
from partstream.per_process import reset_after_fork

from .calls import Call
from .coroutine_threads import NO_THREAD, LoopThreads, OwnThread, current_hooks
from .daemon_threads import start_daemon
from .hooks import CallHooks
from .pool import WorkerPool
from .room import EVERYBODY, Room

#: Seconds that a coroutine's thread waits for the cleanup of a task cancelled in it.
_CLEANUP_SECONDS = 1

#: The tasks that `cancel` has cancelled within a coroutine.
_cancelled: ContextVar[set[asyncio.Task[Any]] | None] = ContextVar("_cancelled", default=None)

_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()


class LoopThread:
    """A daemon thread with an event loop; a pool finishes what coroutines return.

    Each coroutine has its own thread for ``sync_to_async`` calls, including Django's asynchronous
    ORM, so two coroutines can query at the same time. The thread's connections are closed when it
    ends.

    Args:
        pool: Its threads do what must not run in an event loop.
        max_coroutines: The maximum number of coroutines that run at a time.

    Attributes:
        room: Announces that a coroutine would be accepted again.
    """

    def __init__(self, pool: WorkerPool, *, max_coroutines: int) -> None:
        self.max_coroutines = max_coroutines
        self._pool = pool
        self.room = Room(self._count_free)
        self.reset()
        _loops.add(self)
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, with no loop."""
        self.room.reset()
        self._lock = self.room.lock
        self._is_idle = threading.Condition(self._lock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0

    def submit(
        self,
        start: Callable[[], Coroutine[Any, Any, Any]],
        finish: Callable[[Any, BaseException | None], Any],
        timeout: float | None = None,
        hooks: CallHooks | None = None,
    ) -> Call:
        """Run a coroutine in the loop, then a function in the pool.

        Args:
            start: Makes the coroutine; called in the loop.
            finish: Called by a worker with what the coroutine returned, or raised. Its return
                value is the call's result.
            timeout: Seconds from now to the call's deadline.
            hooks: The hooks to call in the coroutine's own thread, around all its calls.

        Raises:
            NoCapacity: When ``max_coroutines`` run already.
            NoThread: When the thread of the event loop cannot be started.
        """
        with self._lock:
            if self._running >= self.max_coroutines:
                raise NoCapacity(f"{self._running} coroutines run", room=self.room)
            loop = self._loop or self._start()
            self._running += 1
        call = Call(_nothing, timeout)
        # The task copies the context variables in force where it is made.
        loop.call_soon_threadsafe(call.enter, self._begin, loop, call, start, finish, hooks)
        return call

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until no coroutine and no thread of one runs; return whether that came in time."""
        with self._is_idle:
            return self._is_idle.wait_for(lambda: not self._running, timeout)

    def _count_free(self) -> int:
        """The number of coroutines that would be accepted now; `EVERYBODY` if none runs."""
        return self.max_coroutines - self._running if self._running else EVERYBODY

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(LoopThreads(self._pool))
        try:
            start_daemon(loop.run_forever, name="partstream-loop")
        except NoThread:
            loop.close()
            raise
        self._loop = loop
        return loop

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Call,
        start: Callable[[], Coroutine[Any, Any, Any]],
        finish: Callable[[Any, BaseException | None], Any],
        hooks: CallHooks | None,
    ) -> None:
        task = loop.create_task(_isolated(start, hooks))

        def ended(task: asyncio.Task[Any]) -> None:
            try:
                result, error = task.result()
            except BaseException as raised:  # noqa: BLE001 - cancelled before it began
                result, error = None, raised
            try:
                if isinstance(error, NoThread):
                    raise error  # Nor is there a thread for what follows.
                call.then(lambda: finish(result, error))
                self._pool.resume(call)
            except BaseException as raised:  # noqa: BLE001 - no thread, so the call ends here
                call.finish(None, raised)
            with self._lock:
                self._running -= 1
                self._is_idle.notify_all()
            self.room.announce()

        task.add_done_callback(ended)

        def cancel(_: Call) -> None:
            loop.call_soon_threadsafe(task.cancel)

        if not call.begin(cancel):
            task.cancel()


async def _isolated(
    start: Callable[[], Coroutine[Any, Any, Any]], hooks: CallHooks | None
) -> tuple[Any, BaseException | None]:
    """What a coroutine returned or raised: a SystemExit raised here would end the loop."""
    # Not entered: within the request's own context that would have no effect, and its calls would
    # be sent to the request's thread, which is waiting for this coroutine.
    context = ThreadSensitiveContext()
    SyncToAsync.thread_sensitive_context.set(context)
    AsyncToSync.executors.current = None
    thread = SyncToAsync.context_to_thread_executor[context] = OwnThread(hooks)
    current_hooks.set(hooks)
    cancelled: set[asyncio.Task[Any]] = set()
    _cancelled.set(cancelled)
    try:
        result, error = await start(), None
    except BaseException as raised:  # noqa: BLE001 - kept for `finish`
        result, error = None, raised
    finally:
        if cancelled:
            await asyncio.wait(cancelled, timeout=_CLEANUP_SECONDS)
        # For tasks that outlive the coroutine: asgiref would give them a thread without hooks that
        # never ends.
        SyncToAsync.context_to_thread_executor[context] = NO_THREAD
        if thread.is_started:
            # Until its last call has ended, the coroutine counts as running.
            await asyncio.wrap_future(thread.end())
    # The coroutine may have caught the refusal, and continued without the call's result.
    return (None, thread.refusal) if thread.refusal is not None else (result, error)


def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task of a coroutine loader, and let the coroutine's thread wait for its cleanup."""
    if task.cancel():
        tasks = _cancelled.get()
        if tasks is not None:
            tasks.add(task)


def _nothing() -> None:
    """What a call does until its coroutine has ended."""


def wait_until_all_idle(timeout: float) -> bool:
    """`LoopThread.wait_until_idle` for every loop of the process, with one timeout for all."""
    ends = monotonic() + timeout
    return all(loop.wait_until_idle(max(0.0, ends - monotonic())) for loop in list(_loops))
