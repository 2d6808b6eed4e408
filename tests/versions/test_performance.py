"""The middleware that measures, and the monitor, with views under WSGI and ASGI."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient
from django.urls import include, path
from rest_framework.permissions import BasePermission

from partstream import (
    HybridProgressiveView,
    PartError,
    ProgressiveView,
    cached_for,
    lazy,
    safe_call,
)
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.exceptions import Misuse
from partstream.performance import PerformanceMonitor
from partstream.performance.publication import publisher
from partstream.performance.queries import current
from partstream.performance.recorder import recorder
from tests.example.models import Note
from tests.support.marks import leaves_transaction
from tests.support.walk_client import at, get_json, walk

MIDDLEWARE = "partstream.middleware.PerformanceMiddleware"


def load(request, **dependencies):
    return len(dependencies)


def query(times=1):
    def load(request, **dependencies):
        with connection.cursor() as cursor:
            for _ in range(times):
                cursor.execute("SELECT 1")
        return times

    return load


def fail(request):
    raise ValueError("no")


def refuse(request):
    raise PartError("closed", code="closed")


class QueryingPermission(BasePermission):
    """Stands for authentication: it queries before any part runs."""

    def has_permission(self, request, view):
        query(2)(request)
        return True


class Board(HybridProgressiveView):
    chunk_size = 3
    permission_classes = [QueryingPermission]
    parts = [
        ("meta", 1),
        ("orders", lazy(query(3))),
        ("stock", lazy(query(), depends_on=["orders"])),
        ("rates", lazy(fail)),
        ("closed", lazy(refuse)),
        ("safe", lazy(safe_call(fail, fallback=[]))),
    ]


class Quick(ProgressiveView):
    parts = [("a", 1), ("b", lazy(load))]


@pytest.fixture
def board(mount):
    mount(
        path("board/", include(Board.urls())),
        path("quick/<int:number>/", Quick.as_view()),
        path("plain/", lambda request: HttpResponse(query()(request))),
    )


@pytest.fixture
def monitor():
    recorder.reset()
    publisher.reset()
    yield PerformanceMonitor()
    recorder.reset()
    publisher.reset()


@pytest.fixture
def measured(settings, board, monitor):
    settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
    return monitor


class LoopClient:
    """A client of the ASGI handler with the interface of Django's own."""

    def get(self, url, **extra):
        return asyncio.run(self._get(url, extra))

    async def _get(self, url, extra):
        try:
            return await AsyncClient().get(url, **extra)
        finally:
            await sync_to_async(close_for_good)()


def close_for_good():
    """Close this thread's connection, also to a database in memory, which Django leaves open."""
    if connection.connection is not None:
        connection.connection.close()
        connection.connection = None


class ClosingThreads(ThreadExecutor):
    """Leaves no connection for the garbage collector: see `close_for_good`."""

    def after_call(self, request):
        close_for_good()


@pytest.fixture(params=["wsgi", "asgi"])
def any_client(request, client):
    return client if request.param == "wsgi" else LoopClient()


@pytest.mark.django_db(transaction=True)
def test_monitor__sees_a_walk(measured, any_client):
    walk(any_client, "/board/")
    assert measured.get_views() == ["board/"]
    assert measured.get_count() == measured.get_count("board/") == 2
    assert measured.get_outcomes() == {"ok": 1, "part_errors": 1}
    assert measured.get_error_rate() == 0.5
    assert measured.get_parts("board/") == ["closed", "meta", "orders", "rates", "safe", "stock"]
    assert measured.get_outcomes("board/", "orders") == {"loader": 1}
    assert measured.get_outcomes("board/", "meta") == {"immediate": 1}
    assert measured.get_outcomes("board/", "rates") == {"part_failed": 1}
    assert measured.get_outcomes("board/", "closed") == {"closed": 1}
    assert measured.get_outcomes("board/", "safe") == {"fallback": 1}
    assert measured.get_error_rate("board/", "rates") == 1
    assert measured.get_error_rate("board/", "safe") == 0
    assert measured.get_workers() == 1


