"""The instrumentor for OpenTelemetry, beside that of Django: what the SDK exports."""

from __future__ import annotations

import pytest
from django.db import connection
from django.urls import path

from partstream import ProgressiveView, cached_for, lazy, safe_call
from partstream.resolution.observers import get_observers
from tests.support.concurrency import HeldCoroutine, wait_until
from tests.support.marks import leaves_transaction, timed
from tests.support.requirements import demand
from tests.support.walk_client import at, get_json

pytestmark = [pytest.mark.django_db, leaves_transaction]


class Exported:
    """What was exported."""

    def __init__(self, spans, metrics, tracer):
        self._spans = spans
        self._metrics = metrics
        self.tracer = tracer

    def spans(self):
        """Name -> finished span."""
        return {span.name: span for span in self._spans.get_finished_spans()}

    def points(self, name):
        """The data points of a metric."""
        data = self._metrics.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def exported(settings):
    demand("opentelemetry.sdk", "opentelemetry.instrumentation.django")
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from partstream.contrib.opentelemetry import PartstreamInstrumentor

    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    providers = {"tracer_provider": tracers, "meter_provider": meters}
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    instrumentors = DjangoInstrumentor(), PartstreamInstrumentor()
    for instrumentor in instrumentors:
        instrumentor.instrument(**providers, skip_dep_check=True)
    yield Exported(spans, reader, tracers.get_tracer("tests"))
    for instrumentor in instrumentors:
        instrumentor.uninstrument()
    assert not get_observers()
    tracers.shutdown()
    meters.shutdown()


def load(request, **dependencies):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return 1


def fail(request):
    raise ValueError("password=hunter2")


def serve(mount, parts, **attributes):
    attributes = {"parts": parts, "chunk_size": len(parts), **attributes}
    mount(path("board/<int:pk>/", type("Board", (ProgressiveView,), attributes).as_view()))
    return "/board/7/"


def test_spans__one_a_part_below_that_of_django(exported, mount, client):
    url = serve(
        mount,
        [
            ("meta", 1),
            ("orders", lazy(load)),
            ("rates", lazy(fail)),
            ("safe", lazy(safe_call(fail, fallback=[]))),
        ],
    )
    get_json(client, url)
    spans = exported.spans()
    server = spans.pop("GET board/<int:pk>/")
    assert spans.keys() == {"part meta", "part orders", "part rates", "part safe"}
    for name, span in spans.items():
        assert span.parent.span_id == server.context.span_id
        assert span.attributes["partstream.part"] == name.removeprefix("part ")
        assert span.attributes["http.route"] == "board/<int:pk>/"
        assert server.start_time <= span.start_time <= span.end_time <= server.end_time
    assert spans["part orders"].attributes["partstream.source"] == "loader"
    assert spans["part safe"].attributes["partstream.source"] == "fallback"
    failed = spans["part rates"]
    assert failed.attributes["error.type"] == "part_failed"
    assert not failed.status.is_ok
    assert spans["part orders"].status.is_unset
    assert "hunter2" not in str([span.to_json() for span in spans.values()])


def test_spans__what_a_part_does_is_below_it_in_every_thread(exported, mount, client, threads):
    def trace(name):
        def load(request):
            with exported.tracer.start_as_current_span(name):
                return 1

        return load

    async def trace_async(request):
        with exported.tracer.start_as_current_span("inner b"):
            return 1

    url = serve(mount, [("a", lazy(trace("inner a"))), ("b", lazy(trace_async))], executor=threads)
    get_json(client, url)
    spans = exported.spans()
    for name in "ab":
        inner, part = spans[f"inner {name}"], spans[f"part {name}"]
        assert inner.parent.span_id == part.context.span_id
        assert part.parent.span_id == spans["GET board/<int:pk>/"].context.span_id


def test_spans__without_a_duration_for_parts_from_a_cache(exported, mount, client, empty_cache):
    url = serve(mount, [("orders", lazy(cached_for(60, shared=True)(load)))])
    get_json(client, url)
    exported._spans.clear()
    get_json(client, url)
    span = exported.spans()["part orders"]
    assert span.attributes["partstream.source"] == "cache"


def test_spans__of_a_part_that_goes_on_after_its_response(
    exported, mount, client, held, threads, empty_cache
):
    slow = held("late")
    url = serve(mount, [("quick", 1), ("slow", lazy(slow))], executor=threads, time_budget=0.05)
    first = get_json(client, url)
    assert "part slow" not in exported.spans()
    slow.release()
    get_json(client, at(url, first["cursor"]))
    wait_until(lambda: len(exported._spans.get_finished_spans()) >= 5)
    names = [span.name for span in exported._spans.get_finished_spans()]
    sources = [
        span.attributes["partstream.source"]
        for span in exported._spans.get_finished_spans()
        if span.name == "part slow"
    ]
    assert names.count("part slow") == 2
    # Where it came from depends on whether it had ended before the second request.
    assert sources.count("loader") == 1
    assert {"joined", "cache"} & set(sources)


@timed
def test_spans__of_a_part_that_failed_after_its_timeout(exported, mount, client, held, threads):
    slow = held(error=ValueError("late"))
    url = serve(mount, [("slow", lazy(slow, timeout=0.05))], executor=threads)
    assert get_json(client, url)["errors"][0]["code"] == "part_timeout"
    slow.release()
    wait_until(lambda: "part slow" in exported.spans())
    assert exported.spans()["part slow"].attributes["error.type"] == "part_timeout"


@timed
def test_spans__of_a_coroutine_that_is_cancelled(exported, mount, client, held, threads):
    slow = held(kind=HeldCoroutine)
    url = serve(mount, [("slow", lazy(slow, timeout=0.05))], executor=threads)
    assert get_json(client, url)["errors"][0]["code"] == "part_timeout"
    assert exported.spans()["part slow"].attributes["error.type"] == "part_timeout"


def test_metrics__follow_the_conventions(exported, mount, client):
    url = serve(mount, [("orders", lazy(load)), ("rates", lazy(fail))])
    for _ in range(3):
        get_json(client, url)
    points = {
        point.attributes["partstream.part"]: point
        for point in exported.points("partstream.part.duration")
    }
    assert points.keys() == {"orders", "rates"}
    assert points["orders"].count == 3
    assert dict(points["orders"].attributes) == {
        "http.route": "board/<int:pk>/",
        "partstream.part": "orders",
        "partstream.source": "loader",
    }
    assert points["rates"].attributes["error.type"] == "part_failed"
    assert points["orders"].explicit_bounds[0] == 0.005
    states = {point.attributes["state"] for point in exported.points("partstream.executor.calls")}
    assert states == {"queued", "running", "abandoned"}


def test_instrumentor__is_found_by_the_command(exported):
    from importlib.metadata import entry_points

    (found,) = entry_points(group="opentelemetry_instrumentor", name="partstream")
    assert found.load() is type(found.load()())
    assert found.load()().instrumentation_dependencies() == ("django-partstream",)


def test_instrumentor__uninstrumented_it_does_nothing(exported, mount, client):
    from partstream.contrib.opentelemetry import PartstreamInstrumentor

    PartstreamInstrumentor().uninstrument()
    get_json(client, serve(mount, [("orders", lazy(load))]))
    assert exported.spans().keys() == {"GET board/<int:pk>/"}
    PartstreamInstrumentor().instrument(skip_dep_check=True)
