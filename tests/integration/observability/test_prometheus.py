"""The exporter for Prometheus: what its own parser reads back."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from django.urls import include, path

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.performance.publication import publisher
from partstream.performance.recorder import Response, StreamFigures, recorder
from tests.support.redis import needs_redis
from tests.support.requirements import demand
from tests.support.streams import opened
from tests.support.walk_client import get_json


@pytest.fixture
def exporter():
    demand("prometheus_client")
    from partstream.contrib import prometheus

    recorder.reset()
    publisher.reset()
    yield prometheus
    recorder.reset()
    publisher.reset()


def fail(request):
    raise ValueError("no")


class Board(HybridProgressiveView):
    chunk_size = 2
    parts = [("meta", 1), ("rates", lazy(fail))]


def scrape(exporter, accept="text/plain"):
    """Family -> its samples, as the client library's parser reads them."""
    request = RequestFactory(headers={"accept": accept}).get("/metrics/")
    response = exporter.metrics(request)
    assert response.status_code == 200
    if "openmetrics" in response.headers["Content-Type"]:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    else:
        from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(response.content.decode())
    return {family.name: family.samples for family in families}


def value(samples, name, **labels):
    (found,) = [s.value for s in samples if s.name == name and s.labels == labels]
    return found


def record(seconds, **values):
    given = {
        "view": "board/",
        "status": 200,
        "seconds": seconds,
        "parts": [("meta", "loader", seconds, 100), ("rates", "cache", 0.0, 5)],
        "pending": [],
        "looked_up": ["rates"],
        "queries": [0.1],
        "part_queries": {"meta": [0.1, 0.1]},
        "growth": 0,
    }
    recorder.record(Response(**{**given, **values}))


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics__are_those_that_were_recorded(exporter, accept):
    for seconds in (0.0039, 0.2, 0.25, 0.26, 100.0):
        record(seconds)
    found = scrape(exporter, accept)
    responses = found["partstream_response_seconds"]
    labels = {"view": "board/", "outcome": "ok"}
    assert value(responses, "partstream_response_seconds_count", **labels) == 5
    assert value(responses, "partstream_response_seconds_sum", **labels) == pytest.approx(100.7139)
    for bound, count in [("0.00390625", 1), ("0.25", 3), ("0.5", 4), ("64.0", 4), ("+Inf", 5)]:
        name = "partstream_response_seconds_bucket"
        assert value(responses, name, **labels, le=bound) == count
    parts = found["partstream_part_seconds"]
    cached = {"view": "board/", "part": "rates", "outcome": "cache"}
    assert value(parts, "partstream_part_seconds_count", **cached) == 5
    for name, labels, expected in [
        ("response_queries", {"view": "board/"}, 15),
        ("part_queries", {"view": "board/", "part": "meta"}, 10),
        ("part_bytes", {"view": "board/", "part": "meta"}, 500),
        ("cache_lookups", {"view": "board/", "part": "rates"}, 5),
    ]:
        samples = found[f"partstream_{name}"]
        assert value(samples, f"partstream_{name}_total", **labels) == expected
    assert value(found["partstream_workers"], "partstream_workers") == 1
    assert value(found["partstream_worker_memory_bytes"], "partstream_worker_memory_bytes") > 1e6
    assert value(found["partstream_calls"], "partstream_calls", state="queued") == 0
    assert "partstream_store_outages" in found