@pytest.mark.django_db(transaction=True)
def test_monitor__counts_queries_of_parts_and_around_them(measured, any_client):
    walk(any_client, "/board/")
    assert measured.get_average_queries("board/", "orders") == 3
    assert measured.get_average_queries("board/", "stock") == 1
    assert measured.get_average_queries("board/", "meta") == 0
    # Two chunks, each with the two of its permission.
    assert measured.get_average_queries("board/") == (2 + 3 + 1 + 2) / 2
    assert measured.get_average_query_time("board/") > 0
    assert current.get() is None


@pytest.mark.django_db(transaction=True)
def test_monitor__counts_queries_in_every_thread(measured, client, monkeypatch, executors):
    monkeypatch.setattr(Board, "executor", executors(ClosingThreads))
    walk(client, "/board/")
    assert measured.get_average_queries("board/", "orders") == 3
    assert measured.get_average_queries("board/") == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [InlineExecutor, ClosingThreads])
def test_monitor__counts_queries_of_coroutines(measured, mount, client, executors, kind):
    async def count(request):
        await sync_to_async(query(1))(request)

    async def count_twice(request):
        await sync_to_async(query(2))(request)

    def later(request):
        return Note.objects.values("pk")

    class Async(ProgressiveView):
        parts = [("one", lazy(count)), ("two", lazy(count_twice)), ("lazy", lazy(later))]
        chunk_size = 3

    Async.executor = executors(kind)
    mount(path("async/", Async.as_view()))
    get_json(client, "/async/")
    figures = [measured.get_average_queries("async/", part) for part in ("one", "two", "lazy")]
    assert figures == [1, 2, 1]
    assert measured.get_average_queries("async/") == 4


def test_monitor__times_are_those_of_the_clock(measured, client, monkeypatch):
    get_json(client, "/quick/1/")
    average = measured.get_average_response_time()
    assert 0 < average < 60_000
    assert measured.get_average_response_time(part="b") <= average
    assert measured.get_response_time_percentile(100) == pytest.approx(average, rel=0.1)


@pytest.mark.django_db(transaction=True)
def test_monitor__counts_middleware_around_the_view(measured, client, settings):
    settings.MIDDLEWARE = [MIDDLEWARE, f"{__name__}.querying"]
    get_json(client, "/quick/1/")
    assert measured.get_average_queries("quick/<int:number>/") == 2


def querying(get_response):
    """A middleware that queries before and after the view."""

    def respond(request):
        query()(request)
        response = get_response(request)
        query()(request)
        return response

    return respond


pytestmark = pytest.mark.django_db


def test_monitor__labels_are_routes_not_paths(measured, client):
    for number in range(5):
        get_json(client, f"/quick/{number}/?x={number}")
    assert measured.get_views() == ["quick/<int:number>/"]
    assert measured.get_count() == 5


def test_monitor__other_views_are_not_measured(measured, client):
    client.get("/plain/")
    client.get("/nowhere/")
    assert measured.get_count() == 0
    assert math.isnan(measured.get_average_response_time())
    assert current.get() is None


def test_monitor__refused_requests_count(measured, client, settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "BURST_LIMIT": 2,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    }
    client.get("/quick/1/")
    client.get("/quick/1/?cursor=x")
    client.get("/quick/1/")
    assert measured.get_outcomes() == {"ok": 1, "throttled": 1, "refused": 1}
    assert measured.get_error_rate() == 0


def test_monitor__a_view_that_raises_counts(measured, mount, client):
    class Broken(ProgressiveView):
        def get_parts(self):
            raise RuntimeError("broken")

    mount(path("broken/", Broken.as_view()))
    client.raise_request_exception = False
    assert client.get("/broken/").status_code == 500
    assert measured.get_outcomes("broken/") == {"failed": 1}
    assert measured.get_error_rate() == 1
    assert current.get() is None


def test_monitor__a_client_that_leaves_counts(measured, mount, held):
    """Else a view whose clients give up would seem to answer nobody, and so to be well."""
    slow = held()

    class Slow(ProgressiveView):
        parts = [("slow", lazy(slow))]

    async def leave():
        asking = asyncio.ensure_future(AsyncClient().get("/slow/"))
        await asyncio.to_thread(slow.wait_until_begun)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        slow.release()

    mount(path("slow/", Slow.as_view()))
    asyncio.run(leave())
    assert measured.get_outcomes("slow/") == {"departed": 1}
    assert measured.get_error_rate("slow/") == 0
    assert measured.get_average_response_time("slow/") > 0
    assert current.get() is None


