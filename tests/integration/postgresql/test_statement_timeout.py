"""The database's own timeout: what it ends, what it leaves, and that it is taken back."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from time import monotonic

import pytest
from django.db import (
    DatabaseError,
    DataError,
    Error,
    OperationalError,
    connection,
    connections,
    transaction,
)

from partstream.isolation.statement_timeout import is_statement_timeout, statement_timeout
from tests.example.models import Note

# In autocommit; of one application only, so that emptying its table after each test is quick.
pytestmark = pytest.mark.django_db(transaction=True, available_apps=["tests.example"])

postgresql = connection.vendor == "postgresql"
on_postgresql = pytest.mark.skipif(not postgresql, reason="only PostgreSQL has such a timeout")

SLEEP = "SELECT pg_sleep(10)"
FAIL = "SELECT 1 / 0"


def run(sql="SELECT 1"):
    """A statement as a loader's."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def past_django(sql, of=connection):
    """A statement that no execute wrapper sees."""
    of.ensure_connection()
    with of.connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def shown():
    """The session's timeout as it is now."""
    return past_django("SHOW statement_timeout")


@contextmanager
def ended():
    """What is inside is ended by the timeout, long before it would end."""
    started = monotonic()
    with pytest.raises(OperationalError) as caught:
        yield
    assert is_statement_timeout(caught.value)
    assert monotonic() - started < 5


@pytest.fixture
def in_autocommit():
    """A session in autocommit whose own timeout is an hour."""
    past_django("SET statement_timeout = '1h'")
    yield
    connection.close()


@pytest.fixture
def in_transaction():
    """A transaction whose own timeout is an hour."""
    with transaction.atomic():
        past_django("SET LOCAL statement_timeout = '1h'")
        yield
        transaction.set_rollback(True)


@pytest.fixture(params=["in_transaction", "in_autocommit"])
def own_hour(request):
    """Both in turn."""
    request.getfixturevalue(request.param)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("partstream.isolation.statement_timeout.monotonic", clock)
    return clock


@pytest.fixture
def another():
    """A second session of the same database."""
    another = connection.copy()
    yield another
    another.close()


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def rolled_back():
    """A transaction, or a savepoint in one, that an error ends."""
    with suppress(Undo), transaction.atomic():
        yield
        raise Undo


def atomic(block):
    return transaction.atomic() if block else nullcontext()


def terminate():
    """The statement that is the session's last."""
    run()
    run("SELECT pg_terminate_backend(pg_backend_pid())")


def terminate_unnoticed(another):
    (pid,) = run("SELECT pg_backend_pid()")
    past_django(f"SELECT pg_terminate_backend({pid}, 5000)", of=another)


# What it ends


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__ends_a_statement():
    with ended(), statement_timeout(0.2), transaction.atomic():
        run(SLEEP)
    assert run() == (1,)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_statement_timeout__ends_a_statement_in_autocommit():
    with ended(), statement_timeout(0.2):
        run(SLEEP)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_statement_timeout__ends_a_statement_of_the_orm_and_of_a_server_side_cursor():
    Note.objects.create(text="a")
    slow = Note.objects.extra(where=["pg_sleep(10) IS NULL"])
    for load in (slow.exists, lambda: list(slow.iterator())):
        with ended(), statement_timeout(0.2), transaction.atomic():
            load()


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_statement_timeout__covers_a_session_that_is_opened_inside():
    connection.close()
    with statement_timeout(0.2):
        assert connection.connection is None  # It opens none by itself.
        with ended():
            run(SLEEP)
    assert shown() == "0"


@on_postgresql
def test_statement_timeout__covers_a_thread_that_had_no_session():
    def work():
        try:
            with ended(), statement_timeout(0.2, grace=0.25):
                run(SLEEP)
            return shown()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == "0"