@pytest.mark.django_db
def test_metrics__of_real_requests(exporter, settings, mount, client):
    settings.MIDDLEWARE = ["partstream.middleware.PerformanceMiddleware", *settings.MIDDLEWARE]
    mount(path("board/", include(Board.urls())), path("metrics/", exporter.metrics))
    get_json(client, "/board/")
    found = scrape(exporter)
    parts = found["partstream_part_seconds"]
    failed = {"view": "board/", "part": "rates", "outcome": "part_failed"}
    assert value(parts, "partstream_part_seconds_count", **failed) == 1
    # Scraping is not measured.
    assert {sample.labels["view"] for sample in found["partstream_response_seconds"]} == {"board/"}
    assert client.get("/metrics/").status_code == 200


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics__of_recorded_streams(exporter, accept):
    for end, first_part in [("complete", 0.2), ("complete", 0.2), ("departed", None)]:
        record(0.5, stream=StreamFigures(end, end == "departed", 0.1, first_part))
    record(0.001, stream=StreamFigures("streams_full"))
    found = scrape(exporter, accept)
    assert not found.get("partstream_response_seconds")
    whole = found["partstream_stream_seconds"]
    for outcome, count, seconds in [
        ("complete", 2, 1),
        ("departed", 1, 0.5),
        ("streams_full", 1, 0.001),
    ]:
        labels = {"view": "board/", "outcome": outcome}
        assert value(whole, "partstream_stream_seconds_count", **labels) == count
        assert value(whole, "partstream_stream_seconds_sum", **labels) == seconds
    for name, count in [("first_record", 3), ("first_part", 2)]:
        name = f"partstream_stream_{name}_seconds"
        assert value(found[name], f"{name}_count", view="board/") == count
    for name, expected in [("stream_resumes", 1), ("stream_queries", 12)]:
        samples = found[f"partstream_{name}"]
        assert value(samples, f"partstream_{name}_total", view="board/") == expected
    assert value(found["partstream_open_streams"], "partstream_open_streams") == 0


@pytest.mark.django_db(transaction=True)
def test_metrics__of_a_real_stream(exporter, settings, mount, client, held):
    settings.MIDDLEWARE = ["partstream.middleware.PerformanceMiddleware", *settings.MIDDLEWARE]
    slow = held()
    executor = "partstream.backends.executors.threads.ThreadExecutor"
    parts = [("now", 0), ("slow", lazy(slow))]
    view = type("Streamed", (ProgressiveView,), {"parts": parts, "executor": executor})
    mount(path("streamed/", view.as_view()), path("board/", include(Board.urls())))
    get_json(client, "/board/")
    with opened(client, "/streamed/") as reader:
        next(reader)
        found = scrape(exporter)
        assert value(found["partstream_open_streams"], "partstream_open_streams") == 1
        slow.release()
        list(reader)
    found = scrape(exporter)
    labels = {"view": "streamed/", "outcome": "complete"}
    whole = found["partstream_stream_seconds"]
    assert value(whole, "partstream_stream_seconds_count", **labels) == 1
    assert value(found["partstream_open_streams"], "partstream_open_streams") == 0


def test_metrics__never_decrease(exporter):
    record(0.1)
    before = scrape(exporter)["partstream_response_seconds"]
    record(0.1)
    after = scrape(exporter)["partstream_response_seconds"]
    old = {(s.name, *s.labels.items()): s.value for s in before}
    new = {(s.name, *s.labels.items()): s.value for s in after}
    assert all(new[key] >= old[key] for key in old)
    assert new != old


def test_metrics__without_samples(exporter):
    found = scrape(exporter)
    assert value(found["partstream_workers"], "partstream_workers") == 0
    assert not found.get("partstream_response_seconds")


def test_collector__in_the_projects_own_registry(exporter):
    from prometheus_client import CollectorRegistry, Counter, generate_latest

    registry = CollectorRegistry()
    Counter("project_requests", "The project's own.", registry=registry).inc()
    registry.register(exporter.PartstreamCollector())
    record(0.1)
    text = generate_latest(registry).decode()
    assert "project_requests_total 1.0" in text
    assert 'partstream_part_bytes_total{part="meta",view="board/"} 100.0' in text


def test_metrics__odd_names_are_escaped(exporter):
    record(0.1, view='odd"\\\n/<path:x>/')
    labels = [s.labels["view"] for s in scrape(exporter)["partstream_response_seconds"]]
    assert set(labels) == {'odd"\\\n/<path:x>/'}


@needs_redis
def test_metrics__while_the_store_hangs_no_counter_decreases(exporter, redis_server, settings):
    """The scrape succeeds without them. Those of this worker alone would look like a reset."""
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_server.url}
    }
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore"}
    record(0.1)
    assert value(scrape(exporter)["partstream_workers"], "partstream_workers") == 1
    with redis_server.paused():
        record(0.1)
        found = scrape(exporter)
    assert value(found["partstream_workers"], "partstream_workers") == 0
    assert not found["partstream_response_seconds"]
    assert not found["partstream_part_queries"]
