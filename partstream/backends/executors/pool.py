"""The worker threads of a process: bounded, made after fork, never in the way of its exit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from partstream.exceptions import NoCapacity, NoThread
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger
from partstream.per_process import reset_after_fork

from .calls import Call, State
from .daemon_threads import start_daemon

logger = get_logger("partstream.executors")

#: Seconds after which an idle worker closes its database connections.
CLOSE_SECONDS = 1
#: Seconds after which a worker that has been idle, and has no connection, ends.
IDLE_SECONDS = 30


class _Thread(threading.local):
    """Whose worker the thread is that asks."""

    pool: WorkerPool | None = None


_thread = _Thread()
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


class WorkerPool:
    """A bounded pool of daemon threads behind a bounded queue.

    Threads are started as they are needed and end when they were idle for `IDLE_SECONDS`. Around
    each call database connections are given back, as ``close_old_connections`` does around a
    request; a thread that is idle for `CLOSE_SECONDS` closes them.

    A thread cannot be killed. A call that nobody waits for any more keeps its thread, and a new
    one takes its place, up to ``max_abandoned`` of them; from then on a call with a timeout is
    refused at once, before it can join them. So there are never more than
    ``max_workers + max_abandoned`` threads.

    Args:
        max_workers: Threads that work.
        max_queued: Calls that wait for a thread.
        max_abandoned: Abandoned calls whose place is given to another thread.
    """

    def __init__(self, *, max_workers: int, max_queued: int, max_abandoned: int) -> None:
        self.max_workers = max_workers
        self.max_queued = max_queued
        self.max_abandoned = max_abandoned
        self.reset()
        _pools.add(self)
        reset_after_fork(self)

    def reset(self) -> None:
        """Begin anew, with no threads and an empty queue."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._workers = 0
        #: Calls that wait for a worker, or have one.
        self._pending = 0
        self._abandoned = 0
        #: Of the abandoned calls, those whose place another thread took.
        self._replaced = 0
        #: Threads of the pool that wait for a call of it.
        self._blocked = 0

    @property
    def abandoned(self) -> int:
        """How many calls run on that nobody waits for."""
        return self._abandoned

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._workers + self._replaced

    def is_own_thread(self) -> bool:
        """Whether this is one of the pool's threads: to wait here for another could be for ever."""
        return _thread.pool is self

    def submit(self, function: Callable[[], Any], timeout: float | None = None) -> Call:
        """Have a function called by a worker.

        Args:
            function: What to call.
            timeout: Seconds from now to the call's deadline.

        Raises:
            NoCapacity: When the queue is full; without a timeout in a thread of the pool; with one,
                when so many calls are abandoned that no more may join them. When the call needs
                another thread, and the system has none to give: `NoThread` where there is no
                worker at all.
        """
        call = Call(function, timeout)
        with self._lock:
            if timeout is not None and self._abandoned >= self.max_abandoned:
                raise NoCapacity(f"{self._abandoned} calls that timed out still run")
            if timeout is None and self.is_own_thread():
                raise NoCapacity("a worker does not wait for another")
            waiting = self._pending - self._workers
            if waiting >= self.max_queued and self._workers >= self.max_workers:
                raise NoCapacity(f"{waiting} calls wait for a thread")
            self._pending += 1
            try:
                self._staff()
            except NoThread:
                self._pending -= 1
                if self._workers:
                    raise NoCapacity("all workers are busy, and the system has no more") from None
                raise
            self._queue.put(call)
        return call

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Around a wait for a call of this pool, in whichever thread.

        Raises:
            NoCapacity: In a thread of the pool, when all others wait as well: nobody would be left.
        """
        if not self.is_own_thread():
            yield
            return
        with self._lock:
            if self._blocked + 1 >= self.max_workers:
                raise NoCapacity("every other worker waits for a worker")
            self._blocked += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocked -= 1

    def resume(self, call: Call) -> None:
        """Have a worker run the rest of a call that started elsewhere, however full the queue is.

        Raises:
            NoThread: When there is no worker, and none can be had.
        """
        with self._lock:
            self._pending += 1
            try:
                self._staff()
            except NoThread:
                if not self._workers:
                    self._pending -= 1
                    raise
            self._queue.put(call)

    def _staff(self) -> None:
        """Start a thread if calls wait for one, and there may be more."""
        if self._workers < min(self._pending, self.max_workers):
            try:
                thread = start_daemon(self._work, self._queue, name="partstream-worker")
            except NoThread:
                logger.warning("A worker thread could not be started.", exc_info=True)
                raise
            self._workers += 1
            self._threads.add(thread)

    def close(self, timeout: float) -> bool:
        """End the threads, after the calls that they have; new calls get new threads.

        Args:
            timeout: Seconds to wait for their end.

        Returns:
            Whether all of them ended, and so closed their database connections.
        """
        ends = monotonic() + timeout
        with self._lock:
            threads, queue = list(self._threads), self._queue
            for _ in threads:
                queue.put(None)
            # Those that hang leave with their queue: they are not of the pool any more.
            self._queue, self._threads = SimpleQueue(), weakref.WeakSet()
            self._workers = self._pending = self._replaced = 0
        for thread in threads:
            thread.join(max(0.0, ends - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _work(self, queue: SimpleQueue[Call | None]) -> None:
        _thread.pool = self
        held = ThreadConnections()
        on_abandon = partial(self._note_abandoned, queue)
        while True:
            try:
                call = queue.get(timeout=CLOSE_SECONDS if held else IDLE_SECONDS)
            except Empty:
                if held:
                    held.close()
                    continue
                with self._lock:
                    if queue is self._queue:
                        if self._pending >= self._workers:
                            continue  # Something came just now.
                        self._workers -= 1
                break
            if call is None:
                break
            if call.begin(on_abandon):
                # They have aged while nothing was to do.
                held.check()
                call.run()
                held.give_back()
                if call.state is State.ABANDONED and self._is_replaced(queue):
                    break
            # What it held must not live as long as this thread waits.
            del call
            with self._lock:
                if queue is self._queue:
                    self._pending -= 1
        held.close()

    def _note_abandoned(self, queue: SimpleQueue[Call | None], call: Call) -> None:
        stranded: list[Call] = []
        with self._lock:
            self._abandoned += 1
            if queue is self._queue and self._replaced < self.max_abandoned:
                self._replaced += 1
                self._workers -= 1
                self._pending -= 1
                try:
                    self._staff()
                except NoThread:
                    if not self._workers:
                        stranded = self._take_queue()
        for waiting in stranded:
            waiting.refuse(NoThread("the only worker hangs, and the system has no other"))

    def _take_queue(self) -> list[Call]:
        """Take the calls that wait; nobody would come to them."""
        taken: list[Call] = []
        while True:
            try:
                call = self._queue.get_nowait()
            except Empty:
                return taken
            if call is not None:
                self._pending -= 1
                taken.append(call)

    def _is_replaced(self, queue: SimpleQueue[Call | None]) -> bool:
        """The end of an abandoned call: whether its thread has to go."""
        with self._lock:
            self._abandoned -= 1
            if queue is not self._queue:
                return False  # There may be nobody else to come to what waits there.
            # Threads are alike: whichever ends first makes room.
            if self._replaced:
                self._replaced -= 1
                return True
            return False


def close_all(timeout: float) -> bool:
    """`WorkerPool.close` of every pool of the process, with one timeout for all."""
    ends = monotonic() + timeout
    closed = [pool.close(max(0.0, ends - monotonic())) for pool in list(_pools)]
    return all(closed)
