"""The worker threads of a process: bounded, made after fork, never in the way of its exit."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from partstream.exceptions import NoCapacity
from partstream.logs import get_logger

from .calls import Call, State

logger = get_logger(__name__)

#: Seconds after which an idle worker ends, and gives back its database connections.
IDLE_SECONDS = 30


class _Thread(threading.local):
    """What is known of the thread that asks: whose worker it is, and whether it ever connected."""

    pool: WorkerPool | None = None
    has_connected = False


_thread = _Thread()
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _forget_threads() -> None:
    for pool in _pools:
        pool.reset()


# Threads do not survive a fork: a child begins with none.
os.register_at_fork(after_in_child=_forget_threads)


class WorkerPool:
    """A bounded pool of daemon threads behind a bounded queue.

    Threads are started as they are needed and end when they were idle for `IDLE_SECONDS`. Around
    each call database connections are given back, as ``close_old_connections`` does around a
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
        #: Calls that wait for a worker, or have one.
        self._pending = 0
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
        return _thread.pool is self

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
            waiting = self._pending - self._workers
            if waiting >= self.max_queued and self._workers >= self.max_workers:
                raise NoCapacity(f"{waiting} calls wait for a thread")
            self._enqueue(call)
        return call

    def resume(self, call: Call) -> None:
        """Have a worker run the rest of a call that started elsewhere; it is never refused."""
        with self._lock:
            self._enqueue(call)

    def _enqueue(self, call: Call) -> None:
        self._pending += 1
        self._queue.put(call)
        if self._pending > self._workers:
            self._staff()

    def _staff(self) -> None:
        """Start a thread if calls wait for one, and there may be more."""
        if self._workers < min(self._pending, self.max_workers):
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
        held: Sequence[BaseDatabaseWrapper] = ()
        while True:
            try:
                call = queue.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if queue is self._queue:
                        if self._pending >= self._workers:
                            continue  # Something came just now.
                        self._workers -= 1
                break
            if call.begin(self._note_abandoned):
                if held:
                    # They have aged while nothing was to do.
                    _give_back(held)
                call.run()
                if _thread.has_connected:
                    held = _give_back(connections.all(initialized_only=True))
                if call.state is State.ABANDONED and self._is_replaced():
                    break
            # What it held must not live as long as this thread waits.
            del call
            with self._lock:
                if queue is not self._queue:
                    return
                self._pending -= 1
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
                self._pending -= 1
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


def _note_connection(**_: Any) -> None:
    # To ask Django whether a thread has any takes longer than all else that is done around a call.
    _thread.has_connected = True


connection_created.connect(_note_connection)


def _give_back(held: Sequence[BaseDatabaseWrapper]) -> list[BaseDatabaseWrapper]:
    """Close those of this thread's connections that serve nobody any more; returns the others."""
    kept = []
    for connection in held:
        try:
            if connection.in_atomic_block:
                logger.error("A loader left an atomic block open; its connection is closed.")
                session = connection.connection
                # The wrapper goes too: it would go on believing in its transaction.
                del connections[connection.alias]
                if session is not None:
                    session.close()
            else:
                kept.append(connection)
                connection.close_if_unusable_or_obsolete()
        except Exception:
            # One that cannot even be closed must not take the thread, or the next call, along.
            logger.exception("A worker could not give back its database connections.")
    return kept
