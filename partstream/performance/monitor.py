"""The monitor: what all workers have measured lately, as figures."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from partstream.exceptions import Misuse

from .entries import SLICE_SECONDS
from .histograms import percentile
from .publication import RETENTION, Published, publisher
from .samples import (
    CACHE,
    FAILED,
    FIRST_PART,
    FIRST_RECORD,
    FULL,
    PART,
    PART_ERRORS,
    RESPONSE,
    RESUME,
    STREAM,
    WITHOUT_ERROR,
    Samples,
)

#: Seconds for which a monitor uses what it has read.
_FRESH_SECONDS = 1.0
_FAILURES = frozenset({FAILED, PART_ERRORS, FULL})
#: What a time of a stream may be measured until -> its measure.
_UNTIL = {"first_record": FIRST_RECORD, "first_part": FIRST_PART, "end": STREAM}


class PerformanceMonitor:
    """Figures of all workers together, over the last seconds.

    Workers measure with ``PerformanceMiddleware``, and publish in the cache store. If processes do
    not share that store, you see the current process alone; while it is down, what the current
    process could not publish.

    All methods take the same two arguments: ``view`` is the route of a view, such as
    ``"api/dashboard/"``, and ``part`` the name of a part. Without ``part``, a figure is about
    whole responses; without ``view``, about those of all views. Without any samples, it is NaN.
    Methods about streams take ``view`` only.

    A stream counts as a response, but not in response times: it has times of its own.

    A part that moved to a later chunk counts once in each of the two: as pending, with the time so
    far, and then with the time that it took. Failed and pending parts count in all figures.

    Args:
        window: Seconds, from 15 to 900. Figures are kept in slices of 15 seconds, so they may
            cover up to 15 seconds more.

    Raises:
        Misuse: When ``window`` is not a number in this range.

    Example::

        monitor = PerformanceMonitor(window=300)
        if monitor.get_average_response_time() > 1000 or monitor.get_error_rate() > 0.01:
            alert()
    """

    def __init__(self, window: float = 300) -> None:
        if type(window) not in (int, float) or not SLICE_SECONDS <= window <= RETENTION:
            raise Misuse(
                f"PerformanceMonitor(window={window!r}): write seconds from {SLICE_SECONDS} to "
                f"{RETENTION}."
            )
        self._window = window
        self._published = Published()
        self._read_at = -math.inf

    # Figures

    def get_count(self, view: str | None = None, part: str | None = None) -> int:
        """The number of responses, or of deliveries of a part."""
        return self._every(view, part).count

    def get_average_response_time(self, view: str | None = None, part: str | None = None) -> float:
        """The average time of a response that is no stream, or of a part, in milliseconds."""
        samples = self._samples(view, part)
        return _ratio(samples.seconds * 1000, samples.count)

    def get_response_time_percentile(
        self, percent: float, view: str | None = None, part: str | None = None
    ) -> float:
        """The time in milliseconds that ``percent`` % do not exceed, within 9 %.

        Raises:
            Misuse: When ``percent`` is not above 0, and at most 100.
        """
        return _percentile(self._samples(view, part), percent)

    def get_error_rate(self, view: str | None = None, part: str | None = None) -> float:
        """The share of failures, from 0 to 1.

        A response failed if its status is 500 or above, or if it has ``errors``; a part, if it is
        among those. A stream failed if it crashed, if it was refused for ``MAX_STREAMS``, or if it
        has come to its end with ``errors``.
        """
        failed = total = 0
        recent = self._read().recent
        for measure in (RESPONSE, STREAM) if part is None else (PART,):
            for outcome, samples in recent.chosen(measure, view, part):
                total += samples.count
                is_failure = outcome in _FAILURES
                if is_failure or (part is not None and outcome not in WITHOUT_ERROR):
                    failed += samples.count
        return _ratio(failed, total)

    def get_cache_hit_rate(self, view: str | None = None, part: str | None = None) -> float:
        """The share of look-ups in the cache that found the part, from 0 to 1.

        Parts that are looked for are those with ``cached_for()``. One that its walk has kept counts
        as found, too; one that it has not kept is not counted.
        """
        found = lookups = 0
        for outcome, samples in self._read().recent.chosen(PART, view, part):
            lookups += samples.lookups
            if outcome == CACHE:
                found += samples.count
        return _ratio(found, lookups)

    def get_average_queries(self, view: str | None = None, part: str | None = None) -> float:
        """The average number of database queries; needs ``TRACK_PERFORMANCE``."""
        samples = self._every(view, part)
        return _ratio(samples.queries, samples.tracked)

    def get_average_query_time(self, view: str | None = None, part: str | None = None) -> float:
        """The average time that all queries of a response or a part took, in milliseconds."""
        samples = self._every(view, part)
        return _ratio(samples.query_seconds * 1000, samples.tracked)

    def get_memory_usage(self, view: str | None = None, part: str | None = None) -> float:
        """Bytes of memory; with arguments, it needs ``TRACK_PERFORMANCE``.

        Without arguments: the resident memory of the largest worker. With ``view``: the most by
        which one of its responses raised the peak of its worker's memory. With ``part``: the
        size of its largest JSON.
        """
        if view is None and part is None:
            return max(self._read().gauges.get("memory", ()), default=math.nan)
        samples = self._every(view, part)
        return samples.largest if samples.tracked else math.nan

    # Streams

    def get_stream_outcomes(self, view: str | None = None) -> dict[str, int]:
        """Outcome -> how many streams had it.

        ``complete``: every part was sent. ``part_errors``: the same, with ``errors`` among them.
        ``time_limit``: it was open for ``STREAM_MAX_SECONDS``. ``departed``: it was cut, for its
        client left or the server stopped. ``failed``: it ended with ``stream_error``.
        ``streams_full``: it was refused, for the process had ``MAX_STREAMS`` streams.
        """
        return self._outcomes(STREAM, view, None)

    def get_stream_resumes(self, view: str | None = None) -> int:
        """The number of streams that began with a cursor, by query or ``Last-Event-ID``."""
        return self._read().recent.select(RESUME, view).count

    def get_average_stream_time(self, view: str | None = None, until: str = "end") -> float:
        """The average time of a stream in milliseconds, from the first middleware.

        Args:
            view: The route of a view; None: all views.
            until: ``"first_record"``, which is the opening one; ``"first_part"``, the first record
                with a part, failed or not; or ``"end"``, the last record or the departure of the
                client. Refused streams count in the last one.

        Raises:
            Misuse: When ``until`` is something else.
        """
        samples = self._stream_samples(view, until)
        return _ratio(samples.seconds * 1000, samples.count)

    def get_stream_time_percentile(
        self, percent: float, view: str | None = None, until: str = "end"
    ) -> float:
        """The time in milliseconds that ``percent`` % of streams do not exceed, within 9 %.

        Args:
            percent: Above 0, at most 100.
            view: The route of a view; None: all views.
            until: See `get_average_stream_time`.

        Raises:
            Misuse: When ``percent`` or ``until`` is something else.
        """
        return _percentile(self._stream_samples(view, until), percent)

    # What there are figures about

    def get_views(self) -> list[str]:
        """The routes of the views that were measured, in alphabetical order."""
        return sorted({view for (measure, view, _, _), _ in self._read().recent if view})

    def get_parts(self, view: str | None = None) -> list[str]:
        """The names of the parts that were measured, in alphabetical order."""
        recent = self._read().recent
        return sorted({part for (_, of, part, _), _ in recent if part and view in (None, of)})

    def get_outcomes(self, view: str | None = None, part: str | None = None) -> dict[str, int]:
        """Outcome -> how many times it was measured.

        Outcomes of a response that is no stream are ``ok``, ``part_errors`` (status 200 with
        ``errors``), ``throttled`` (429), ``refused`` (another status below 500), ``failed``, and
        ``departed`` (under ASGI, the client left before there was a response). Those of a stream
        are in `get_stream_outcomes`. Those of a part are its source
        (``immediate``, ``loader``, ``cache``, ``fallback``, ``joined``), ``pending``, or the code
        of its error.
        """
        return self._outcomes(RESPONSE if part is None else PART, view, part)

    def get_workers(self) -> int:
        """The number of workers that have published figures lately.

        That is within the last five minutes, but no longer than the worker has run, and at least
        within the last 30 seconds.
        """
        return self._read().workers

    def get_gauges(self) -> Mapping[str, int]:
        """The current state of all workers together, as each last published it.

        ``queued_calls`` wait for a thread of an executor, ``running_calls`` have one, and
        ``abandoned_calls`` still run after their timeout. ``open_streams`` are streams that have
        not ended. ``memory`` is the resident memory in bytes.
        """
        return {name: sum(values) for name, values in self._read().gauges.items()}

    # Reading

    def _read(self) -> Published:
        now = time.monotonic()
        if now - self._read_at >= _FRESH_SECONDS:
            self._published = publisher.read(self._window)
            self._read_at = now
        return self._published

    def _samples(self, view: str | None, part: str | None) -> Samples:
        return self._read().recent.select(RESPONSE if part is None else PART, view, part)

    def _every(self, view: str | None, part: str | None) -> Samples:
        """The samples of responses with those of streams, or of parts."""
        samples = self._samples(view, part)
        if part is None:
            samples.merge(self._read().recent.select(STREAM, view))
        return samples

    def _stream_samples(self, view: str | None, until: str) -> Samples:
        measure = _UNTIL.get(until)
        if measure is None:
            raise Misuse(f"until={until!r}: write one of {', '.join(map(repr, _UNTIL))}.")
        return self._read().recent.select(measure, view)

    def _outcomes(self, measure: str, view: str | None, part: str | None) -> dict[str, int]:
        counts: dict[str, int] = {}
        for outcome, samples in self._read().recent.chosen(measure, view, part):
            counts[outcome] = counts.get(outcome, 0) + samples.count
        return counts


def _percentile(samples: Samples, percent: float) -> float:
    if type(percent) not in (int, float) or not 0 < percent <= 100:
        raise Misuse(f"A percentile of {percent!r} does not exist. Write for example 95.")
    return 1000 * percentile(samples.buckets, percent)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
