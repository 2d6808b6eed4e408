"""A view of `adrf` streams and walks, if its coroutine calls the verb by ``sync_to_async``."""

from __future__ import annotations

import pytest

from tests.support.concurrency import wait_until
from tests.support.requirements import demand

from .stream_clients import MEDIA_TYPES, delivered, streaming

#: The tox environment that has the servers runs these.
pytestmark = pytest.mark.database

PATH = "/side-by-side/"


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-gthread"])
def test_adrf__streams_walks_and_refuses(stream_from, opened, name):
    demand("adrf")
    environment = {
        "SERVERS_URLCONF": "tests.integration.servers.adrf_urls",
        # Under ASGI no heartbeat is needed to notice that a client has left.
        "PARTSTREAM_STREAM_HEARTBEAT": "600" if name == "uvicorn" else "0.1",
    }
    with stream_from(name, environment=environment) as server:
        for kind in MEDIA_TYPES:
            with streaming(server, PATH, kind) as client:
                assert client.header("Content-Type") == MEDIA_TYPES[kind]
                first = client.next()
                assert delivered(first) == ["first"]
                visits = {visit.name: visit for visit in (opened.next(), opened.next())}
                visits["slower"].release()
                assert delivered(client.next()) == ["slower"]
            wait_until(lambda: server.get("/plain/").json() == {"streams": 0})
            # The walk's chunks, and a stream from where they end.
            chunk = server.get(PATH).json()
            assert delivered(chunk) == ["first"]
            with streaming(server, f"{PATH}?cursor={first['cursor']}", kind) as client:
                assert delivered(client.next()) == []
                visits["slow"].release()
                opened.next().release()
                assert sorted(delivered(*client.rest())) == ["slow", "slower"]
            with streaming(server, f"{PATH}?cursor=junk", kind) as client:
                assert (client.status, client.json()["code"]) == (400, "cursor_invalid")
                assert client.header("Content-Type") == "application/json"
        assert opened.is_empty()
