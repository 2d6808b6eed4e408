"""The worker threads of a process: bounded, made after fork, never in the way of its exit."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from django.db import close_old_connections, connections

from partstream.exceptions import NoCapacity
from partstream.logs import get_logger

from .calls import Call, State

logger = get_logger(__name__)

#: Seconds after which an idle worker ends, and gives back its database connections.
IDLE_SECONDS = 30

_thread = threading.local()
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _forget_threads() -> None:
    for pool in _pools:
        pool.reset()


# Threads do not survive a fork: a child begins with none.
os.register_at_fork(after_in_child=_forget_threads)


class WorkerPool:
    """A bounded pool of daemon threads behind a bounded queue.

    Threads are started as they are needed and end when they were idle for `IDLE_SECONDS`. Around
    each call `close_old_connections` gives back database connections, as Django does around a
    request.

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

    def reset(self) -> None:
        """Begin anew, with no threads and an empty queue."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Call] = SimpleQueue()
        self._workers = 0
        self._idle = 0
        self._waiting = 0
        self._abandoned = 0
        #: Of the abandoned calls, those whose place another thread took.
        self._replaced = 0

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
        return getattr(_thread, "pool", None) is self

    def submit(self, function: Callable[[], Any], timeout: float | None = None) -> Call:
        """Have a function called by a worker.

        Args:
            function: What to call.
            timeout: Seconds from now to the call's deadline.

        Raises:
            NoCapacity: When the queue is full; without a timeout in a thread of the pool; with one,
                when so many calls are abandoned that no more may join them.
        """
        call = Call(function, timeout)
        with self._lock:
            if timeout is not None and self._abandoned >= self.max_abandoned:
                raise NoCapacity(f"{self._abandoned} calls that timed out still run")
            if timeout is None and self.is_own_thread():
                raise NoCapacity("a worker does not wait for another")
            if self._waiting - self._idle >= self.max_queued and self._workers >= self.max_workers:
                raise NoCapacity(f"{self._waiting} calls wait for a thread")
            self._enqueue(call)
        return call

    def resume(self, call: Call) -> None:
        """Have a worker run the rest of a call that started elsewhere; it is never refused."""
        with self._lock:
            self._enqueue(call)

    def _enqueue(self, call: Call) -> None:
        self._waiting += 1
        self._queue.put(call)
        self._staff()

    def _staff(self) -> None:
        """Start a thread if calls wait for one, and there may be more."""
        if self._waiting > self._idle and self._workers < self.max_workers:
            self._workers += 1
            try:
                threading.Thread(
                    target=self._work, args=(self._queue,), name="partstream-worker", daemon=True
                ).start()
            except RuntimeError:
                # The system has no thread to give; those that are there will come to the call.
                self._workers -= 1
                logger.warning("A worker thread could not be started.", exc_info=True)

    def _work(self, queue: SimpleQueue[Call]) -> None:
        _thread.pool = self
        while True:
            with self._lock:
                if queue is not self._queue:
                    return
                self._idle += 1
            try:
                call = queue.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    self._idle -= 1
                    if self._waiting > self._idle:
                        continue  # Something came just now.
                    self._workers -= 1
                break
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            if call.begin(self._note_abandoned):
                _give_back_connections()
                call.run()
                _give_back_connections()
                if call.state is State.ABANDONED and self._is_replaced():
                    break
            # What it held must not live as long as this thread waits.
            del call
        try:
            connections.close_all()
        except Exception:
            logger.exception("A worker could not close its database connections.")

    def _note_abandoned(self, call: Call) -> None:
        with self._lock:
            self._abandoned += 1
            if self._replaced < self.max_abandoned:
                self._replaced += 1
                self._workers -= 1
                self._staff()

    def _is_replaced(self) -> bool:
        """The end of an abandoned call: whether its thread has to go."""
        with self._lock:
            self._abandoned -= 1
            # Threads are alike: whichever ends first makes room.
            if self._replaced:
                self._replaced -= 1
                return True
            return False


def _give_back_connections() -> None:
    try:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                logger.error("A loader left an atomic block open; its connection is closed.")
                session = connection.connection
                # The wrapper goes too: it would go on believing in its transaction.
                del connections[connection.alias]
                if session is not None:
                    session.close()
        close_old_connections()
    except Exception:
        # One that cannot even be closed must not take the thread, or the next call, along.
        logger.exception("A worker could not give back its database connections.")
