"""Streams in the figures: a stream is measured when it ends, in whatever way."""

from __future__ import annotations

import asyncio
import gc
import math

import django
import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.test import AsyncClient, RequestFactory
from django.urls import resolve
from rest_framework.renderers import JSONRenderer

from partstream import cached_for, lazy
from partstream.exceptions import Misuse
from partstream.middleware import PerformanceMiddleware
from partstream.performance import PerformanceMonitor, samples
from partstream.performance.publication import publisher
from partstream.performance.queries import current
from partstream.performance.recorder import recorder
from partstream.streams import records as records_of_streams
from partstream.streams.records import End
from partstream.streams.registry import count_open_streams, registry
from partstream.streams.stream import Record
from tests.support.streams import NDJSON, SSE, events, get_stream, leave, opened, stream
from tests.support.walk_client import at, get_json
from tests.versions.test_performance import (
    MIDDLEWARE,
    ClosingThreads,
    close_for_good,
    fail,
    query,
)

from . import test_asgi as asgi

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
NO_DEPARTURES = pytest.mark.skipif(
    django.VERSION < (5, 0), reason="Django 4.2 does not listen for a departure"
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Django 5.2 does not close the body of a request whose client has left.
    pytest.mark.filterwarnings(
        "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
    ),
]


def one(request, **dependencies):
    return 1


@pytest.fixture
def measured(settings):
    recorder.reset()
    publisher.reset()
    settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}
    yield PerformanceMonitor()
    recorder.reset()
    publisher.reset()


def read_by_wsgi(client, url):
    stream(client, url)
    # A coroutine has opened one in the thread that asgiref keeps.
    asyncio.run(sync_to_async(close_for_good)())


def read_by_asgi(client, url):
    async def read():
        response = await AsyncClient().get(url, headers={"accept": NDJSON["HTTP_ACCEPT"]})
        assert response.streaming
        async for _ in response.streaming_content:
            pass
        leave(response)
        await sync_to_async(close_for_good)()

    return asyncio.run(read())


@pytest.fixture(params=[read_by_wsgi, read_by_asgi], ids=["wsgi", "asgi"])
def read(request, client):
    """Reads a stream to its end."""
    return lambda url: request.param(client, url)


def test_monitor__sees_a_stream(measured, serve, read):
    url = serve(
        parts=[("now", 0), ("text", lazy(lambda request: "x" * 1000)), ("sum", lazy(one))],
        executor=THREADS,
    )
    read(url)
    assert measured.get_views() == ["served/"]
    assert measured.get_count() == 1
    assert measured.get_stream_outcomes() == {"complete": 1}
    assert measured.get_stream_outcomes("served/") == {"complete": 1}
    assert measured.get_stream_outcomes("other/") == {}
    assert measured.get_stream_resumes() == 0
    assert measured.get_error_rate() == 0
    assert measured.get_parts() == ["now", "sum", "text"]
    assert measured.get_outcomes(part="now") == {"immediate": 1}
    assert measured.get_outcomes(part="text") == {"loader": 1}
    # Its fragment is not there any more: it was sent.
    assert measured.get_memory_usage(part="text") == 1002
    assert measured.get_memory_usage("served/") >= 0
    assert current.get() is None


def test_monitor__a_stream_has_times_of_its_own(measured, serve, client):
    url = serve(parts=[("slow", lazy(one)), ("slower", lazy(one, depends_on=["slow"]))])
    stream(client, url)
    times = [
        measured.get_average_stream_time("served/", until)
        for until in ("first_record", "first_part", "end")
    ]
    assert 0 < times[0] < times[1] < times[2] == measured.get_average_stream_time()
    for until, time in zip(("first_record", "first_part", "end"), times, strict=True):
        found = measured.get_stream_time_percentile(95, until=until)
        assert found == pytest.approx(time, rel=0.1)
    # It is no slow response.
    assert measured.get_outcomes() == {}
    assert math.isnan(measured.get_average_response_time())
    get_json(client, url)
    assert PerformanceMonitor().get_outcomes() == {"ok": 1}
    assert PerformanceMonitor().get_count() == 2


def test_monitor__refuses_other_moments_and_percentiles(measured):
    with pytest.raises(Misuse, match="'first_record', 'first_part', 'end'"):
        measured.get_average_stream_time(until="last")
    with pytest.raises(Misuse, match="95"):
        measured.get_stream_time_percentile(0)
    assert math.isnan(measured.get_average_stream_time())
    assert math.isnan(measured.get_stream_time_percentile(95))


def test_monitor__a_part_that_fails_in_a_stream(measured, serve, read):
    read(serve(parts=[("now", 0), ("bad", lazy(fail))]))
    assert measured.get_stream_outcomes() == {"part_errors": 1}
    assert measured.get_outcomes(part="bad") == {"part_failed": 1}
    assert measured.get_error_rate() == measured.get_error_rate("served/", "bad") == 1


