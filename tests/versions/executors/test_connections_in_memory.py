"""SQLite databases in memory, which many projects test with: Django never closes their sessions."""

from __future__ import annotations

import sqlite3

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from partstream import ProgressiveView, lazy
from partstream.testing import close_connections, collect
from tests.example.models import Note

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the database is not SQLite"),
    pytest.mark.django_db(transaction=True),
]


@pytest.mark.parametrize("is_coroutine", [False, True], ids=["plain", "coroutine"])
def test_connection__in_memory_is_closed_when_its_thread_ends(client, serve, threads, is_coroutine):
    sessions = []

    def load(request):
        number = Note.objects.count()
        sessions.append(connections["default"].connection)
        return number

    async def load_later(request):
        return await sync_to_async(load)(request)

    Note.objects.create(text="kept")
    loader = load_later if is_coroutine else load
    url = serve(ProgressiveView, parts=[("notes", lazy(loader))], executor=threads)
    assert collect(client, url) == {"notes": 1}
    close_connections()
    [session] = sessions
    assert session is not connections["default"].connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        session.execute("SELECT 1")
    # The database is still there, and so is what the thread saw.
    assert collect(client, url) == {"notes": 1}
