"""How many streams a process serves, and how long one is open; and a stop that cuts them."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from tests.support.concurrency import wait_until

from .conftest import redis_cache
from .server_processes import STREAMING
from .stream_clients import MEDIA_TYPES, delivered, streaming

#: The tox environment that has the servers runs these.
pytestmark = pytest.mark.database

FAILING = ["tests.integration.servers.streaming_urls.FailingMiddleware"]
EACH = ["gunicorn-gthread", "uvicorn"]
ENDED = (0, -signal.SIGTERM)


def limits(**values):
    """The environment of a server; heartbeats tell it of departures."""
    values = {"STREAM_HEARTBEAT": 0.1, **values}
    return {f"PARTSTREAM_{name}": str(value) for name, value in values.items()}


def wait_for_room(server):
    wait_until(lambda: server.get("/plain/").json()["streams"] == 0)


def assert_no_room(server, kind):
    with streaming(server, "/side-by-side/", kind) as client:
        assert client.status == 503
        assert client.header("Content-Type") == "application/json"
        assert int(client.header("Retry-After")) > 0
        assert client.json()["code"] == "capacity"


@pytest.mark.parametrize("name", EACH)
def test_max_streams__refuses_more_and_each_end_makes_room(stream_from, opened, name):
    with stream_from(name, environment=limits(MAX_STREAMS=1), MIDDLEWARE=FAILING) as server:
        for kind in MEDIA_TYPES:
            with streaming(server, "/side-by-side/", kind) as client:
                client.next()
                visits = [opened.next(), opened.next()]
                assert_no_room(server, kind)
            wait_for_room(server)
            for visit in visits:
                visit.release()
            # A stream that ends; one that middleware throws away; one that is no more than headers.
            with streaming(server, "/behind/", kind) as client:
                client.next()
                assert_no_room(server, kind)
                opened.next().release()
                client.rest()
            wait_for_room(server)
            for headers, status in (({"X-Fail": "1"}, 500), ({"X-Replace": "1"}, 200)):
                with streaming(server, "/side-by-side/", kind, headers) as client:
                    assert client.status == status
                    assert client.header("Content-Type") != MEDIA_TYPES[kind]
                wait_for_room(server)
            with streaming(server, "/side-by-side/", kind, method="HEAD") as client:
                assert (client.status, client.next()) == (200, None)
                assert client.header("Content-Type") == MEDIA_TYPES[kind]
            assert server.get("/plain/").json() == {"streams": 0}
        # What was thrown away, or had no body, has run nothing.
        assert opened.is_empty()


@pytest.mark.parametrize("name", EACH)
def test_max_streams__of_none_refuses_all_and_ends_a_browsers_tries(stream_from, opened, name):
    with stream_from(name, environment=limits(MAX_STREAMS=0)) as server:
        assert_no_room(server, "ndjson")
        with streaming(server, "/side-by-side/", "sse") as client:
            assert (client.status, client.next()) == (204, None)
        assert opened.is_empty()


@pytest.mark.parametrize("name", EACH)
def test_max_seconds__end_a_stream_that_can_be_resumed(stream_from, opened, name):
    with stream_from(name, environment=limits(STREAM_MAX_SECONDS=0.5)) as server:
        for kind in MEDIA_TYPES:
            with streaming(server, "/side-by-side/", kind) as client:
                first = client.next()
                visits = [opened.next(), opened.next()]
                assert client.rest() == []
                assert not client.was_cut
            wait_for_room(server)
            headers = {"Last-Event-ID": client.last_id} if kind == "sse" else {}
            path = "/side-by-side/" if headers else f"/side-by-side/?cursor={first['cursor']}"
            for visit in visits:
                visit.release()
            with streaming(server, path, kind, headers) as client:
                records = client.rest()
            assert records[-1]["cursor"] is None
            assert sorted(delivered(first, *records)) == ["first", "slow", "slower"]
            if kind == "sse":
                ended = {"Last-Event-ID": client.last_id}
                with streaming(server, path, kind, ended) as client:
                    assert (client.status, client.next()) == (204, None)
        assert opened.is_empty()


@pytest.mark.parametrize("name", [name for name in STREAMING if "gevent" not in name])
def test_stop__cuts_or_ends_streams_and_clients_resume_elsewhere(
    stream_from, redis_server, opened, name
):
    options = {
        "threads": 8,
        "cache": redis_cache(redis_server),
        "environment": limits(STREAM_MAX_SECONDS=2, CACHE_MIN_DURATION=0.001),
    }
    with ExitStack() as stack:
        old = stack.enter_context(stream_from(name, **options))
        client = stack.enter_context(streaming(old, "/side-by-side/"))
        records = [client.next()]
        visits = {visit.name: visit for visit in (opened.next(), opened.next())}
        visits["slow"].release()
        records.append(client.next())
        assert old.terminate() in ENDED, old.log()
        assert "Traceback" not in old.log()
        records += client.rest()
        assert not client.was_cut
        visits["slower"].wait_until_gone()
        assert delivered(*records) == ["first", "slow"]
        new = stack.enter_context(stream_from(name, **options))
        path = f"/side-by-side/?cursor={records[-1]['cursor']}"
        with streaming(new, path) as client:
            records = [client.next()]
            opened.next().release()
            records += client.rest()
        assert delivered(*records) == ["slower"]
        assert records[-1]["cursor"] is None
        assert sorted(opened.names) == ["slow", "slower", "slower"]
        assert opened.is_empty()
