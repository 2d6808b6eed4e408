"""The measurement of one response and its parts, for the process's recorder."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from django.http import HttpRequest

from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.parts.outcome import size_of
from partstream.performance import queries
from partstream.performance.memory import PeakGrowth
from partstream.performance.recorder import Response, StreamFigures, recorder
from partstream.performance.samples import FULL

from .observation import Observation
from .observers import StreamRun

_growth = PeakGrowth()

_OK: Final = 200


class Measurement(Observation):
    """Measures a response, from `begin` to `end`; then call `close`.

    A stream ends later than its view and all middleware: call `end_with_stream` instead of `end`.

    Args:
        tracks: Whether queries and memory are measured, too.
    """

    #: Of a stream that is sent: the route of its view.
    _view: str | None = None
    #: Of a stream that has ended, or was refused.
    _figures: StreamFigures | None = None

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

    def end_with_stream(self, view: str, status: int, *, is_sent: bool) -> None:
        """Record the response when its stream ends; at once if it is not sent.

        Args:
            view: See `end`.
            status: See `end`.
            is_sent: Whether the response is a stream. Other middleware may have replaced it by one
                of its own.
        """
        figures = self._figures
        if not is_sent and (figures is None or figures.end != FULL):
            self.end(view, status)
        elif figures is None:
            self._view = view
        else:
            self.end(view, status, figures)

    def end_stream(self, run: StreamRun) -> None:
        """See `Observation.end_stream`. A stream that was not sent is not recorded."""
        super().end_stream(run)
        began = self._started
        self._figures = StreamFigures(
            end=str(run.end),
            resumes=run.resumes,
            first_record=None if run.first_record is None else run.first_record - began,
            first_part=None if run.first_part is None else run.first_part - began,
        )
        if self._view is not None:
            self.end(self._view, _OK, self._figures)

    def refuse_stream(self) -> None:
        """See `Observation.refuse_stream`."""
        super().refuse_stream()
        self._figures = StreamFigures(FULL)

    def end(self, view: str, status: int, stream: StreamFigures | None = None) -> None:
        """Record the response.

        Args:
            view: The route of the view.
            status: The status of the response; 0: the client left before there was one.
            stream: What is measured of a stream only.
        """
        now = perf_counter()
        durations = self._durations
        parts = [
            (
                outcome.name,
                outcome.source if outcome.failure is None else outcome.failure.code,
                outcome.duration,
                # A stream drops fragments that were sent: they are empty, as no JSON is.
                0 if outcome.fragment is None else len(outcome.fragment) or size_of(outcome),
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
                stream,
            )
        )
