from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection

from partstream.performance import queries
from partstream.performance.queries import Statements, count_queries, counted_in, current


def query(times=1):
    with connection.cursor() as cursor:
        for _ in range(times):
            cursor.execute("SELECT 1")


@pytest.mark.django_db
def test_counted_in__counts_durations():
    durations: list[float] = []
    with counted_in(durations):
        query(3)
    query()
    assert len(durations) == 3
    assert all(seconds > 0 for seconds in durations)


@pytest.mark.django_db
def test_counted_in__counts_so_many_at_most(monkeypatch):
    monkeypatch.setattr(queries, "MOST_QUERIES", 2)
    durations = Statements()
    with counted_in(durations):
        query(5)
    assert (len(durations), len(durations.statements)) == (2, 2)


@pytest.mark.django_db
def test_counted_in__inner_blocks_count_alone():
    outer, inner = [], Statements()
    with counted_in(outer):
        query()
        with counted_in(inner):
            query(2)
        query()
        with counted_in(None):
            query()
    assert (len(outer), len(inner)) == (3, 2)
    assert inner.statements == ["SELECT 1"] * 2
    assert current.get() is None


@pytest.mark.django_db
def test_counted_in__a_failed_query_counts():
    durations: list[float] = []
    failed = pytest.raises(DatabaseError, match="nonsense")
    with counted_in(durations), failed, connection.cursor() as cursor:
        cursor.execute("SELECT nonsense")
    assert len(durations) == 1


@pytest.mark.django_db(transaction=True)
def test_count_queries__a_block_of_the_project_ends_its_own_wrapper():
    """Also where the connection is opened within the block."""
    connection.close()
    seen = []

    def own(execute, *args):
        seen.append(args[0])
        return execute(*args)

    durations: list[float] = []
    before = [wrapper for wrapper in connection.execute_wrappers if wrapper is not own]
    with connection.execute_wrapper(own), counted_in(durations):
        query()
    assert own not in connection.execute_wrappers
    assert connection.execute_wrappers[: len(before)] == before
    assert seen == ["SELECT 1"]
    with counted_in(durations):
        query()
    assert len(durations) == 2


@pytest.mark.django_db
def test_counted_in__threads_with_a_copy_of_the_context_count_exactly():
    count_queries()
    durations: list[float] = []

    def work(_):
        try:
            query(20)
        finally:
            # Django's own close() leaves a database in memory open.
            connection.connection.close()
            connection.connection = None

    with counted_in(durations), ThreadPoolExecutor(16) as pool:
        contexts = [contextvars.copy_context() for _ in range(64)]
        list(pool.map(lambda context: context.run(work, None), contexts))
    assert len(durations) == 64 * 20
