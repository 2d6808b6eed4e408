"""After a request, nothing of ours waits for the garbage collector.

DRF's request and view refer to each other, so they wait for it. What we make for a request must not
wait with them: a collection would take longer the more requests it has to clean up after.
"""

from __future__ import annotations

import gc
import json
import logging
import time

import pytest
import time_machine
from django.core.handlers.base import BaseHandler
from django.http import Http404
from django.test import RequestFactory
from django.urls import include, path
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission

from partstream import HybridProgressiveView, PartError, cached_for, lazy, safe_call, signals
from partstream.resolution.observers import PartObserver, add_observer, remove_observer
from partstream.security import suspicion
from partstream.testing import close_connections
from tests.support.walk_client import at

pytestmark = pytest.mark.usefixtures("empty_cache")


def failing(error):
    def load(request):
        raise error("no")

    return load


async def later(request):
    return 1


THREADS = {
    "BACKEND": "partstream.backends.executors.threads.ThreadExecutor",
    "OPTIONS": {"max_per_request": 1},
}


async def failing_later(request):
    raise ValueError("no")


@cached_for(60)
def cached(request):
    return 1


class IsOpen(BasePermission):
    def has_permission(self, request, view):
        if "closed" in request.query_params:
            raise NotAuthenticated()
        return True


class Served(HybridProgressiveView):
    """A view of parts of each kind, where some fail."""

    chunk_size = 4
    permission_classes = [IsOpen]
    parts = [
        ("now", 1),
        ("plain", lazy(lambda request: [1])),
        ("dependent", lazy(lambda request, plain: [plain], depends_on=["plain"])),
        ("hidden", lazy(lambda request: 1, permission_classes=[IsOpen])),
        ("coroutine", lazy(later)),
        ("cached", lazy(cached)),
        ("covered", lazy(safe_call(failing(ValueError), fallback=1))),
        ("raising", lazy(failing(ValueError))),
        ("raising_later", lazy(failing_later)),
        ("closed", lazy(failing(lambda text: PartError(text, code="closed")))),
        ("missing", lazy(failing(Http404))),
        ("junk", lazy(lambda request: object())),
        ("last", 1),
    ]


class Placed(Served):
    """The same, where some run in threads."""

    parts = [
        *Served.parts,
        ("there", lazy(lambda request: 1, executor=THREADS)),
        ("there_after", lazy(lambda request, there: 1, depends_on=["there"], executor=THREADS)),
        ("there_later", lazy(later, executor=THREADS)),
        ("raising_there", lazy(failing(ValueError), executor=THREADS)),
    ]


class Throttled(HybridProgressiveView):
    parts = [("a", 1), ("b", 2)]
    rate_limit = 1


def garbage_of(function):
    """What a call leaves to the garbage collector."""
    was_enabled, flags = gc.isenabled(), gc.get_debug()
    # pytest keeps what is logged, and with it the exceptions that would be garbage.
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    # What is there already is not looked at: something of an earlier test may end only now.
    gc.freeze()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        function()
        gc.collect()
        return list(gc.garbage)
    finally:
        logging.disable(logging.NOTSET)
        gc.set_debug(flags)
        gc.garbage.clear()
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def types_of_ours(garbage):
    """The names of our own types among these objects."""
    return sorted(
        {
            f"{type(each).__module__}.{type(each).__qualname__}"
            for each in garbage
            if type(each).__module__.partition(".")[0] == "partstream"
        }
    )


@pytest.fixture(autouse=True)
def no_other_threads():
    """Idle threads of earlier tests end now, and leave no garbage of theirs meanwhile."""
    close_connections()


class Watching(PartObserver):
    """Sees every part."""

    counts_queries = True


@pytest.fixture
def watched(request, settings):
    """Nothing, or one of the features that look at each part."""
    how = getattr(request, "param", "not")
    settings.MIDDLEWARE = []
    if how == "monitored":
        settings.MIDDLEWARE = ["partstream.middleware.PerformanceMiddleware"]
    if how == "debugged":
        settings.DEBUG = True
        settings.DJANGO_PARTSTREAM = {"ENABLE_DEBUG_LOGGING": True}
    observer = Watching()
    if how == "observed":
        add_observer(observer)
    yield
    remove_observer(observer)


@pytest.fixture
def handle(watched, known_thread_settings):
    """Handles a request as a server does, and lets the response go."""
    handler = BaseHandler()
    handler.load_middleware()

    def handle(url, method="GET", **headers):
        request = RequestFactory().generic(method, url, headers=headers)
        response = handler.get_response(request)
        return response.status_code, response.headers.get("ETag"), response.content

    return handle