@on_postgresql
def test_statement_timeout__is_for_its_thread_only():
    inside, looked = threading.Event(), threading.Event()

    def other():
        try:
            inside.wait(5)
            run()
            return shown()
        finally:
            looked.set()
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(other)
        with statement_timeout(60):
            run()
            inside.set()
            looked.wait(5)
        assert future.result() == "0"


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__refuses_a_statement_when_no_time_is_left(clock):
    with statement_timeout(1, grace=5):
        with transaction.atomic():
            Note.objects.create(text="in time")
        clock.now += 1
        with pytest.raises(TimeoutError), transaction.atomic():
            Note.objects.create(text="late")
    assert [note.text for note in Note.objects.all()] == ["in time"]
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_transaction")
def test_statement_timeout__never_refuses_the_end_of_a_savepoint(clock):
    with statement_timeout(1):
        with rolled_back():
            Note.objects.create(text="taken back")
            clock.now += 1
        clock.now -= 1
        with transaction.atomic():
            Note.objects.create(text="kept")
            clock.now += 1
    assert [note.text for note in Note.objects.all()] == ["kept"]


# What is set


@on_postgresql
@pytest.mark.usefixtures("own_hour")
@pytest.mark.parametrize(
    ("own", "inside"), [("0", "1min"), ("1d", "1min"), ("1min", "1min"), ("59s", "59s")]
)
def test_statement_timeout__keeps_what_is_stricter(own, inside, clock):
    past_django(f"SET statement_timeout = '{own}'")
    with statement_timeout(60):
        assert shown() == own  # Lazy.
        run()
        assert shown() == inside
    assert shown() == own


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__puts_nothing_back_where_nothing_was_changed():
    with statement_timeout(7200):
        run()
        past_django("SET statement_timeout = '2h'")
    assert shown() == "2h"


@on_postgresql
@pytest.mark.usefixtures("in_transaction")
@pytest.mark.parametrize(
    ("seconds", "grace", "expected"),
    [(1, 0.25, "1250ms"), (1.0001, 0, "1001ms"), (float("inf"), 0, "1h"), (0.001, 0, "10ms")],
)
def test_statement_timeout__in_milliseconds(seconds, grace, expected, clock):
    with statement_timeout(seconds, grace=grace):
        run()
        assert shown() == expected


