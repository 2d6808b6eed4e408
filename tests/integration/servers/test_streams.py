"""Streams through servers and proxies: each record arrives while the next part still runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress

import pytest

from tests.support.concurrency import wait_until

from .server_processes import STREAMING, Server
from .stream_clients import MEDIA_TYPES, delivered, streaming

#: The tox environment that has the servers runs these.
pytestmark = pytest.mark.database

NAMES = [name for name in STREAMING if name != "uvicorn-patient"]
#: All of Django's that look at a response's body or keep it.
MIDDLEWARE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
OURS = [
    "partstream.middleware.PerformanceMiddleware",
    "partstream.middleware.ProgressiveDeliveryMiddleware",
    "partstream.middleware.SecurityMiddleware",
]
#: nginx as it comes, and with all that it can hold a response back with.
NGINX = """
daemon off; pid {0}/pid; error_log stderr; {1}
events {{}}
http {{
    access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p;
    fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0; gzip_http_version 1.0;
    server {{
        listen unix:{0}/socket;
        location / {{ proxy_pass http://{2}; proxy_set_header Host localhost; }}
    }}
}}
"""


@contextmanager
def nginx_before(server):
    """The same server, behind nginx with its default buffering."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no nginx here.")
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        path = f"{directory}/conf"
        with open(path, "w") as file:
            user = "user root;" if os.geteuid() == 0 else ""
            file.write(NGINX.format(directory, user, server.upstream))
        process = subprocess.Popen(
            [binary, "-c", path, "-p", directory, "-e", "stderr"], stderr=subprocess.PIPE
        )
        front = Server(process, f"{directory}/socket", None)
        try:
            wait_until(lambda: process.poll() is not None or front.accepts())
            assert process.poll() is None, process.stderr.read()
            yield front
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            process.communicate()


def look_at_streams(server, opened, paths):
    """Each record comes while the next part is held."""
    for kind in MEDIA_TYPES:
        for path in paths:
            with streaming(server, path, kind) as client:
                assert (client.status, client.header("Content-Type")) == (200, MEDIA_TYPES[kind])
                first = client.next()
                assert first["results"] == [{"first": 1}]
                assert first["meta"]["pending"] == ["slow", "slower"]
                visit = opened.next()
                if path == "/one-by-one/":
                    order = [visit]
                else:
                    order = sorted([visit, opened.next()], key=lambda visit: visit.name)[::-1]
                order[0].release()
                second = client.next()
                assert second["results"] == [{order[0].name: order[0].name}]
                assert second["cursor"] is not None
                last = order[1] if len(order) == 2 else opened.next()
                last.release()
                third = client.next()
                assert third["results"] == [{last.name: last.name}]
                assert third["cursor"] is None
                assert client.next() is None
                assert not client.was_cut


PATHS = ["/side-by-side/", "/one-by-one/", "/coroutines/"]


@pytest.mark.parametrize("name", NAMES)
def test_stream__is_never_buffered(stream_from, opened, name):
    paths = [path for path in PATHS if "gevent" not in name or path != "/coroutines/"]
    with stream_from(name, MIDDLEWARE=OURS) as server:
        look_at_streams(server, opened, paths)


@pytest.mark.parametrize("name", NAMES)
def test_stream__is_never_buffered_by_middleware_and_nginx(stream_from, opened, name):
    with (
        stream_from(name, MIDDLEWARE=[*OURS, *MIDDLEWARE]) as server,
        nginx_before(server) as front,
    ):
        look_at_streams(front, opened, PATHS[:2])


@pytest.mark.parametrize("name", NAMES)
def test_heartbeats__come_while_a_part_runs_whatever_the_executor(stream_from, opened, name):
    with (
        stream_from(name, environment={"PARTSTREAM_STREAM_HEARTBEAT": "0.1"}) as server,
        nginx_before(server) as front,
    ):
        for kind in MEDIA_TYPES:
            with streaming(front, "/one-by-one/", kind) as client:
                records = [client.next()]
                for _ in range(2):
                    visit = opened.next()
                    client.wait_for_heartbeats(3)
                    visit.release()
                    records.append(client.next())
                assert delivered(*records) == ["first", "slow", "slower"]
                assert client.next() is None
