"""Counts database queries, in every thread that works for a request, and without ``DEBUG``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import local
from time import perf_counter
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class Statements(list[float]):
    """Durations of queries, with their statements, which have placeholders for parameters.

    Only those that are text: an object of ``psycopg.sql`` may contain values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[str] = []


#: Queries that are counted at most. A task that a view has started keeps the view's context, and
#: with it the list: it must not grow as long as the task lives.
MOST_QUERIES: Final = 100_000

#: Seconds of each query that the current thread or task makes; None: they are not counted. Threads
#: that work for it have a copy of the context. Appending to a list is atomic, so that a count is
#: exact with any number of threads.
current: ContextVar[list[float] | None] = ContextVar("partstream_queries", default=None)


@contextmanager
def counted_in(durations: list[float] | None) -> Iterator[None]:
    """Count the queries of this block in this list alone; None: as before."""
    if durations is None:
        yield
        return
    count_queries()
    before = current.get()
    current.set(durations)
    try:
        yield
    finally:
        current.set(before)


def _count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    durations = current.get()
    if durations is None:
        return execute(sql, params, many, context)
    started = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        if len(durations) < MOST_QUERIES:
            durations.append(perf_counter() - started)
            if isinstance(durations, Statements) and isinstance(sql, str):
                durations.statements.append(sql)


class _Thread(local):
    """Whether the current thread's open connections are known to be counted."""

    is_counted = False


_thread = _Thread()


def count_queries() -> None:
    """Count the queries of this thread's connections, now and later.

    A connection keeps the wrapper for good, since adding it to each request's connections takes
    longer than all other measurements. It does nothing outside a request that is
    measured.
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
