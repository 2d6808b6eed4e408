"""Calls, and what their end leads to."""

from __future__ import annotations

import threading

from partstream.backends.executors.pool import WorkerPool
from tests.support.concurrency import PATIENCE, wait_until


def test_on_done__a_callback_that_raises_costs_the_pool_no_thread(caplog):
    pool = WorkerPool(max_workers=1, max_queued=4, max_abandoned=1)
    begins, told = threading.Event(), threading.Event()

    def fail(call):
        raise MemoryError("no room for the proof")

    first = pool.submit(lambda: begins.wait(PATIENCE))
    first.on_done(fail)
    first.on_done(lambda _: told.set())
    begins.set()
    assert told.wait(PATIENCE)
    second = pool.submit(lambda: "second")
    wait_until(lambda: second.result == "second" and not pool.pending)
    assert "The end of a call could not be handled." in caplog.text
    assert pool.close(PATIENCE)
