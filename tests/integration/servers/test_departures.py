"""Clients that leave a stream: what ends, what goes on, and what a process holds afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import django
import pytest

from tests.support.concurrency import wait_until

from .conftest import redis_cache
from .stream_clients import MEDIA_TYPES, delivered, streaming

#: The tox environment that has the servers runs these.
pytestmark = pytest.mark.database

#: Seconds: no heartbeat comes while a test runs; many come.
NEVER, OFTEN = 600, 0.1
ASGI = ["uvicorn", "granian"]
WSGI = ["gunicorn-gthread", "gunicorn-gevent", "granian-wsgi", "runserver"]
EACH = [
    *(pytest.param(name, NEVER, id=name) for name in ASGI),
    *(pytest.param(name, OFTEN, id=name) for name in WSGI),
]
if django.VERSION < (5, 0):
    # Django's handler notices no departure there, so the stream goes on to its end.
    EACH = [parameters for parameters in EACH if parameters.values[0] in WSGI]
SOME = [
    parameters for parameters in EACH if parameters.values[0] in ("uvicorn", "gunicorn-gthread")
]
DEPARTURES = 1_000
AT_ONCE = 20
#: What allocators keep for themselves, by the kilobyte.
SLACK = 6_000


def heartbeat(seconds, **others):
    """The environment of a server."""
    return {
        "PARTSTREAM_STREAM_HEARTBEAT": str(seconds),
        "PARTSTREAM_STREAM_MAX_SECONDS": "600",
        **{f"PARTSTREAM_{name}": str(value) for name, value in others.items()},
    }


def open_streams(server):
    return server.get("/plain/").json()["streams"]


def wait_until_left(server):
    wait_until(lambda: open_streams(server) == 0)


@pytest.mark.parametrize("kind", MEDIA_TYPES)
@pytest.mark.parametrize(("name", "seconds"), EACH)
def test_departure__ends_the_stream_and_drops_what_has_not_started(
    stream_from, opened, name, seconds, kind
):
    with stream_from(name, threads=8, environment=heartbeat(seconds)) as server:
        for path in ("/one-worker/", "/one-by-one/"):
            with streaming(server, path, kind) as client:
                assert delivered(client.next()) == ["first"]
                running = opened.next()
                assert open_streams(server) == 1
            wait_until_left(server)
            with streaming(server, f"{path}behind/", kind) as client:
                client.next()
                running.release()
                visit = opened.next()
                assert visit.name == "behind"
                visit.release()
                assert delivered(client.next()) == ["behind"]
        assert opened.is_empty()


def leave_and_resume(left, joined, opened, path):
    """A client leaves one process, and resumes in one whose streams join what runs."""
    with streaming(left, path) as client:
        first = client.next()
        visits = [opened.next() for _ in range(1 if path == "/one-by-one/" else 2)]
    if left is joined:
        wait_until_left(left)
    with streaming(joined, f"{path}?cursor={first['cursor']}") as client:
        again = client.next()
        assert again["results"] == []
        assert again["meta"]["pending"] == ["slow", "slower"]
        wait_until(lambda: left is joined or open_streams(left) == 0)
        for visit in visits:
            visit.release()
        if len(visits) == 1:
            opened.next().release()
        rest = client.rest()
    assert sorted(delivered(*rest)) == ["slow", "slower"]
    assert rest[-1]["cursor"] is None
    assert opened.is_empty()


def paths_of(name):
    """With green threads there are no coroutine loaders."""
    return ["/side-by-side/", "/one-by-one/", *(["/coroutines/"] if "gevent" not in name else [])]


@pytest.mark.parametrize(("name", "seconds"), EACH)
def test_resume__joins_what_runs_in_the_process(stream_from, opened, name, seconds):
    with stream_from(name, threads=8, environment=heartbeat(seconds)) as server:
        for path in paths_of(name):
            leave_and_resume(server, server, opened, path)


@pytest.mark.parametrize(("name", "seconds"), SOME)
def test_resume__joins_what_runs_in_another_process(
    stream_from, redis_server, opened, name, seconds
):
    # However short the part was, it is kept for the process that waits for it.
    environment = heartbeat(seconds, CACHE_MIN_DURATION=0.001)
    options = {"cache": redis_cache(redis_server), "threads": 8, "environment": environment}
    with stream_from(name, **options) as left, stream_from(name, **options) as joined:
        for path in paths_of(name):
            leave_and_resume(left, joined, opened, path)


@pytest.mark.parametrize(("name", "seconds"), SOME)
def test_departures__leave_nothing_behind(on_postgresql, database, stream_from, name, seconds):
    with (
        stream_from(
            name,
            threads=AT_ONCE + 2,
            environment={**on_postgresql, **heartbeat(seconds)},
        ) as server,
        ThreadPoolExecutor(AT_ONCE) as clients,
    ):

        def come_and_go(_):
            with streaming(server, "/crowd/") as client:
                assert delivered(client.next()) == ["first"]

        def third():
            for _ in range(DEPARTURES // 3 // AT_ONCE + 1):
                server.get("/hold-on/")
                list(clients.map(come_and_go, range(AT_ONCE)))
                wait_until_left(server)
                server.get("/let-go/")
            return server.get("/process/").json()

        third()
        before = third()
        after = third()

        def is_as_before():
            now = server.get("/process/").json()
            return now["streams"] == 0 and all(
                now[name] <= before[name] for name in ("threads", "files", "tasks")
            )

        wait_until(is_as_before)
        assert after["kilobytes"] <= before["kilobytes"] + SLACK
        # Only workers keep theirs.
        wait_until(lambda: len(database.sessions()) <= before["workers"])