def test_monitor__cache_hit_rate(measured, mount, client, empty_cache):
    class Cached(ProgressiveView):
        chunk_size = 3
        parts = [
            ("plain", lazy(load)),
            ("shared", lazy(cached_for(60, shared=True)(load))),
            ("anonymous", lazy(cached_for(60)(load))),
        ]

    mount(path("cached/", Cached.as_view()))
    assert math.isnan(measured.get_cache_hit_rate())
    for _ in range(4):
        get_json(client, "/cached/")
    monitor = PerformanceMonitor()
    assert monitor.get_cache_hit_rate() == 0.75
    assert monitor.get_cache_hit_rate("cached/", "shared") == 0.75
    assert monitor.get_outcomes("cached/", "shared") == {"loader": 1, "cache": 3}
    # Not kept without an identity, so never looked for.
    assert math.isnan(monitor.get_cache_hit_rate("cached/", "anonymous"))


@leaves_transaction
def test_monitor__pending_and_joined_parts(measured, mount, client, held, threads, empty_cache):
    slow = held("late")

    class Budget(ProgressiveView):
        chunk_size = 2
        time_budget = 0.05
        executor = threads
        parts = [("quick", lazy(load)), ("slow", lazy(slow))]

    mount(path("budget/", Budget.as_view()))
    first = get_json(client, "/budget/")
    assert first["meta"]["pending"] == ["slow"]
    slow.release()
    get_json(client, at("/budget/", first["cursor"]))
    outcomes = measured.get_outcomes("budget/", "slow")
    assert outcomes.pop("pending") == 1
    # It may have ended before the second request looked for it.
    assert outcomes in ({"joined": 1}, {"cache": 1})
    assert measured.get_count("budget/", "slow") == 2


def test_monitor__memory(measured, client):
    get_json(client, "/quick/1/")
    assert measured.get_memory_usage() > 1 << 20
    assert measured.get_memory_usage(part="b") == 1
    assert measured.get_memory_usage(view="quick/<int:number>/") >= 0
    gauges = measured.get_gauges()
    calls = {"queued_calls", "running_calls", "abandoned_calls"}
    assert gauges.keys() == {"memory", "open_streams", *calls}


def test_settings__monitoring_can_be_switched_off(measured, client, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_MONITORING": False}
    get_json(client, "/quick/1/")
    assert recorder.is_empty
    assert measured.get_count() == 0


def test_settings__tracking_can_be_switched_off(measured, client, settings):
    settings.DJANGO_PARTSTREAM = {"TRACK_PERFORMANCE": False}
    get_json(client, "/board/")
    assert measured.get_count() == 1
    assert measured.get_outcomes("board/", "orders") == {"loader": 1}
    assert math.isnan(measured.get_average_queries())
    assert math.isnan(measured.get_memory_usage(part="orders"))


def test_settings__faulty_ones_do_not_affect_other_views(measured, client, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_MONITORING": "yes"}
    assert client.get("/plain/").status_code == 200


def test_middleware__not_installed_nothing_is_recorded(board, monitor, client):
    get_json(client, "/board/")
    assert recorder.is_empty


@pytest.mark.parametrize("window", [14, 901, 0, -1, math.nan, "300", None, True])
def test_monitor__refuses_other_windows(window):
    with pytest.raises(Misuse, match="from 15 to 900"):
        PerformanceMonitor(window)


@pytest.mark.parametrize("percent", [0, 101, -5, math.nan, "95", None])
def test_monitor__refuses_other_percentiles(percent):
    with pytest.raises(Misuse, match="95"):
        PerformanceMonitor().get_response_time_percentile(percent)


def test_monitor__without_samples_is_nan(monitor):
    figures = [
        monitor.get_average_response_time(),
        monitor.get_response_time_percentile(95),
        monitor.get_error_rate(),
        monitor.get_cache_hit_rate(),
        monitor.get_average_queries(),
        monitor.get_average_query_time(),
        monitor.get_memory_usage(),
        monitor.get_memory_usage("board/"),
    ]
    assert all(map(math.isnan, figures))
    assert (monitor.get_count(), monitor.get_views(), monitor.get_workers()) == (0, [], 0)
    # So an alert does not ring.
    assert not monitor.get_average_response_time() > 1000
    assert not monitor.get_error_rate() > 0.01
