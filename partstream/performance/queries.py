"""Counts database queries, in every thread that works for a request, and without ``DEBUG``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import local
from time import perf_counter
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class QueryCounter:
    """The queries of one request, or of one part. Exact with any number of threads.

    Args:
        keeps_statements: Whether the statements are kept, and not only their durations.
    """

    __slots__ = ("durations", "statements")

    def __init__(self, *, keeps_statements: bool = False) -> None:
        #: Seconds of each query. Appending is atomic, adding to a number is not.
        self.durations: list[float] = []
        self.statements: list[str] | None = [] if keeps_statements else None

    @property
    def count(self) -> int:
        """The number of queries."""
        return len(self.durations)

    @property
    def seconds(self) -> float:
        """The sum of their durations."""
        return sum(self.durations)


#: The counter of the current thread or task. Threads that work for it have a copy of the context.
current: ContextVar[QueryCounter | None] = ContextVar("partstream_queries", default=None)


@contextmanager
def counted_by(counter: QueryCounter | None) -> Iterator[None]:
    """Count the queries of this block with this counter alone; None: as before."""
    if counter is None:
        yield
        return
    count_queries()
    before = current.get()
    current.set(counter)
    try:
        yield
    finally:
        current.set(before)


def _count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    counter = current.get()
    if counter is None:
        return execute(sql, params, many, context)
    started = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        counter.durations.append(perf_counter() - started)
        if counter.statements is not None:
            counter.statements.append(sql)


class _Thread(local):
    """Whether the current thread's open connections are known to be counted."""

    is_counted = False


_thread = _Thread()


def count_queries() -> None:
    """Count the queries of this thread's connections, now and later.

    A connection keeps the wrapper for good, since adding it to each request's connections takes
    longer than all other measurements. Without a counter it does nothing.
    """
    if _thread.is_counted:
        return
    connection_created.connect(_wrap, dispatch_uid="partstream.queries")
    for connection in connections.all(initialized_only=True):
        _wrap(connection)
    _thread.is_counted = True


def _wrap(connection: BaseDatabaseWrapper, **_: Any) -> None:
    # First, since a project's `execute_wrapper` block removes the last one at its end.
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _count)
