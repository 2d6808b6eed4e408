"""Metrics for Prometheus, of all workers together; needs prometheus_client.

Install the extra: ``pip install 'django-partstream[prometheus]'``. Each worker publishes its
histograms in the cache store, so any of them can answer for all: prometheus_client's mode for
several processes, with its files, is not needed. The histograms' bounds are powers of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from partstream.performance.entries import SLICE_SECONDS
from partstream.performance.histograms import count_up_to
from partstream.performance.publication import publisher
from partstream.performance.samples import (
    FIRST_PART,
    FIRST_RECORD,
    OUTAGE,
    PART,
    RESPONSE,
    RESUME,
    STREAM,
    Samples,
    Table,
)

#: Bounds of the buckets: from 2 ** -8 s, which is 4 ms, to 2 ** 6 s.
_EXPONENTS: Final = range(-8, 7)


class PartstreamCollector(Collector):
    """Collects the metrics of all workers.

    ==========================================  ================================================
    ``partstream_response_seconds``             Histogram by ``view`` and ``outcome``, without
                                                streams.
    ``partstream_response_queries_total``       Database queries, by ``view``, without streams.
    ``partstream_stream_seconds``               Histogram by ``view`` and ``outcome``, of streams.
    ``partstream_stream_first_record_seconds``  Histogram by ``view``.
    ``partstream_stream_first_part_seconds``    Histogram by ``view``.
    ``partstream_stream_resumes_total``         Streams that began with a cursor, by ``view``.
    ``partstream_stream_queries_total``         Database queries of streams, by ``view``.
    ``partstream_open_streams``                 Streams that have not ended.
    ``partstream_part_seconds``                 Histogram by ``view``, ``part`` and ``outcome``.
    ``partstream_part_queries_total``           Database queries, by ``view`` and ``part``.
    ``partstream_part_bytes_total``             JSON, by ``view`` and ``part``.
    ``partstream_cache_lookups_total``          Look-ups of parts in a cache, by ``view`` and
                                                ``part``.
    ``partstream_store_outages_total``          Outages of a store, by ``store``.
    ``partstream_workers``                      Workers that have published lately.
    ``partstream_worker_memory_bytes``          Resident memory of the largest worker.
    ``partstream_calls``                        Calls in executors, by ``state``.
    ==========================================  ================================================

    ``view`` is the route; the outcomes are those of `PerformanceMonitor.get_outcomes` and
    `PerformanceMonitor.get_stream_outcomes`.

    Example::

        from prometheus_client import REGISTRY

        REGISTRY.register(PartstreamCollector())
    """

    def collect(self) -> Iterator[Metric]:
        """The metrics. It reads what the workers have published."""
        published = publisher.read(SLICE_SECONDS)
        totals = published.totals
        for name, text, measure in (
            ("response_seconds", "the finished response.", RESPONSE),
            ("stream_seconds", "the end of a stream.", STREAM),
        ):
            yield _histogram(
                f"partstream_{name}",
                f"Seconds from the first middleware to {text}",
                ("view", "outcome"),
                (((view, outcome), found) for view, _, outcome, found in _of(totals, measure)),
            )
        for name, text, measure in (
            ("first_record_seconds", "the opening record of a stream.", FIRST_RECORD),
            ("first_part_seconds", "the first record of a stream that has a part.", FIRST_PART),
        ):
            yield _histogram(
                f"partstream_stream_{name}",
                f"Seconds from the first middleware to {text}",
                ("view",),
                (((view,), found) for view, _, _, found in _of(totals, measure)),
            )
        yield _histogram(
            "partstream_part_seconds",
            "Seconds that a part took.",
            ("view", "part", "outcome"),
            (((view, part, outcome), found) for view, part, outcome, found in _of(totals, PART)),
        )
        for name, text, measure, attribute in (
            ("response_queries", "Database queries of responses.", RESPONSE, "queries"),
            ("stream_queries", "Database queries of streams.", STREAM, "queries"),
            ("stream_resumes", "Streams that began with a cursor.", RESUME, "count"),
            ("part_queries", "Database queries of parts.", PART, "queries"),
            ("part_bytes", "Bytes of the JSON of parts.", PART, "size"),
            ("cache_lookups", "Look-ups of parts in a cache.", PART, "lookups"),
        ):
            yield _counter(f"partstream_{name}", text, totals, measure, attribute)
        outages = CounterMetricFamily(
            "partstream_store_outages", "Outages of stores.", labels=("store",)
        )
        for _, _, store, samples in _of(totals, OUTAGE):
            outages.add_metric((store,), samples.count)
        yield outages
        yield GaugeMetricFamily(
            "partstream_workers", "Workers that have published lately.", published.workers
        )
        memory = max(published.gauges.get("memory", ()), default=0)
        yield GaugeMetricFamily(
            "partstream_worker_memory_bytes", "Resident memory of the largest worker.", memory
        )
        calls = GaugeMetricFamily("partstream_calls", "Calls in executors.", labels=("state",))
        for gauge in ("queued_calls", "running_calls", "abandoned_calls"):
            state = gauge.partition("_")[0]
            calls.add_metric((state,), sum(published.gauges.get(gauge, ())))
        yield calls
        yield GaugeMetricFamily(
            "partstream_open_streams",
            "Streams that have not ended.",
            sum(published.gauges.get("open_streams", ())),
        )

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that knows no names ahead need not collect to register."""
        return ()


def _of(table: Table, measure: str) -> Iterator[tuple[str, str, str, Samples]]:
    for (of, view, part, outcome), samples in table:
        if of == measure:
            yield view, part, outcome, samples


def _histogram(
    name: str,
    text: str,
    labels: tuple[str, ...],
    series: Iterable[tuple[tuple[str, ...], Samples]],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, samples in series:
        buckets = [
            (str(2.0**exponent), count_up_to(samples.buckets, exponent)) for exponent in _EXPONENTS
        ]
        family.add_metric(values, [*buckets, ("+Inf", samples.count)], samples.seconds)
    return family


def _counter(name: str, text: str, totals: Table, measure: str, attribute: str) -> Metric:
    labels = ("view", "part") if measure == PART else ("view",)
    sums: dict[tuple[str, ...], float] = {}
    for view, part, _, samples in _of(totals, measure):
        values = (view, part)[: len(labels)]
        sums[values] = sums.get(values, 0) + getattr(samples, attribute)
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in sums.items():
        family.add_metric(values, value)
    return family


_registry = CollectorRegistry()
_registry.register(PartstreamCollector())


def metrics(request: HttpRequest) -> HttpResponse:
    """A view of partstream's metrics alone, in a format that the scraper accepts.

    They tell the routes of your views and the names of their parts: let only Prometheus reach it.

    Example::

        path("metrics/", metrics)
    """
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_registry), content_type=content_type)
