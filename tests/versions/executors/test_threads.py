from __future__ import annotations

from threading import Barrier, get_ident

from partstream.backends.executors.threads import ThreadExecutor
from tests.support.concurrency import PATIENCE, result_of
from tests.support.contracts.executor import ExecutorContract


class TestThreadExecutor(ExecutorContract):
    concurrent = True

    def make(self, **options):
        return ThreadExecutor(**options)

    def test_submit__runs_side_by_side(self, executor):
        barrier = Barrier(5)

        def meet():
            barrier.wait(PATIENCE)
            return get_ident()

        calls = [executor.submit(meet) for _ in range(5)]
        assert len({result_of(call) for call in calls} | {get_ident()}) == 6
