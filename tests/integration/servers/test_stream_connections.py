"""The database sessions of streams: one that is idle holds none, whatever opened it."""

from __future__ import annotations

import json
from contextlib import ExitStack

import django
import pytest

from tests.support.processes import run_python

from .stream_clients import MEDIA_TYPES, delivered, streaming

#: How many sessions the pool has, and more streams than that.
SESSIONS = 2
STREAMS = SESSIONS + 2
POOL = {"OPTIONS": {"pool": {"min_size": 0, "max_size": SESSIONS, "timeout": 5}}, "CONN_MAX_AGE": 0}
KEPT = {"CONN_MAX_AGE": 600}
EACH = [
    pytest.param(
        options,
        settings,
        id=f"{kind}-{name}",
        marks=pytest.mark.skipif(
            kind == "pool" and django.VERSION < (5, 1), reason="Django has no pool"
        ),
    )
    for kind, options in (("pool", POOL), ("kept", KEPT))
    for name, settings in (
        ("plain", {}),
        ("saving", {"SESSION_SAVE_EVERY_REQUEST": True}),
        ("atomic", {"SESSION_SAVE_EVERY_REQUEST": True}),
    )
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


@pytest.mark.parametrize("name", ["gunicorn-gthread", "uvicorn"])
@pytest.mark.parametrize(("options", "settings"), EACH)
def test_idle_streams__hold_no_session(
    request, on_postgresql, database, stream_from, opened, cookie, name, options, settings
):
    is_atomic = "atomic" in request.node.callspec.id
    environment = {
        **on_postgresql,
        "SERVERS_OPTIONS": json.dumps({**options, "ATOMIC_REQUESTS": is_atomic}),
        "PARTSTREAM_STREAM_HEARTBEAT": "0.1",
    }
    with (
        stream_from(
            name,
            threads=STREAMS + 1,
            environment=environment,
            MIDDLEWARE=MIDDLEWARE,
            **settings,
        ) as server,
        ExitStack() as stack,
    ):
        clients = [
            stack.enter_context(streaming(server, "/own/", kind, cookie))
            for kind in [*MEDIA_TYPES] * (STREAMS // 2)
        ]
        for client in clients:
            assert client.status == 200
            assert delivered(client.next()) == ["first"]
            # Since the opening record, each stream has paused.
            client.wait_for_heartbeats(2)
        print(server.sessions if False else database.sessions())
        assert server.get("/users/").json() == {"users": 1}
