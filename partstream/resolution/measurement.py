"""The measurement of one response and its parts, for the process's recorder."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.parts.outcome import Outcome
from partstream.performance import queries, samples
from partstream.performance.recorder import Measured, recorder

from .observation import Observation

_ATTRIBUTE: Final = "_partstream_measurement"


class Measurement:
    """Measures a response, from `begin` to `end`. In between, it counts queries as a context.

    Args:
        tracks: Whether queries and memory are measured, too.
    """

    __slots__ = ("_before", "_counter", "_observation", "_request", "_started")

    @classmethod
    def begin(cls, request: HttpRequest) -> Measurement | None:
        """Begin to measure; None: monitoring is off."""
        try:
            settings = get_settings()
        except Misuse:
            return None  # Other views than partstream's go on without settings.
        if not settings.ENABLE_MONITORING:
            return None
        return cls(request, tracks=settings.TRACK_PERFORMANCE)

    def __init__(self, request: HttpRequest, *, tracks: bool) -> None:
        self._started = perf_counter()
        self._request = request
        self._counter = queries.QueryCounter() if tracks else None
        self._observation: Observation | None = None
        self._before: queries.QueryCounter | None = None

    @staticmethod
    def of(request: HttpRequest) -> Measurement | None:
        """The measurement of a request that is being answered."""
        found: Measurement | None = request.__dict__.get(_ATTRIBUTE)
        return found

    def __enter__(self) -> None:
        setattr(self._request, _ATTRIBUTE, self)
        if self._counter is not None:
            queries.count_queries()
            self._before = queries.current.get()
            queries.current.set(self._counter)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._counter is not None:
            queries.current.set(self._before)
        self._request.__dict__.pop(_ATTRIBUTE, None)
        Observation.detach(self._request)

    def observe(self) -> None:
        """Measure the response of the view that was found for the request."""
        self._observation = Observation(counts_queries=self._counter is not None)
        self._observation.attach(self._request)

    def end(self, response: HttpResponseBase) -> None:
        """Record the response, if it is one to `observe`."""
        observation = self._observation
        if observation is None:
            return
        seconds = perf_counter() - self._started
        match = self._request.resolver_match
        measured = Measured(
            match.route if match is not None else "",
            _outcome_of(response.status_code, observation.outcomes),
            seconds,
            tracked=self._counter is not None,
        )
        parts, looked_up = measured.parts, observation.looked_up
        counters = observation.queries
        for name, outcome in observation.outcomes.items():
            source, fragment = outcome.source, outcome.fragment
            kind = source if outcome.failure is None else outcome.failure.code
            lookups = 1 if source == samples.CACHE or name in looked_up else 0
            counter = counters.get(name)
            count, spent = (0, 0.0) if counter is None else (counter.count, counter.seconds)
            size = 0 if fragment is None else len(fragment)
            parts.append((name, kind, outcome.duration, lookups, count, spent, size))
        for name in observation.pending:
            lookups = 1 if name in looked_up else 0
            parts.append((name, samples.PENDING, seconds, lookups, 0, 0.0, 0))
        if self._counter is not None:
            measured.queries = self._counter.count
            measured.query_seconds = self._counter.seconds
            for counter in counters.values():
                measured.queries += counter.count
                measured.query_seconds += counter.seconds
        recorder.record(measured)


def _outcome_of(status: int, outcomes: Mapping[str, Outcome]) -> str:
    if status >= 500:
        return samples.FAILED
    if status == 429:
        return samples.THROTTLED
    if status >= 400:
        return samples.REFUSED
    if any(outcome.failure is not None for outcome in outcomes.values()):
        return samples.PART_ERRORS
    return samples.OK