def test_monitor__the_cache_hit_rate_of_streams(measured, serve, client, empty_cache):
    url = serve(parts=[("shared", lazy(cached_for(60, shared=True)(one)))])
    stream(client, url)
    stream(client, url)
    assert measured.get_outcomes(part="shared") == {"loader": 1, "cache": 1}
    assert measured.get_cache_hit_rate() == 0.5


# Queries


class QueryingRenderer(JSONRenderer):
    """Queries in a step of the stream, and not in a part."""

    runs = 0

    def render(self, data, *args, **kwargs):
        query(1)(None)
        type(self).runs += 1
        return super().render(data, *args, **kwargs)


async def query_async(request):
    await sync_to_async(query(2))(request)


def test_monitor__counts_queries_of_parts_and_steps(measured, serve, read, executors, monkeypatch):
    monkeypatch.setattr(QueryingRenderer, "runs", 0)
    url = serve(
        parts=[("now", 0), ("three", lazy(query(3))), ("two", lazy(query_async))],
        executor=executors(ClosingThreads),
        renderer_classes=[QueryingRenderer],
    )
    read(url)
    assert measured.get_average_queries("served/", "three") == 3
    assert measured.get_average_queries("served/", "two") == 2
    assert measured.get_average_queries("served/", "now") == 0
    assert QueryingRenderer.runs > 1
    assert measured.get_average_queries("served/") == 3 + 2 + QueryingRenderer.runs
    assert measured.get_average_query_time("served/") > 0


def test_monitor__counts_no_query_of_another_request(measured, serve, client, held):
    """A server's thread may do other things between two steps."""
    slow = held()
    with opened(client, serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS)) as found:
        next(found)
        assert current.get() is None
        query(5)(None)
        slow.release()
        assert len(list(found)) == 1
    assert measured.get_average_queries() == 0


def test_settings__tracking_can_be_switched_off(measured, serve, client, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "TRACK_PERFORMANCE": False}
    stream(client, serve(parts=[("now", 0), ("one", lazy(one))]))
    assert measured.get_stream_outcomes() == {"complete": 1}
    assert math.isnan(measured.get_average_queries())


def test_settings__monitoring_can_be_switched_off(measured, serve, client, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "ENABLE_MONITORING": False}
    stream(client, serve(parts=[("now", 0), ("one", lazy(one))]))
    assert recorder.is_empty


# How a stream ends


def test_monitor__measures_when_a_stream_ends(measured, serve, client, held):
    slow = held()
    with opened(client, serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS)) as found:
        next(found)
        assert PerformanceMonitor().get_count() == 0
        slow.release()
        list(found)
        assert PerformanceMonitor().get_count() == 1
    assert measured.get_stream_outcomes() == {"complete": 1}


def test_monitor__a_client_that_leaves(measured, serve, client, held):
    slow = held()
    url = serve(parts=[("now", 0), ("quick", lazy(one)), ("slow", lazy(slow))], executor=THREADS)
    with opened(client, url) as found:
        next(found)
        next(found)
    slow.release()
    assert measured.get_stream_outcomes() == {"departed": 1}
    assert measured.get_outcomes(part="quick") == {"loader": 1}
    assert measured.get_outcomes(part="slow") == {"pending": 1}
    assert measured.get_error_rate() == 0


@NO_DEPARTURES
def test_monitor__a_client_that_leaves_under_asgi(measured, serve, held):
    slow = held()
    url = serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS)

    async def main():
        async with asgi.opened(url) as client:
            await client.piece()
            await client.send_input({"type": "http.disconnect"})
            await client.wait()

    asyncio.run(main())
    slow.release()
    gc.collect()
    assert measured.get_stream_outcomes() == {"departed": 1}
    assert measured.get_outcomes(part="slow") == {"pending": 1}


def test_monitor__a_client_that_leaves_before_the_first_record(measured, serve, client, calls):
    leave(get_stream(client, serve(parts=[("now", 0), ("p0", lazy(calls.loader("p0")))])))
    assert measured.get_stream_outcomes() == {"departed": 1}
    assert measured.get_outcomes(part="p0") == {"pending": 1}
    assert math.isnan(measured.get_average_stream_time(until="first_record"))
    assert calls == []


@pytest.mark.parametrize(
    ("is_read", "end"), [(True, {"complete": 1}), (False, {"departed": 1})], ids=["all", "half"]
)
def test_monitor__a_client_may_leave_once_it_has_the_last_record(
    measured, serve, client, is_read, end
):
    response = get_stream(
        client, serve(parts=[("now", 0), ("text", lazy(lambda r: "x" * 200_000))])
    )
    (body,) = registry._open
    sent = b""
    while b'"text":' not in sent:
        step = body.step()
        if isinstance(step, Record):
            sent += b"".join(step.pieces) if is_read or not sent else next(step.pieces)
    leave(response)
    assert measured.get_stream_outcomes() == end


