"""PostgreSQL databases for projects that tests start in processes of their own.

The server is that of `DATABASE_URL`, else a throw-away one. Each database is new, and belongs to a
role of its own, which is no superuser: row-level security holds for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import postgresql

from .requirements import demand


class Database:
    """A database on a running server.

    Attributes:
        name: Its name, and that of the role that owns it.
        url: Its address, for that role.
    """

    def __init__(self, server_url: str) -> None:
        self.name = f"partstream_{token_hex(6)}"
        self._server_url = server_url
        address = urlsplit(server_url)
        host = address.netloc.rpartition("@")[2]
        credentials = f"{self.name}:{self.name}"
        self.url = urlunsplit(
            address._replace(netloc=f"{credentials}@{host}", path=f"/{self.name}")
        )

    def query(self, statement, *parameters):
        """The rows that a statement gives a superuser, outside of this database."""
        import psycopg

        with psycopg.connect(self._server_url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create(self) -> None:
        """Create it, and its role, which may create databases."""
        self.query(f"CREATE ROLE {self.name} LOGIN CREATEDB PASSWORD '{self.name}'")
        self.query(f"CREATE DATABASE {self.name} OWNER {self.name}")

    def drop(self) -> None:
        """Drop it, even if clients are connected to it."""
        self.query(f"DROP DATABASE {self.name} WITH (FORCE)")
        for [leftover] in self.query(
            "SELECT datname FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid "
            f"WHERE rolname = '{self.name}'"
        ):
            self.query(f"DROP DATABASE {leftover} WITH (FORCE)")
        self.query(f"DROP ROLE {self.name}")

    def sessions(self) -> list[int]:
        """The process ids of the sessions of its role, in whichever database."""
        rows = self.query("SELECT pid FROM pg_stat_activity WHERE usename = %s", self.name)
        return [pid for [pid] in rows]


@contextmanager
def server() -> Iterator[str]:
    """The address of a PostgreSQL server; the test is skipped where there is none."""
    demand("psycopg")
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith(("postgres://", "postgresql://")):
        yield url
        return
    binaries = postgresql.find_binaries()
    if binaries is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no PostgreSQL here.")
    with postgresql.server(binaries) as url:
        yield url


@contextmanager
def database(server_url: str) -> Iterator[Database]:
    """A new database; it is dropped whatever happens."""
    own = Database(server_url)
    own.create()
    try:
        yield own
    finally:
        own.drop()
