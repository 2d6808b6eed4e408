"""The database's own timeout, where there is none, and which errors report it."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

from partstream.isolation.statement_timeout import (
    can_stop_statements,
    is_statement_timeout,
    statement_timeout,
)

# In autocommit; of one application only, so that emptying its table after each test is quick.
pytestmark = pytest.mark.django_db(transaction=True, available_apps=["tests.example"])


postgresql = connection.vendor == "postgresql"


elsewhere = pytest.mark.skipif(postgresql, reason="the database has such a timeout")


def run(sql="SELECT 1"):
    """A statement as a loader's."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def test_can_stop_statements__on_postgresql():
    assert can_stop_statements("default") is postgresql


@elsewhere
def test_statement_timeout__elsewhere_leaves_statements_alone():
    before = list(connection.execute_wrappers)
    with statement_timeout(0):
        assert connection.execute_wrappers == before
        assert run() == (1,)


class DriverError(Exception):
    def __init__(self, **attributes):
        super().__init__(str(attributes))
        self.__dict__.update(attributes)


def caused_by(cause):
    error = RuntimeError()
    error.__cause__ = cause
    return error


def circular():
    error = RuntimeError()
    error.__cause__ = caused_by(error)
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(DriverError(sqlstate="57014"), True, id="psycopg 3"),
        pytest.param(DriverError(pgcode="57014"), True, id="psycopg2"),
        pytest.param(caused_by(caused_by(DriverError(sqlstate="57014"))), True, id="causes"),
        pytest.param(DriverError(sqlstate="57P01"), False, id="another SQLSTATE"),
        pytest.param(DriverError(pgcode=None), False, id="no SQLSTATE"),
        pytest.param(OperationalError("statement timeout"), False, id="no driver"),
        pytest.param(circular(), False, id="circular"),
    ],
)
def test_is_statement_timeout__reads_the_sqlstate(error, expected):
    assert is_statement_timeout(error) is expected
