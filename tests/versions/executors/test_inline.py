from __future__ import annotations

from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.loader import get_executor
from tests.support.contracts.executor import ExecutorContract, color


class TestInlineExecutor(ExecutorContract):
    concurrent = False

    def make(self, **options):
        return InlineExecutor(**options)

    def test_submit__without_a_timeout_makes_no_thread(self, executor):
        assert executor.submit(lambda: 7) == 7
        assert executor.pool.threads == 0

    def test_submit__without_a_timeout_runs_in_the_callers_context(self, executor):
        token = color.set("red")
        try:
            executor.submit(lambda: color.set("blue"))
            assert color.get() == "blue"
        finally:
            color.reset(token)


def test_inline__is_the_default():
    assert type(get_executor()) is InlineExecutor
