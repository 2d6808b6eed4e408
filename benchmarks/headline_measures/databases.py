"""The databases of the headline benchmark, and the shops in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from tests import postgresql

#: Makes a database of that name; the value is its URL.
Make = Callable[[str], str]
KINDS = ("PostgreSQL", "SQLite")


def environment(url: str, **more: str) -> dict[str, str]:
    """The environment of a process of the benchmark's project."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "DJANGO_SETTINGS_MODULE": "headline_site.settings",
        "DATABASE_URL": url,
        **more,
    }


@contextmanager
def databases(kind: str, folder: str) -> Iterator[Make]:
    """Makes databases of one kind; their server ends with the context.

    Args:
        kind: One of `KINDS`.
        folder: An existing folder, for the files.

    Raises:
        SystemExit: When PostgreSQL is not installed.
    """
    if kind == "SQLite":
        yield lambda name: f"sqlite:///{folder}/{name}.sqlite3"
        return
    binaries = postgresql.find_binaries()
    if binaries is None:
        raise SystemExit(
            "PostgreSQL is not installed. Install its server (on Debian: apt install postgresql), "
            "or measure on SQLite alone with --database sqlite."
        )
    import psycopg

    with postgresql.server(binaries) as url:

        def make(name: str) -> str:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))

        yield make


def fill(url: str, orders: int) -> None:
    """Make the tables, and replace all rows by a shop with that many orders."""
    for command in (["migrate"], ["seed_shop", "--replace", "--orders", str(orders)]):
        subprocess.run(
            [sys.executable, "-m", "django", *command, "--verbosity", "0"],
            env=environment(url),
            check=True,
        )