def test_monitor__a_stream_that_resumes(measured, serve, client):
    url = serve(parts=[("now", 0), ("p0", lazy(one)), ("p1", lazy(one, depends_on=["p0"]))])
    first = stream(client, url)[0]
    stream(client, at(url, first["cursor"]))
    list(events(get_stream(client, url, **SSE, HTTP_LAST_EVENT_ID=first["cursor"])))
    assert measured.get_stream_resumes() == measured.get_stream_resumes("served/") == 2
    assert measured.get_stream_outcomes() == {"complete": 3}


def test_monitor__a_stream_that_is_open_for_too_long(measured, serve, client, held, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "STREAM_MAX_SECONDS": 0.1}
    slow = held()
    stream(client, serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS))
    slow.release()
    assert measured.get_stream_outcomes() == {"time_limit": 1}
    assert measured.get_outcomes(part="slow") == {"pending": 1}


def test_monitor__a_stream_that_crashes(measured, serve, client, monkeypatch):
    url = serve(parts=[("now", 0), ("p0", lazy(one))])
    monkeypatch.setattr(
        records_of_streams, "envelope", crash_at_second(records_of_streams.envelope)
    )
    assert "stream_error" in stream(client, url)[-1]
    assert measured.get_stream_outcomes() == {"failed": 1}
    assert measured.get_error_rate() == 1


def crash_at_second(function):
    calls = []

    def crashing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("crash")
        return function(*args, **kwargs)

    return crashing


def test_monitor__streams_that_are_refused(measured, serve, client, held, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "MAX_STREAMS": 1}
    slow = held()
    url = serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS)
    with opened(client, url):
        assert client.get(url, **NDJSON).status_code == 503
    slow.release()
    assert measured.get_stream_outcomes() == {"streams_full": 1, "departed": 1}
    assert measured.get_outcomes() == {}
    assert measured.get_error_rate() == 0.5


def test_monitor__without_streams_events_end_at_once(measured, serve, client, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "MAX_STREAMS": 0}
    url = serve(parts=[("now", 0)])
    assert client.get(url, **SSE).status_code == 204
    assert measured.get_outcomes() == {"ok": 1}
    assert measured.get_stream_outcomes() == {}


def test_monitor__tells_of_open_streams(measured, serve, client, held):
    slow = held()
    url = serve(parts=[("now", 0), ("slow", lazy(slow))], executor=THREADS)
    get_json(client, serve(parts=[("now", 0)]))
    with opened(client, url) as found:
        next(found)
        assert measured.get_gauges()["open_streams"] == count_open_streams() == 1
    slow.release()
    assert PerformanceMonitor().get_gauges()["open_streams"] == 0


def test_ends__are_outcomes_of_the_monitor():
    known = {samples.COMPLETE, samples.TIME_LIMIT, samples.DEPARTED, samples.FAILED}
    assert {end.value for end in End} == known


# Other middleware


def replacing(get_response):
    """A middleware that throws the view's response away."""

    def respond(request):
        get_response(request)
        return HttpResponse(status=502)

    return respond


def closing(get_response):
    """A middleware that closes it."""

    def respond(request):
        leave(get_response(request))
        return HttpResponse(status=502)

    return respond


def collecting(get_response):
    """A middleware that reads the stream itself."""

    def respond(request):
        response = get_response(request)
        response.streaming_content = [b"".join(response.streaming_content)]
        return response

    return respond


@pytest.mark.parametrize("middleware", ["replacing", "closing"])
def test_middleware__that_replaces_a_stream(
    measured, serve, client, settings, known_thread_settings, calls, middleware
):
    settings.MIDDLEWARE = [MIDDLEWARE, f"{__name__}.{middleware}"]
    client.raise_request_exception = False
    response = client.get(serve(parts=[("p0", lazy(calls.loader("p0")))]), **NDJSON)
    assert response.status_code == 502
    assert not count_open_streams()
    assert measured.get_stream_outcomes() == {}
    assert measured.get_outcomes() == {"failed": 1}
    assert calls == []


def test_middleware__that_collects_a_stream(measured, serve, client, settings):
    settings.MIDDLEWARE = [MIDDLEWARE, f"{__name__}.collecting"]
    stream(client, serve(parts=[("now", 0), ("p0", lazy(one))]))
    assert measured.get_stream_outcomes() == {"complete": 1}


@pytest.mark.parametrize("begun", [False, True])
def test_middleware__a_stream_that_nobody_closes(
    measured, serve, known_thread_settings, calls, begun
):
    request = RequestFactory().get(serve(parts=[("now", 0), ("p0", lazy(one))]), **NDJSON)
    request.resolver_match = resolve(request.path)
    respond = PerformanceMiddleware(request.resolver_match.func)
    gc.disable()  # It must not be needed.
    try:
        response = respond(request)
        if begun:
            next(response.streaming_content)
        assert current.get() is None
        del response
        assert not count_open_streams()
        assert not recorder.is_empty
    finally:
        gc.enable()
    assert measured.get_stream_outcomes() == {"departed": 1}
