"""The measurement of one response and its parts, for the process's recorder."""

from __future__ import annotations

from time import perf_counter

from django.http import HttpRequest

from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.performance import queries
from partstream.performance.memory import PeakGrowth
from partstream.performance.recorder import Response, recorder

from .observation import Observation

_growth = PeakGrowth()


class Measurement(Observation):
    """Measures a response, from `begin` to `end`; then call `close`.

    Args:
        tracks: Whether queries and memory are measured, too.
    """

    def __init__(self, *, tracks: bool) -> None:
        self._started = perf_counter()
        super().__init__(counts_queries=tracks)
        #: Of the queries that are not a part's.
        self._durations: list[float] | None = [] if tracks else None
        self._before: list[float] | None = None

    @classmethod
    def begin(cls, request: HttpRequest) -> Measurement | None:
        """Begin to measure the response to a request; None: monitoring is off."""
        try:
            settings = get_settings()
        except Misuse:
            return None  # Other views than partstream's need no settings.
        if not settings.ENABLE_MONITORING:
            return None
        measurement = cls(tracks=settings.TRACK_PERFORMANCE)
        measurement.attach(request)
        if measurement._durations is not None:
            queries.count_queries()
            measurement._before = queries.current.get()
            queries.current.set(measurement._durations)
        return measurement

    def close(self, request: HttpRequest) -> None:
        """Stop counting queries."""
        self.detach(request)
        if self._durations is not None:
            queries.current.set(self._before)

    def end(self, view: str, status: int) -> None:
        """Record the response.

        Args:
            view: The route of the view.
            status: The status of the response; 0: the client left before there was one.
        """
        now = perf_counter()
        durations = self._durations
        parts = [
            (
                outcome.name,
                outcome.source if outcome.failure is None else outcome.failure.code,
                outcome.duration,
                0 if outcome.fragment is None else len(outcome.fragment),
            )
            for outcome in self.outcomes.values()
        ]
        recorder.record(
            Response(
                view,
                status,
                now - self._started,
                parts,
                self.pending,
                self.looked_up,
                durations,
                self.queries,
                0 if durations is None else _growth.take(now),
            )
        )
