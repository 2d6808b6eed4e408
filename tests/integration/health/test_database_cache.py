"""The health check of a project whose cache is in its database."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from partstream.health import run_probes
from tests.support.concurrency import PATIENCE, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["tests.example"]),
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="threads do not share the tests' SQLite"
    ),
]
TABLE = "health_cache"


@pytest.fixture
def table(settings):
    backend = "django.core.cache.backends.db.DatabaseCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": TABLE}}
    call_command("createcachetable", verbosity=0)
    yield
    run(f"DROP TABLE IF EXISTS {TABLE}")


def run(sql):
    """The first value of a statement's result."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def sessions():
    """How many sessions the database has; one of them is this test's."""
    return run(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    )


def found():
    return {result.name: (result.ok, result.message) for result in run_probes(PATIENCE)}


def test_probes__work_and_leave_neither_rows_nor_sessions(table):
    before = sessions()
    assert found()["cache_store"] == (True, "DjangoCacheStore")
    wait_until(lambda: sessions() == before)
    assert run(f"SELECT count(*) FROM {TABLE}") == 0


def test_probes__find_that_the_table_is_gone(table):
    run(f"DROP TABLE {TABLE}")
    ok, message = found()["cache_store"]
    assert not ok
    assert message == "DjangoCacheStore: psycopg.UndefinedTable"
