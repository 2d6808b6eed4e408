"""Pooled connections of a thread that waits, and what is set anew on those that follow."""

from __future__ import annotations

import django
import pytest
from django.core.signals import request_finished, request_started
from django.db import connection, transaction
from django.db.utils import InterfaceError, OperationalError

from partstream.isolation.connections import forget_renewal, give_back_pooled
from tests.example.models import Note

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql" or django.VERSION < (5, 1),
        reason="only Django 5.1 and newer has a pool, for PostgreSQL",
    ),
    pytest.mark.django_db(transaction=True, available_apps=["tests.example"]),
]


@pytest.fixture(autouse=True)
def pooled(monkeypatch):
    """The tests' database has a pool of two sessions."""
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", {"min_size": 1, "max_size": 2})
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    yield
    forget_renewal()
    connection.close()
    connection.close_pool()


def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def variable():
    return run("SELECT current_setting('app.tenant', true)") or None


def set_variable():
    run("SELECT set_config('app.tenant', 'red', false)")


def test_give_back_pooled__gives_back_what_is_idle():
    run("SELECT 1")
    give_back_pooled()
    assert connection.connection is None
    # And again, with nothing to give.
    give_back_pooled()
    assert run("SELECT 1") == 1


@pytest.mark.parametrize("state", ["atomic", "savepoint", "manual"])
def test_give_back_pooled__keeps_what_has_a_transaction(state):
    if state == "manual":
        connection.set_autocommit(False)
        session = connection.connection
        give_back_pooled()
        assert connection.connection is session
        connection.rollback()
        connection.set_autocommit(True)
        return
    with transaction.atomic():
        run("SELECT 1")
        session = connection.connection
        if state == "atomic":
            give_back_pooled()
        else:
            with transaction.atomic():
                give_back_pooled()
        assert connection.connection is session


def test_give_back_pooled__of_a_session_that_died_does_no_harm():
    with pytest.raises((OperationalError, InterfaceError)):
        run("SELECT pg_terminate_backend(pg_backend_pid())")
    give_back_pooled()
    assert run("SELECT 1") == 1


def test_give_back_pooled__keeps_what_rows_are_read_from():
    Note.objects.bulk_create([Note(text=f"note {number}") for number in range(5)])
    seen = []
    for note in Note.objects.order_by("pk").iterator(chunk_size=1):
        session = connection.connection
        give_back_pooled()
        assert connection.connection is session
        seen.append(note.text)
    assert seen == [f"note {number}" for number in range(5)]
    # Read to its end it is like any other.
    give_back_pooled()
    assert connection.connection is None


def test_renewal__comes_with_each_new_connection_and_before_all_else():
    calls = []

    def renew():
        calls.append(connection.connection)
        set_variable()

    for number in (1, 2):
        run("SELECT 1")
        give_back_pooled(renew)
        assert len(calls) == number - 1
        assert variable() == "red"
        assert variable() == "red"
        assert calls[number - 1] is connection.connection
    assert len(calls) == 2


def test_renewal__that_fails_lets_nobody_have_the_connection():
    calls = []

    def renew():
        calls.append(1)
        if len(calls) < 3:
            raise LookupError("no tenant")
        set_variable()

    run("SELECT 1")
    give_back_pooled(renew)
    for _ in range(2):
        with pytest.raises(LookupError):
            variable()
        assert connection.connection is None
    assert variable() == "red"


@pytest.mark.parametrize("signal", [request_started, request_finished])
def test_renewal__is_forgotten_with_its_request(signal):
    run("SELECT 1")
    give_back_pooled(lambda: pytest.fail("that request has ended"))
    receivers, signal.receivers = (
        signal.receivers,
        [receiver for receiver in signal.receivers if receiver[1]() is forget_renewal],
    )
    signal.sender_receivers_cache.clear()
    try:
        assert len(signal.receivers) == 1
        signal.send(None)
    finally:
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()
    assert run("SELECT 1") == 1
