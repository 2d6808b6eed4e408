"""The worker threads of a process: bounded, reset after a fork, and never delaying its exit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty
from time import monotonic
from typing import Any, NamedTuple

from partstream.current_request import current_request_id
from partstream.exceptions import NoCapacity, NoThread
from partstream.isolation.connections import ThreadConnections
from partstream.logs import get_logger
from partstream.per_process import reset_after_fork

from .calls import Call, State
from .daemon_threads import start_daemon
from .fair_queue import FairQueue
from .room import EVERYBODY, Room

logger = get_logger("partstream.executors")

#: Seconds after which an idle worker closes its database connections.
CLOSE_SECONDS = 1
#: Seconds after which a worker that has been idle, and has no connection, ends.
IDLE_SECONDS = 30


class _Thread(threading.local):
    """The pool that the current thread is a worker of."""

    pool: WorkerPool | None = None


_thread = _Thread()
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


class WorkerPool:
    """A bounded pool of daemon threads with a bounded queue that serves requests in turn.

    Threads are started when needed and end after they have been idle for `IDLE_SECONDS`. Database
    connections are given back around each call, as ``close_old_connections`` does around a
    request; a thread that has been idle for `CLOSE_SECONDS` closes them.

    A thread cannot be killed. An abandoned call keeps its thread, and a new thread takes its place,
    for up to ``max_abandoned`` calls. From then on, a call with a timeout is refused at once. So
    there are never more than ``max_workers + max_abandoned`` threads.

    Args:
        max_workers: The maximum number of working threads.
        max_queued: The maximum number of calls that wait for a thread.
        max_abandoned: The maximum number of abandoned calls that another thread replaces.

    Attributes:
        room: Announces that a call would be accepted again.
    """

    def __init__(self, *, max_workers: int, max_queued: int, max_abandoned: int) -> None:
        self.max_workers = max_workers
        self.max_queued = max_queued
        self.max_abandoned = max_abandoned
        self.room = Room(self._count_free)
        self.reset()
        _pools.add(self)
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, with no threads and an empty queue."""
        self.room.reset()
        self._lock = self.room.lock
        self._queue: FairQueue[Call] = FairQueue()
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._workers = 0
        #: Whether the last attempt to start a thread failed.
        self._is_out_of_threads = False
        #: Calls that wait for a worker or have one.
        self._pending = 0
        self._abandoned = 0
        #: Abandoned calls that another thread has replaced.
        self._replaced = 0
        #: Threads of the pool that wait for a call of the pool.
        self._blocked = 0

    @property
    def abandoned(self) -> int:
        """The number of running calls that nothing waits for."""
        return self._abandoned

    @property
    def pending(self) -> int:
        """The number of calls that wait for a worker or have one."""
        return self._pending

    @property
    def workers(self) -> int:
        """The number of threads, without those that abandoned calls occupy."""
        return self._workers

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self._workers + self._replaced

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return max(0, self._pending - self._workers)

    @property
    def is_busy(self) -> bool:
        """Whether a new call would have to wait for the end of another one."""
        return self._pending >= self.max_workers

    def is_own_thread(self) -> bool:
        """Whether this is one of the pool's threads, where waiting for another could deadlock."""
        return _thread.pool is self

    def submit(self, function: Callable[[], Any], timeout: float | None = None) -> Call:
        """Call a function in a worker.

        Args:
            function: What to call.
            timeout: Seconds from now to the call's deadline.

        Raises:
            NoCapacity: When the queue is full; for a call without a timeout, in a thread of the
                pool; for a call with one, when ``max_abandoned`` calls are abandoned. Also when
                the call needs another thread and the system cannot start one: `NoThread` if there
                is no worker at all.
        """
        call = Call(function, timeout)
        with self._lock:
            if timeout is not None and self._abandoned >= self.max_abandoned:
                raise NoCapacity(f"{self._abandoned} calls that timed out still run")
            if timeout is None and self.is_own_thread():
                raise NoCapacity("a worker cannot wait for another worker")
            waiting = self._pending - self._workers
            if waiting >= self.max_queued and self._workers >= self.max_workers:
                raise NoCapacity(f"{waiting} calls wait for a thread", room=self.room)
            self._pending += 1
            try:
                self._add_thread()
            except NoThread:
                self._pending -= 1
                if self._workers:
                    message = "all workers are busy, and no thread can be started"
                    raise NoCapacity(message, room=self.room) from None
                raise
            self._queue.put(call, current_request_id())
        return call

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Wrap a wait for a call of this pool, in any thread.

        Raises:
            NoCapacity: In a thread of the pool, if all its other threads wait too.
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
        """Run the rest of a call that started elsewhere in a worker, even if the queue is full.

        Call it in the call's own context: the call waits in the line of the current request.

        Raises:
            NoThread: When there is no worker, and none can be started.
        """
        with self._lock:
            self._pending += 1
            try:
                self._add_thread()
            except NoThread:
                if not self._workers:
                    self._pending -= 1
                    raise
            self._queue.put(call, current_request_id())

    def _add_thread(self) -> None:
        """Start a thread if calls wait for one and the pool has room for it."""
        if self._workers < self._pending and self._workers < self.max_workers:
            try:
                thread = start_daemon(self._work, self._queue, name="partstream-worker")
            except NoThread:
                self._is_out_of_threads = True
                logger.warning("A worker thread could not be started.", exc_info=True)
                raise
            self._is_out_of_threads = False
            self._workers += 1
            self._threads.add(thread)

    def _count_free(self) -> int:
        """The number of calls that would be accepted now; `EVERYBODY` if the pool is idle."""
        if not self._pending:
            return EVERYBODY
        if self._is_out_of_threads:
            return self._workers - self._pending
        return self.max_workers + self.max_queued - self._pending

    def close(self, timeout: float) -> bool:
        """End the threads after their current calls; new calls get new threads.

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
            # Threads that hang leave with the old queue, and no longer belong to the pool.
            self._queue, self._threads = FairQueue(), weakref.WeakSet()
            self._workers = self._pending = self._replaced = 0
        self.room.announce()
        for thread in threads:
            thread.join(max(0.0, ends - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _work(self, queue: FairQueue[Call]) -> None:
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
                            continue  # A call has just arrived.
                        self._workers -= 1
                break
            if call is None:
                break
            if call.begin(on_abandon):
                # The connections have aged while the thread was idle.
                held.check()
                call.run()
                held.give_back()
                if call.state is State.ABANDONED and self._is_replaced(queue):
                    break
            # Its data must not live as long as this thread waits.
            del call
            with self._lock:
                if queue is self._queue:
                    self._pending -= 1
            self.room.announce()
        held.close()

    def _note_abandoned(self, queue: FairQueue[Call], call: Call) -> None:
        stranded: list[Call] = []
        with self._lock:
            self._abandoned += 1
            if queue is self._queue and self._replaced < self.max_abandoned:
                self._replaced += 1
                self._workers -= 1
                self._pending -= 1
                try:
                    self._add_thread()
                except NoThread:
                    if not self._workers:
                        stranded = self._take_queue()
        for waiting in stranded:
            waiting.refuse(NoThread("the only worker hangs, and no other can be started"))
        self.room.announce()

    def _take_queue(self) -> list[Call]:
        """Take the waiting calls out of the queue, since no thread would run them."""
        taken: list[Call] = []
        while True:
            try:
                call = self._queue.get_nowait()
            except Empty:
                return taken
            if call is not None:
                self._pending -= 1
                taken.append(call)

    def _is_replaced(self, queue: FairQueue[Call]) -> bool:
        """Count the end of an abandoned call, and return whether its thread must end."""
        with self._lock:
            self._abandoned -= 1
            if queue is not self._queue:
                return False  # There may be no other thread for the calls in that queue.
            # Threads are all alike: the first one to end makes room.
            if self._replaced:
                self._replaced -= 1
                return True
            return False


class CallCounts(NamedTuple):
    """The calls in all pools of the process.

    Attributes:
        queued: Those that wait for a worker.
        running: Those that a worker runs, and that a request waits for.
        abandoned: Those that still run after their timeout.
    """

    queued: int
    running: int
    abandoned: int


def count_calls() -> CallCounts:
    """The calls in all pools of the process, now."""
    queued = running = abandoned = 0
    for pool in list(_pools):
        queued += max(0, pool.pending - pool.workers)
        running += min(pool.pending, pool.workers)
        abandoned += pool.abandoned
    return CallCounts(queued, running, abandoned)


def close_all(timeout: float) -> bool:
    """`WorkerPool.close` for every pool of the process, with one timeout for all."""
    ends = monotonic() + timeout
    closed = [pool.close(max(0.0, ends - monotonic())) for pool in list(_pools)]
    return all(closed)