@on_postgresql
@pytest.mark.usefixtures("in_transaction")
def test_statement_timeout__is_not_beyond_what_postgresql_takes():
    past_django("SET LOCAL statement_timeout = 0")
    with statement_timeout(float("inf")):
        run()
        assert shown() == "2147483647ms"


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__is_set_anew_where_half_of_it_is_gone(clock):
    with statement_timeout(60):
        run()
        past_django("SET statement_timeout = '61s'")  # Somebody would have to ask to see it.
        clock.now += 30
        run()
        assert shown() == "61s"
        clock.now += 1
        run()
        assert shown() == "29s"
        past_django("SET statement_timeout = '28s'")
        clock.now += 14
        run()
        assert shown() == "28s"
        clock.now += 1
        run()
        assert shown() == "14s"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__in_another(clock):
    with statement_timeout(60):
        with statement_timeout(30):
            run()
            assert shown() == "30s"
        assert shown() == "1min"
        with statement_timeout(90):
            run()
            assert shown() == "1min"
        assert shown() == "1min"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_statement_timeout__is_seen_by_nobody(django_assert_num_queries, clock):
    seen, before = [], list(connection.execute_wrappers)

    def spy(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    before = list(connection.execute_wrappers)
    with django_assert_num_queries(1), connection.execute_wrapper(spy):
        with statement_timeout(60), connection.execute_wrapper(spy):
            run()
            assert shown() == "1min"
        assert connection.execute_wrappers == [*before, spy]
    assert seen == ["SELECT 1", "SELECT 1"]


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_statement_timeout__lets_the_transaction_choose_its_isolation():
    with statement_timeout(60), transaction.atomic():
        run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")  # Refused after a query.
        assert run("SHOW transaction_isolation") == ("serializable",)
        assert shown() != "1h"


# Transactions inside the block


@on_postgresql
@pytest.mark.usefixtures("in_transaction")
def test_transaction__statements_after_a_savepoint_that_was_rolled_back_are_covered():
    with statement_timeout(0.2):
        with pytest.raises(DataError), transaction.atomic():
            run(FAIL)
        assert shown() == "1h"  # The rollback took it back: so it has to be set anew.
        with ended(), transaction.atomic():
            run(SLEEP)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_transaction")
def test_transaction__a_savepoint_after_the_first_statement(clock):
    with statement_timeout(60):
        run()
        with rolled_back():
            clock.now += 40
            run()
            assert shown() == "20s"
        assert shown() == "1min"
        run()
        assert shown() == "20s"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
@pytest.mark.parametrize("committed", [True, False])
def test_transaction__statements_after_one_are_covered(committed, clock):
    with statement_timeout(60):
        for _ in range(2):
            with transaction.atomic():
                run()
                assert shown() == "1min"
                transaction.set_rollback(not committed)
            assert shown() == "1h"
        run()
        assert shown() == "1min"
        with transaction.atomic():
            clock.now += 40
            run()
            assert shown() == "20s"
            transaction.set_rollback(not committed)
        assert shown() == "1min"
        run()
        assert shown() == "20s"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_transaction__that_begins_with_a_savepoint(clock):
    transaction.set_autocommit(False)
    try:
        with statement_timeout(60):
            for _ in range(2):
                with transaction.atomic():
                    run()
                    assert shown() == "1min"
                transaction.commit()
        # None was begun only to put something back that was back already.
        assert connection.connection.info.transaction_status == 0
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_transaction__gets_its_own_timeout_back_not_that_of_the_one_before(clock):
    transaction.set_autocommit(False)
    try:
        with statement_timeout(60):
            run()
            transaction.commit()
            run("SET LOCAL statement_timeout = '2h'")
            run()
            assert shown() == "1min"
        assert shown() == "2h"
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_transaction__what_it_set_for_itself_is_not_put_on_the_session(clock):
    with statement_timeout(60):
        with transaction.atomic():
            run("SET LOCAL statement_timeout = '2h'")
            run()
            assert shown() == "1min"
        run()
    assert shown() == "1h"


# Transactions around the block


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
@pytest.mark.parametrize("savepoint", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_restore__in_a_transaction_that_is_committed(savepoint, fails, clock):
    with transaction.atomic():
        Note.objects.create(text="kept")
        with pytest.raises(DataError) if fails else nullcontext(), transaction.atomic():
            with statement_timeout(60), atomic(savepoint):
                run()
                assert shown() == "1min"
                run(FAIL if fails else "SELECT 1")
            assert shown() == "1h"
        assert shown() == "1h"
    assert shown() == "1h"
    assert Note.objects.count() == 1


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_restore__what_a_transaction_set_for_itself_ends_with_it():
    with transaction.atomic():
        run("SET LOCAL statement_timeout = '2h'")
        with statement_timeout(60):
            run()
        assert shown() == "2h"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
@pytest.mark.parametrize("inner", [True, False])
def test_restore__in_a_savepoint_or_transaction_that_is_rolled_back(inner, clock):
    with transaction.atomic():
        with transaction.atomic() if inner else nullcontext():
            with statement_timeout(60):
                run()
            assert shown() == "1h"
            transaction.set_rollback(True)
        assert shown() == "1h"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
@pytest.mark.parametrize("caught", [True, False])
def test_restore__in_an_aborted_transaction(caught):
    with transaction.atomic():
        with pytest.raises(DataError) if not caught else nullcontext(), statement_timeout(60):
            run()
            with pytest.raises(DataError) if caught else nullcontext():
                run(FAIL)
            with pytest.raises(DatabaseError, match="transaction is aborted"):
                run()
        transaction.set_rollback(True)
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_restore__where_the_transaction_waits_for_its_rollback():
    with transaction.atomic():
        with statement_timeout(60):
            run()
            with pytest.raises(LookupError), transaction.atomic(savepoint=False):
                raise LookupError
            assert connection.needs_rollback
        assert shown() == "1h"
    assert shown() == "1h"


@on_postgresql
@pytest.mark.usefixtures("own_hour")
def test_restore__when_the_block_raised():
    before = list(connection.execute_wrappers)
    with suppress(Undo), statement_timeout(60):
        run()
        raise Undo
    assert shown() == "1h"
    assert connection.execute_wrappers == before


# Sessions that end


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_session__closed_inside(clock):
    with statement_timeout(60):
        run()
        connection.close()
    assert connection.connection is None
    with statement_timeout(60):
        run()
        connection.close()
        run()
        assert shown() == "1min"
    assert shown() == "0"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_session__closed_inside_a_transaction():
    with transaction.atomic():
        with statement_timeout(60):
            run()
            connection.close()
        with pytest.raises(Error, match="closed"):
            run()
    assert shown() == "0"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
@pytest.mark.parametrize("block", [True, False])
def test_session__broken_by_a_statement(block):
    with pytest.raises(OperationalError), statement_timeout(60), atomic(block):
        terminate()
    connection.close()
    assert shown() == "0"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_session__broken_unnoticed(another, caplog):
    """What the block made is good; the session is not to be kept."""
    with statement_timeout(60):
        terminate_unnoticed(another)
    ((name, level, message),) = caplog.record_tuples
    assert (name, level) == ("partstream.connections", logging.WARNING)
    assert "'default' was not restored" in message
    assert connection.connection is None
    assert run() == (1,)


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_session__broken_unnoticed_in_a_transaction(another):
    """The transaction is lost: nobody may believe that it was committed."""
    with pytest.raises(OperationalError), transaction.atomic(), statement_timeout(60):
        terminate_unnoticed(another)
    assert run() == (1,)


# Sessions that others get


@pytest.fixture
def pooled():
    """The database's sessions are those of Django's pool: it has one."""
    if not hasattr(connection, "pool") or find_spec("psycopg_pool") is None:
        pytest.skip("no pool: it is PostgreSQL's, since Django 5.1, with psycopg_pool")
    unpooled = connections["default"]
    unpooled.close()
    options = {**unpooled.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 1}}
    settings = {**unpooled.settings_dict, "CONN_MAX_AGE": 0, "OPTIONS": options}
    connections["default"] = type(unpooled)(settings, "default")
    yield
    connection.close()
    connection.close_pool()
    connections["default"] = unpooled


@pytest.mark.usefixtures("pooled")
def test_pool__gets_its_session_back_as_it_was():
    """Once it has it, any thread may be using it."""
    with statement_timeout(60):
        run()
        connection.close()
        assert shown() == "0"
        connection.close()
        with transaction.atomic():
            run()
            assert shown() != "0"
            connection.close()
    assert shown() == "0"


@pytest.mark.usefixtures("pooled")
def test_pool__its_session_is_not_touched_while_another_has_it(another):
    with transaction.atomic():
        with statement_timeout(60):
            run()
            connection.close()
            another.set_autocommit(False)
            past_django("SET LOCAL statement_timeout = '2h'", of=another)
        assert past_django("SHOW statement_timeout", of=another) == "2h"


@pytest.mark.usefixtures("pooled")
def test_pool__statements_are_covered():
    for _ in range(2):
        with ended(), statement_timeout(0.2):
            run()
            run(SLEEP)
        assert shown() == "0"


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_pooler__sessions_are_left_alone_outside_a_transaction(monkeypatch, clock):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    with statement_timeout(60):
        run()
        assert shown() == "1h"
        with transaction.atomic():
            run()
            assert shown() == "1min"
        run("BEGIN")
        run()
        assert shown() == "1min"
        run("COMMIT")
        assert shown() == "1h"


# Which errors say so


@on_postgresql
@pytest.mark.usefixtures("in_autocommit")
def test_is_statement_timeout__is_not_another_error_of_the_database(another):
    with pytest.raises(DataError) as caught:
        run(FAIL)
    assert not is_statement_timeout(caught.value)
    past_django("SET lock_timeout = 1")
    with transaction.atomic():
        another.ensure_connection()
        past_django("BEGIN", of=another)
        past_django("LOCK TABLE example_note", of=another)
        with pytest.raises(OperationalError) as caught, transaction.atomic():
            Note.objects.exists()
    assert not is_statement_timeout(caught.value)