@pytest.fixture
def garbage_of_request(handle):
    """The garbage of one request, after one that warmed up; it has this status."""

    def garbage_of_request(status, url, **options):
        assert handle(url, **options)[0] == status
        return garbage_of(lambda: handle(url, **options))

    return garbage_of_request


@pytest.fixture
def urls(mount):
    mount(
        path("served/", include(Served.urls())),
        path("placed/", include(Placed.urls())),
        path("throttled/", include(Throttled.urls())),
    )


def test_garbage__is_seen():
    class Ours:
        pass

    Ours.__module__ = "partstream.somewhere"

    def leave():
        ours = Ours()
        ours.itself = ours

    assert types_of_ours(garbage_of(leave)) == [f"partstream.somewhere.{Ours.__qualname__}"]
    assert types_of_ours(garbage_of(Ours)) == []


@pytest.mark.parametrize(
    ("status", "url", "options"),
    [
        (200, "/served/", {}),
        (200, "/served/", {"method": "HEAD"}),
        (200, "/served/", {"method": "OPTIONS"}),
        (405, "/served/", {"method": "POST"}),
        (400, "/served/?cursor=junk", {}),
        (400, "/served/?cursor=", {}),
        (403, "/served/?closed=1", {}),
        (406, "/served/", {"accept": "x/y"}),
        (200, "/served/parts/?keys=plain,dependent,coroutine,cached", {}),
        (200, "/served/parts/?keys=raising,raising_later,closed,missing,junk,covered", {}),
        (200, "/placed/", {}),
        (200, "/placed/parts/?keys=plain,there,there_after,there_later,coroutine", {}),
        (200, "/placed/parts/?keys=cached,raising,raising_there,raising_later", {}),
        (400, "/served/parts/?keys=unknown", {}),
        (400, "/served/parts/", {}),
        (200, "/served/manifest/", {}),
    ],
)
def test_garbage__of_a_request_has_nothing_of_ours(garbage_of_request, urls, status, url, options):
    assert types_of_ours(garbage_of_request(status, url, **options)) == []


@pytest.mark.parametrize("watched", ["not", "monitored", "debugged", "observed"], indirect=True)
def test_garbage__of_each_chunk_has_nothing_of_ours(garbage_of_request, handle, urls):
    token, chunks = "", 0
    while token is not None:
        url = at("/served/", token) if token else "/served/"
        chunks += 1
        assert types_of_ours(garbage_of_request(200, url)) == []
        token = json.loads(handle(url)[2])["cursor"]
    assert chunks == 4


def test_garbage__of_a_cursor_that_is_refused_has_nothing_of_ours(
    garbage_of_request, handle, urls, monkeypatch
):
    token = json.loads(handle("/served/")[2])["cursor"]
    for status, url in ((400, at("/served/", token, more=1)), (400, at("/served/", token * 2))):
        assert types_of_ours(garbage_of_request(status, url)) == []
    monkeypatch.setattr(Served, "parts", Served.parts[::-1])
    assert types_of_ours(garbage_of_request(409, at("/served/", token))) == []
    monkeypatch.setattr(Served, "cursor_ttl", 60)
    with time_machine.travel(time.time() + 61, tick=False):
        assert types_of_ours(garbage_of_request(410, at("/served/", token))) == []


def test_garbage__of_what_is_not_modified_has_nothing_of_ours(garbage_of_request, handle, urls):
    etag = handle("/served/manifest/")[1]
    options = {"if-none-match": etag}
    assert types_of_ours(garbage_of_request(304, "/served/manifest/", **options)) == []


@pytest.mark.parametrize("status", [200, 429])
def test_garbage__of_a_counted_request_has_nothing_of_ours(handle, urls, settings, status):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT": 1000,
        # A window of Django's cache may end between two requests; this one does not.
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    }
    url = "/throttled/" if status == 429 else "/served/"
    seen = []

    def ask():
        seen.append(handle(url)[0])

    ask()
    assert types_of_ours(garbage_of(ask)) == []
    assert seen[-1] == status


def test_garbage__of_a_suspected_client_has_nothing_of_ours(handle, urls):
    for _ in range(suspicion.THRESHOLD - 1):
        assert handle("/served/?cursor=junk")[0] == 400
    suspected = []

    def receive(sender, counts, **arguments):
        suspected.append(counts)

    signals.client_suspected.connect(receive)
    try:
        assert types_of_ours(garbage_of(lambda: handle("/served/?cursor=junk"))) == []
    finally:
        signals.client_suspected.disconnect(receive)
    assert suspected == [{"cursor_invalid": suspicion.THRESHOLD}]
