"""Threads and tests: run parts in the test's own thread, or end the threads that ran them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar, TypeVar

from partstream.backends.executors import loop, pool
from partstream.backends.executors.calls import Call
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.loader import substituted
from partstream.parentheses import in_parentheses

T = TypeVar("T")


class _CallerExecutor(InlineExecutor):
    """Runs everything in the caller's thread, and ignores timeouts."""

    watches_time: ClassVar[bool] = False

    def submit(self, function: Callable[[], T], *, timeout: float | None = None) -> T | Call:
        """See `Executor.submit`."""
        return function()

    def submit_to_worker(
        self, function: Callable[[], Any], *, timeout: float | None = None
    ) -> Call:
        """See `Executor.submit_to_worker`; the call has ended when this returns."""
        call = Call(function)
        call.begin(_ignore)
        call.run()
        return call


def _ignore(call: Call) -> None:
    """What is done when a call is abandoned that cannot be."""


@in_parentheses("@inline(), or with inline():")
@contextmanager
def inline() -> Iterator[None]:
    """Run every loader in the caller's thread, whatever views, parts and settings say.

    Other threads cannot see a test's transaction, so a view that uses the ``ThreadExecutor``, or a
    loader with a timeout, would not find the rows of a ``TestCase``. Within this block, or in a
    function decorated with it, all parts run in the test's own thread. Timeouts and time budgets
    have no effect.

    Example::

        @partstream.testing.inline()
        def test_dashboard(self):
            assert collect(self.client, "/api/dashboard/")["orders"] == []
    """
    with substituted(_CallerExecutor()):
        yield


def close_connections(timeout: float = 10) -> None:
    """Close the database connections of all threads that ran parts. Call it when a test ends.

    With ``CONN_MAX_AGE`` set, a thread keeps its connection for a second after its last part, and
    PostgreSQL refuses to drop a database that still has connections. This function waits for the
    parts that still run, and ends the threads; the next part starts new ones.

    Args:
        timeout: Seconds to wait for parts that still run.

    Raises:
        AssertionError: When a part does not end in time.

    Example::

        class DashboardTests(TransactionTestCase):
            def setUp(self):
                self.addCleanup(partstream.testing.close_connections)
    """
    ends = monotonic() + timeout
    are_idle = loop.wait_until_all_idle(timeout)
    if not pool.close_all(max(0.0, ends - monotonic())) or not are_idle:
        raise AssertionError(
            f"A part still runs {timeout:g} s after its test, and holds its thread's database "
            "connections. Make its loader end, or give it a timeout."
        )
