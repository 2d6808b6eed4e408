"""Streams behind middleware, under Django's handlers for WSGI and ASGI: passed on as they come."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import contextmanager

import django
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.utils import translation

from partstream import ProgressiveView, lazy
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.caching.single_flight import get_single_flight
from partstream.streams.registry import count_open_streams
from tests.support.concurrency import PATIENCE, wait_until
from tests.support.streams import leave

MEDIA_TYPES = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}
DJANGOS = [
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
OURS = [
    "partstream.middleware.PerformanceMiddleware",
    "partstream.middleware.ProgressiveDeliveryMiddleware",
    "partstream.middleware.SecurityMiddleware",
]
# The handlers close connections when a request begins.
pytestmark = pytest.mark.django_db(transaction=True)

HEADERS = {"accept-encoding": "gzip, deflate", "accept-language": "de", "host": "testserver"}


@contextmanager
def over_wsgi(path, accept):
    """Status and headers, and a function that returns the next piece of the body."""
    headers = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in HEADERS.items()}
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "HTTP_ACCEPT": accept,
        **headers,
    }
    said = []
    response = WSGIHandler()(environ, lambda status, headers: said.extend([status, headers]))
    pieces = iter(response)
    try:
        yield int(said[0][:3]), dict(said[1]), lambda: next(pieces, b"")
    finally:
        leave(response)


@contextmanager
def over_asgi(path, accept, *, leaves=False):
    """The same. A client that leaves does so in the end, and the stream ends with that."""
    with asyncio.Runner() if hasattr(asyncio, "Runner") else Runner() as runner:
        come, sent = asyncio.Queue(), asyncio.Queue()
        come.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [
                (name.encode(), text.encode())
                for name, text in {**HEADERS, "accept": accept}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }

        async def start():
            return asyncio.ensure_future(ASGIHandler()(scope, come.get, sent.put))

        async def message():
            return await asyncio.wait_for(sent.get(), PATIENCE)

        async def end():
            await asyncio.wait_for(task, PATIENCE)

        def body():
            return runner.run(message()).get("body", b"")  # The last one has none.

        task = runner.run(start())
        head = runner.run(message())
        headers = {name.decode(): text.decode() for name, text in head["headers"]}
        yield head["status"], headers, body
        if leaves:
            come.put_nowait({"type": "http.disconnect"})
        runner.run(end())


class Runner:
    """`asyncio.Runner` for Python 3.10, as far as it is used here."""

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)


@pytest.fixture(params=[over_wsgi, over_asgi])
def ask(request):
    """Each handler in turn."""
    return request.param


HEARTBEATS = (b" ", b":\n\n")


def go_on(body):
    """Let the stream go on until it waits: a heartbeat comes, if that is set to a short time."""
    assert body() in HEARTBEATS


def next_record(kind, body):
    """The next record, from the pieces up to its end."""
    text = b""
    while not text.endswith(b"\n" if kind == "ndjson" else b"\n\n"):
        piece = body()
        assert piece
        text += b"" if piece in HEARTBEATS else piece
    lines = text.decode().strip().split("\n")
    return json.loads(lines[-1].removeprefix("data: "))


@pytest.mark.parametrize("executor_class", [InlineExecutor, ThreadExecutor])
@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_stream__passes_all_middleware_in_its_language(
    serve, settings, executors, held, ask, kind, executor_class
):
    settings.MIDDLEWARE = [*OURS, *DJANGOS]
    settings.LANGUAGES = [("en", "English"), ("de", "German")]
    settings.DJANGO_PARTSTREAM = {"STREAM_HEARTBEAT": 0.1}
    slow, languages = held("slow"), []

    def load(request, slow):
        languages.append(translation.get_language())
        return translation.gettext("January")

    url = serve(
        executor=executors(executor_class),
        parts=[
            ("first", 1),
            ("slow", lazy(slow)),
            ("month", lazy(load, depends_on=["slow"])),
            ("twice", lazy(lambda request, month: [month] * 2, depends_on=["month"])),
        ],
    )
    with ask(url, MEDIA_TYPES[kind]) as (status, headers, body):
        assert status == 200
        assert headers["Content-Type"] == MEDIA_TYPES[kind]
        assert headers["Content-Encoding"] == "identity"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Cache-Control"] == "private, no-store"
        assert headers["Content-Language"] == "de"
        assert not headers.keys() & {"ETag", "Content-Length", "Expires"}
        # Each record comes while the next part is held.
        assert next_record(kind, body)["results"] == [{"first": 1}]
        go_on(body)
        slow.wait_until_begun()
        slow.release()
        records = [next_record(kind, body) for _ in range(3)]
        found = [part for record in records for part in record["results"]]
        assert found == [{"slow": "slow"}, {"month": "Januar"}, {"twice": ["Januar"] * 2}]
        assert body() == b""
    assert languages == ["de"]


def speaking_french(get_response):
    """Middleware whose language ends before the stream begins."""

    def middleware(request):
        with translation.override("fr"):
            return get_response(request)

    return middleware


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_stream__keeps_what_middleware_has_set_for_the_view(serve, settings, executors, ask, kind):
    settings.MIDDLEWARE = [f"{__name__}.speaking_french"]

    def load(request):
        return translation.get_language()

    url = serve(
        executor=executors(ThreadExecutor),
        parts=[
            ("one", lazy(load)),
            ("two", lazy(lambda request, one: load(request), depends_on=["one"])),
        ],
    )
    with ask(url, MEDIA_TYPES[kind]) as (_, _, body):
        records = [next_record(kind, body) for _ in range(3)]
        found = [part for record in records for part in record["results"]]
        assert found == [{"one": "fr"}, {"two": "fr"}]
        assert body() == b""


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_stream__is_neither_cached_nor_answered_from_a_cache(serve, settings, calls, ask, kind):
    settings.MIDDLEWARE = DJANGOS
    url = serve(ProgressiveView, parts=[("part", lazy(calls.loader("part", "data")))])
    for _ in range(2):
        with ask(url, MEDIA_TYPES[kind]) as (status, _, body):
            assert (status, next_record(kind, body)["results"]) == (200, [])
            assert next_record(kind, body)["results"] == [{"part": "data"}]
            assert body() == b""
    assert calls == ["part", "part"]


@pytest.mark.parametrize("kind", MEDIA_TYPES)
@pytest.mark.parametrize("executor_class", [InlineExecutor, ThreadExecutor])
def test_stream__ends_when_its_client_leaves(
    serve, settings, executors, held, calls, kind, executor_class
):
    # Django notices it from 5.0 on. Before that the stream goes on to its limit of time.
    notices = django.VERSION >= (5, 0)
    settings.DJANGO_PARTSTREAM = {
        "STREAM_MAX_SECONDS": 600 if notices else 1,
        "STREAM_HEARTBEAT": 0.1,
    }
    slow = held("slow")
    url = serve(
        executor=executors(executor_class, max_workers=1),
        parts=[("slow", lazy(slow)), ("unstarted", lazy(calls.loader("unstarted")))],
    )
    with over_asgi(url, MEDIA_TYPES[kind], leaves=True) as (status, _, body):
        assert (status, next_record(kind, body)["results"]) == (200, [])
        go_on(body)
        slow.wait_until_begun()
        assert count_open_streams() == 1
    assert count_open_streams() == 0
    slow.release()
    wait_until(lambda: not get_single_flight()._flights)
    assert (slow.runs, calls) == (1, [])
