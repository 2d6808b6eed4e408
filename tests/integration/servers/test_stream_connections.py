"""The database sessions of streams: one that is idle holds none, whatever opened it."""

from __future__ import annotations

import json
from contextlib import ExitStack

import django
import pytest

from tests.support.concurrency import wait_until
from tests.support.processes import run_python

from .stream_clients import MEDIA_TYPES, delivered, streaming

#: How many sessions the pool has, and more streams than that.
SESSIONS = 2
STREAMS = SESSIONS + 2
POOL = {"OPTIONS": {"pool": {"min_size": 0, "max_size": SESSIONS, "timeout": 5}}, "CONN_MAX_AGE": 0}
KEPT = {"CONN_MAX_AGE": 600}
#: Options of the database, and what opens a session between the view and its stream.
EACH = [
    (options, {"ATOMIC_REQUESTS": is_atomic}, saves)
    for options in ([POOL, KEPT] if django.VERSION >= (5, 1) else [KEPT])
    for is_atomic, saves in ((False, True), (True, False))
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
LOG_IN = """
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_user("ada"))
print(client.cookies["sessionid"].value)
"""


@pytest.fixture
def cookie(on_postgresql, tmp_path):
    """That of a user who is logged in."""
    key = run_python(LOG_IN, tmp_path, SERVERS_SETTINGS="{}", **on_postgresql)
    return {"Cookie": f"sessionid={key}"}


def hold_streams(server, opened, cookie, database, most_sessions):
    """More streams than there are sessions: while they are idle, they have none."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(streaming(server, "/own/", kind, cookie))
            for kind in [*MEDIA_TYPES] * (STREAMS // 2)
        ]
        for client in clients:
            assert client.status == 200
            assert delivered(client.next()) == ["first"]
            # Since the opening record, each stream has paused.
            client.wait_for_heartbeats(2)
        assert len(database.sessions()) <= most_sessions
        assert server.get("/users/").json() == {"users": 1}
        for _ in range(2 * STREAMS):
            opened.next().release()
        for client in clients:
            records = client.rest()
            assert [record.get("errors") for record in records] == [None] * len(records)
            assert sorted(delivered(*records)) == ["slow", "slower"]


@pytest.mark.parametrize("name", ["gunicorn-gthread", "uvicorn"])
def test_idle_streams__hold_no_session(on_postgresql, database, stream_from, opened, cookie, name):
    for options, more, saves in EACH:
        environment = {
            **on_postgresql,
            "SERVERS_OPTIONS": json.dumps({**options, **more}),
            "PARTSTREAM_STREAM_HEARTBEAT": "0.1",
        }
        with stream_from(
            name,
            threads=STREAMS + 1,
            environment=environment,
            MIDDLEWARE=MIDDLEWARE,
            SESSION_SAVE_EVERY_REQUEST=saves,
        ) as server:
            # The pool keeps what was given back to it.
            hold_streams(server, opened, cookie, database, SESSIONS if options is POOL else 0)
        wait_until(lambda: not database.sessions())
