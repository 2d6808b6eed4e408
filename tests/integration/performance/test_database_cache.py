"""Publishing into a cache in the database, which happens after the end of a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import django
import pytest
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import connection

from partstream.middleware import PerformanceMiddleware
from partstream.performance.publication import publisher
from partstream.performance.recorder import Response, recorder
from partstream.performance.samples import RESPONSE

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["tests.example"]),
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="threads do not share the tests' SQLite"
    ),
]
TABLE = "performance_cache"


@pytest.fixture
def table(settings):
    backend = "django.core.cache.backends.db.DatabaseCache"
    settings.CACHES = {
        "default": {"BACKEND": backend, "LOCATION": TABLE, "OPTIONS": {"MAX_ENTRIES": 10_000}}
    }
    call_command("createcachetable", verbosity=0)
    recorder.reset()
    publisher.reset()
    yield
    recorder.reset()
    publisher.reset()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")


@pytest.fixture(params=["closed", "persistent", "pooled"])
def sessions(request, monkeypatch):
    """How the database's sessions are kept; the value is whether a thread keeps its own."""
    connection.close()
    age = None if request.param == "persistent" else 0
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    if request.param == "pooled":
        if django.VERSION < (5, 1):
            pytest.skip("only Django 5.1 and newer has a pool")
        pool = {"min_size": 1, "max_size": 2}
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", pool)
    yield request.param == "persistent"
    connection.close()
    if request.param == "pooled":
        connection.close_pool()


def end_request():
    """End a request that was measured, and return whether the thread still has a session."""
    PerformanceMiddleware(lambda request: None)
    recorder.record(Response("view/", 200, 0.5, [], [], [], None, {}, 0))
    request_finished.send(sender=None)
    try:
        return connection.connection is not None
    finally:
        connection.close()


def test_publisher__keeps_no_session_that_a_request_would_not_keep(sessions, table):
    for _ in range(3):
        publisher._due = 0.0
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(end_request).result() is sessions
    found = publisher.read(60)
    assert (found.workers, found.totals.select(RESPONSE).count) == (1, 3)
