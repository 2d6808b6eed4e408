"""Traces and metrics for OpenTelemetry; needs opentelemetry-instrumentation.

Install the extra: ``pip install 'django-partstream[opentelemetry]'``. ``opentelemetry-instrument``
finds the instrumentor by itself. Without that command, call it once for each process, beside
the instrumentor of Django::

    DjangoInstrumentor().instrument()
    PartstreamInstrumentor().instrument()
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from opentelemetry import context, metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from rest_framework.request import Request
from rest_framework.views import APIView

from partstream import __version__
from partstream.backends.executors.pool import count_calls
from partstream.parts.outcome import Outcome
from partstream.resolution.observers import (
    PartObserver,
    PartRun,
    StreamRun,
    add_observer,
    remove_observer,
)
from partstream.streams.registry import count_open_streams

_SCOPE: Final = "partstream"
_SPAN: Final = "span"
#: Seconds, as the conventions advise for HTTP
#: (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/).
_BOUNDARIES: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
#: The same, up to the default of ``STREAM_MAX_SECONDS`` and more.
_STREAM_BOUNDARIES: Final = (*_BOUNDARIES, 25.0, 60.0)
#: Codes of parts that fail before they run.
_NOT_RUN: Final = frozenset({"dependency_failed", "capacity"})


class PartstreamInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Makes a span for each part, and metrics of all parts.

    Spans are named ``part <name>``, and are children of the span in force when the request's view
    resolves its parts, which is that of Django's instrumentor. Spans of database queries that the
    part makes are its children, in whatever thread it runs. A part that a cache or another request
    delivers has a span without a duration. A part that goes on after its response has a span
    that ends after its parent's.

    A stream has a span, ``stream``, below the span of Django's instrumentor. That one ends when the
    view has returned; this one ends with the stream, and the spans of its parts are below it.

    ==============================  ==============================================================
    ``partstream.part``             The part; on spans and metrics.
    ``partstream.source``           Where its data came from: see
                                    `PerformanceMonitor.get_outcomes`.
    ``http.route``                  The route of the view.
    ``error.type``                  The code of its error, if it failed; ``stream_failed`` for a
                                    stream that crashed.
    ``partstream.queries``          The number of its database queries, if they are counted; on
                                    spans.
    ``partstream.stream.resumed``   Whether the stream began with a cursor; on its span.
    ``partstream.stream.records``   The number of its records; on its span.
    ``partstream.stream.parts``     The number of parts in them; on its span.
    ``partstream.stream.end``       How it ended: ``complete``, ``time_limit``, ``departed`` or
                                    ``failed``; on its span and its metric.
    ==============================  ==============================================================

    The metrics are ``partstream.part.duration`` and ``partstream.stream.duration`` (histograms, in
    seconds), ``partstream.executor.calls`` (by ``state``: queued, running, abandoned), and
    ``partstream.stream.open`` (the number of open streams of the process).

    Args of ``instrument()``:
        tracer_provider: Instead of the global one.
        meter_provider: Instead of the global one.
    """

    _observer: _Observer | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The distribution that is instrumented."""
        return ("django-partstream",)

    def _instrument(self, **kwargs: Any) -> None:
        tracer = trace.get_tracer(_SCOPE, __version__, kwargs.get("tracer_provider"))
        meter = metrics.get_meter(_SCOPE, __version__, kwargs.get("meter_provider"))
        self._observer = _Observer(tracer, meter)
        add_observer(self._observer)

    def _uninstrument(self, **kwargs: Any) -> None:
        if self._observer is not None:
            remove_observer(self._observer)
            self._observer = None


class _Observer(PartObserver):
    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            "partstream.part.duration",
            unit="s",
            description="Duration of parts: loader, serializer and encoding.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        meter.create_observable_up_down_counter(
            "partstream.executor.calls",
            callbacks=[_count_calls],
            unit="{call}",
            description="Calls in the pools of executors.",
        )
        self._stream_duration = meter.create_histogram(
            "partstream.stream.duration",
            unit="s",
            description="Duration of streams, from the view to the end.",
            explicit_bucket_boundaries_advisory=_STREAM_BOUNDARIES,
        )
        meter.create_observable_up_down_counter(
            "partstream.stream.open",
            callbacks=[_count_streams],
            unit="{stream}",
            description="Streams that have not ended.",
        )

    def running(self, run: PartRun) -> AbstractContextManager[Any]:
        """See `PartObserver.running`."""
        span = run.notes.get(_SPAN)
        if span is None:
            span = run.notes[_SPAN] = self._start(run.request, run.name)
        return trace.use_span(
            span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )

    def ended(self, run: PartRun, outcome: Outcome | None) -> None:
        """See `PartObserver.ended`."""
        span: Span = run.notes[_SPAN]
        if run.queries is not None:
            span.set_attribute("partstream.queries", len(run.queries))
        if outcome is None:
            _fail(span, "part_timeout")
        else:
            _describe(span, outcome)
        span.end()

    def resolved(
        self, view: APIView, request: Request, outcomes: Sequence[Outcome], pending: Sequence[str]
    ) -> None:
        """See `PartObserver.resolved`."""
        for outcome in outcomes:
            attributes = _attributes(request, outcome.name)
            attributes["partstream.source"] = outcome.source
            code = None if outcome.failure is None else outcome.failure.code
            if code is not None:
                attributes["error.type"] = code
            self._duration.record(outcome.duration, attributes)
            if outcome.source in ("cache", "joined") or code in _NOT_RUN:
                span = self._start(request, outcome.name)
                _describe(span, outcome)
                span.end()

    def stream_began(self, run: StreamRun) -> None:
        """See `PartObserver.stream_began`."""
        attributes: dict[str, bool | str] = {
            "partstream.stream.resumed": run.resumes,
            **_route(run.request),
        }
        span = run.notes[_SPAN] = self._tracer.start_span("stream", attributes=attributes)
        # Nothing detaches it: the context is that of the stream, and ends with it.
        context.attach(trace.set_span_in_context(span))

    def stream_ended(self, run: StreamRun) -> None:
        """See `PartObserver.stream_ended`."""
        span: Span = run.notes[_SPAN]
        end = {"partstream.stream.end": str(run.end)}
        seconds = 0.0 if run.ended is None else run.ended - run.started
        self._stream_duration.record(seconds, {**end, **_route(run.request)})
        span.set_attributes(
            {
                **end,
                "partstream.stream.records": run.records,
                "partstream.stream.parts": run.parts,
            }
        )
        if run.end == "failed":
            _fail(span, "stream_failed")
        span.end()

    def _start(self, request: Request, name: str) -> Span:
        return self._tracer.start_span(f"part {name}", attributes=_attributes(request, name))


def _attributes(request: Request, name: str) -> dict[str, str]:
    return {"partstream.part": name, **_route(request)}


def _route(request: Request) -> dict[str, str]:
    match = request._request.resolver_match
    return {} if match is None else {"http.route": match.route}


def _describe(span: Span, outcome: Outcome) -> None:
    span.set_attribute("partstream.source", outcome.source)
    if outcome.failure is not None:
        _fail(span, outcome.failure.code)


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))


def _count_calls(_: CallbackOptions) -> Iterable[Observation]:
    calls = count_calls()
    states = {"queued": calls.queued, "running": calls.running, "abandoned": calls.abandoned}
    return [Observation(count, {"state": state}) for state, count in states.items()]


def _count_streams(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(count_open_streams())]
