"""The spans and metrics of streams, beside the instrumentor of Django."""

from __future__ import annotations

import asyncio
import gc

import django
import pytest

from partstream import cached_for, lazy
from tests.support.concurrency import wait_until
from tests.support.requirements import demand
from tests.support.streams import Reader, get_stream, leave, opened, stream
from tests.support.walk_client import at
from tests.versions.streams import test_asgi as asgi

from .test_opentelemetry import exported, load, serve

__all__ = ["exported"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Django 5.2 does not close the body of a request whose client has left.
    pytest.mark.filterwarnings(
        "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
    ),
]

ROUTE = "board/<int:pk>/"


@pytest.fixture(autouse=True)
def quick_heartbeat(settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}


def one(request):
    return 1


def test_spans__of_a_stream_and_its_parts(exported, mount, client, threads):
    def trace(request):
        with exported.tracer.start_as_current_span("inner"):
            return 1

    async def trace_async(request):
        with exported.tracer.start_as_current_span("inner async"):
            return 1

    url = serve(
        mount,
        [("now", 0), ("plain", lazy(trace)), ("later", lazy(trace_async))],
        executor=threads,
    )
    found = stream(client, url)
    spans = exported.spans()
    server, whole = spans[f"GET {ROUTE}"], spans["stream"]
    assert whole.parent.span_id == server.context.span_id
    # Django's own ends before.
    assert server.start_time <= whole.start_time <= server.end_time < whole.end_time
    assert dict(whole.attributes) == {
        "http.route": ROUTE,
        "partstream.stream.resumed": False,
        "partstream.stream.records": len(found),
        "partstream.stream.parts": 3,
        "partstream.stream.end": "complete",
    }
    assert whole.status.is_unset
    for name, inner in [("now", None), ("plain", "inner"), ("later", "inner async")]:
        part = spans[f"part {name}"]
        assert part.parent.span_id == whole.context.span_id
        assert part.end_time <= whole.end_time
        if inner is not None:
            assert spans[inner].parent.span_id == part.context.span_id
    assert {span.context.trace_id for span in spans.values()} == {server.context.trace_id}


def test_spans__of_two_streams_at_once_do_not_mix(exported, mount, client, held, threads):
    """Steps of both run in one thread, in turn."""
    slow = held()
    url = serve(mount, [("now", 0), ("slow", lazy(slow))], executor=threads)
    readers = [Reader(get_stream(client, url)) for _ in range(2)]
    for reader in readers:
        next(reader)
    slow.release()
    for reader in readers:
        list(reader)
    finished = exported._spans.get_finished_spans()
    streams = {span.context.span_id for span in finished if span.name == "stream"}
    assert len(streams) == 2
    assert {span.parent.span_id for span in finished if span.name == "part slow"} == streams
    from opentelemetry import trace

    assert not trace.get_current_span().get_span_context().is_valid


def test_spans__of_a_resumed_stream_with_cached_parts(
    exported, mount, client, empty_cache, threads
):
    url = serve(
        mount, [("now", 0), ("kept", lazy(cached_for(60, shared=True)(load)))], executor=threads
    )
    first = stream(client, url)[0]
    exported._spans.clear()
    stream(client, at(url, first["cursor"]))
    spans = exported.spans()
    assert spans["stream"].attributes["partstream.stream.resumed"]
    assert spans["stream"].attributes["partstream.stream.parts"] == 1
    assert spans["part kept"].attributes["partstream.source"] == "cache"
    assert spans["part kept"].parent.span_id == spans["stream"].context.span_id


def test_spans__of_a_stream_whose_client_leaves(exported, mount, client, held, threads):
    slow = held()
    url = serve(mount, [("now", 0), ("slow", lazy(slow))], executor=threads)
    with opened(client, url) as found:
        next(found)
        found.go_on()
        slow.wait_until_begun()
        assert "stream" not in exported.spans()
    whole = exported.spans()["stream"]
    assert whole.attributes["partstream.stream.end"] == "departed"
    assert whole.attributes["partstream.stream.records"] == 1
    assert whole.status.is_unset
    # Its part runs on, for whoever resumes the stream.
    assert "part slow" not in exported.spans()
    slow.release()
    wait_until(lambda: "part slow" in exported.spans())
    assert exported.spans()["part slow"].parent.span_id == whole.context.span_id


def test_spans__of_a_stream_that_nothing_reads(exported, mount, client):
    leave(get_stream(client, serve(mount, [("now", 0)])))
    assert exported.spans()["stream"].attributes["partstream.stream.end"] == "departed"


def test_spans__of_a_stream_that_crashes(exported, mount, client, monkeypatch):
    from partstream.streams.records import Records

    def crash(*args):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(Records, "_settled", crash)
    stream(client, serve(mount, [("now", 0), ("one", lazy(one))]))
    whole = exported.spans()["stream"]
    assert whole.attributes["partstream.stream.end"] == "failed"
    assert whole.attributes["error.type"] == "stream_failed"
    assert not whole.status.is_ok
    assert "hunter2" not in whole.to_json()


@pytest.mark.parametrize("leaves", [False, True])
def test_spans__under_asgi(exported, mount, held, threads, leaves):
    # Without it, Django's instrumentor makes no spans here.
    demand("opentelemetry.instrumentation.asgi")
    if leaves and django.VERSION < (5, 0):
        pytest.skip("Django 4.2 does not listen for a departure")
    slow = held()
    url = serve(mount, [("now", 0), ("slow", lazy(slow))], executor=threads)

    async def main():
        async with asgi.opened(url) as client:
            await client.piece()
            await asyncio.to_thread(slow.wait_until_begun)
            (point,) = exported.points("partstream.stream.open")
            if leaves:
                await client.send_input({"type": "http.disconnect"})
            else:
                slow.release()
                await asgi.records(client)
            await client.wait()
            return point

    assert asyncio.run(main()).value == 1
    slow.release()
    gc.collect()  # Now, while what Django has left open is ignored.
    wait_until(lambda: {"part slow", "stream"} <= exported.spans().keys())
    spans = exported.spans()
    whole, server = spans["stream"], spans[f"GET {ROUTE}"]
    assert whole.attributes["partstream.stream.end"] == ("departed" if leaves else "complete")
    assert whole.parent.span_id == server.context.span_id
    assert whole.start_time <= server.end_time < whole.end_time
    assert {spans[f"part {name}"].parent.span_id for name in ("now", "slow")} == {
        whole.context.span_id
    }


def test_metrics__of_streams(exported, mount, client, held, threads):
    slow = held()
    url = serve(mount, [("now", 0), ("slow", lazy(slow))], executor=threads)
    with opened(client, url) as found:
        next(found)
        (point,) = exported.points("partstream.stream.open")
        assert point.value == 1
        assert exported.points("partstream.stream.duration") == []
    slow.release()
    stream(client, url)
    stream(client, url)
    points = {
        point.attributes["partstream.stream.end"]: point
        for point in exported.points("partstream.stream.duration")
    }
    assert {end: point.count for end, point in points.items()} == {"departed": 1, "complete": 2}
    assert dict(points["complete"].attributes) == {
        "http.route": ROUTE,
        "partstream.stream.end": "complete",
    }
    assert points["complete"].explicit_bounds[-1] == 60.0
    (point,) = exported.points("partstream.stream.open")
    assert point.value == 0
