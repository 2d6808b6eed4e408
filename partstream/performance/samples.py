"""Measurements added up: one `Samples` for each set of labels, in a table of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from .histograms import bucket_of

#: Measure, route of the view, part ("" for a whole response), outcome.
Labels = tuple[str, str, str, str]

#: The time from the first middleware to the finished response, of all responses but streams.
RESPONSE: Final = "response"
#: The time from the first middleware to the end of a stream: its last record, or the departure of
#: its client.
STREAM: Final = "stream"
#: The time from the first middleware to the opening record of a stream.
FIRST_RECORD: Final = "first_record"
#: The time from the first middleware to the first record that has a part, failed or not. It is the
#: opening record if there are immediate parts.
FIRST_PART: Final = "first_part"
#: The streams that began with a cursor; only their number counts.
RESUME: Final = "resume"
#: The time that a part took.
PART: Final = "part"
#: The outages of a store; its class name is the outcome.
OUTAGE: Final = "outage"

#: Outcomes of a response.
OK: Final = "ok"
PART_ERRORS: Final = "part_errors"
THROTTLED: Final = "throttled"
REFUSED: Final = "refused"
FAILED: Final = "failed"
#: There was no response: the client left before, under ASGI. Of a stream: it left before the end.
DEPARTED: Final = "departed"

#: Outcomes of a stream: those of `partstream.streams.records.End`, `PART_ERRORS` instead of
#: `COMPLETE`, and the refusal of a process that has ``MAX_STREAMS`` already.
COMPLETE: Final = "complete"
TIME_LIMIT: Final = "time_limit"
FULL: Final = "streams_full"

#: Outcomes of a part that has data, and of one that was left to a later chunk. All others are codes
#: of errors.
CACHE: Final = "cache"
PENDING: Final = "pending"
WITHOUT_ERROR: Final = frozenset({"immediate", "loader", CACHE, "fallback", "joined", PENDING})

#: The maximum number of sets of labels in a table.
MAX_LABELS: Final = 2000
#: Stands for all views, parts and codes beyond that.
OTHER: Final = "(other)"

_MICRO = 1_000_000
_KNOWN = WITHOUT_ERROR | {
    *("", OK, PART_ERRORS, THROTTLED, REFUSED, FAILED, DEPARTED),
    *(COMPLETE, TIME_LIMIT, FULL),
}


class Samples:
    """What was measured under one set of labels.

    Sums are integers: those of many workers are the same in whatever order they are added up, so
    that a counter does not seem to decrease when another worker answers for all.

    Attributes:
        count: The number of samples.
        microseconds: The sum of their durations.
        buckets: The histogram of the durations, see `histograms`.
        tracked: The number of samples whose queries and sizes were measured.
        queries: The sum of their queries.
        query_microseconds: The sum of the durations of those.
        size: The sum of their sizes in bytes: the JSON of a part, or by how much a response raised
            the peak of the worker's memory.
        largest: The largest of these sizes.
        lookups: How many times a cache was asked.
    """

    __slots__ = (
        "buckets",
        "count",
        "largest",
        "lookups",
        "microseconds",
        "queries",
        "query_microseconds",
        "size",
        "tracked",
    )

    def __init__(self) -> None:
        self.count = self.tracked = self.queries = self.size = self.largest = self.lookups = 0
        self.microseconds = self.query_microseconds = 0
        self.buckets: dict[int, int] = {}

    @property
    def seconds(self) -> float:
        """The sum of the durations."""
        return self.microseconds / _MICRO

    @property
    def query_seconds(self) -> float:
        """The sum of the durations of the queries."""
        return self.query_microseconds / _MICRO

    def add(self, seconds: float, lookups: int = 0) -> None:
        """Add one duration."""
        self.count += 1
        self.microseconds += round(seconds * _MICRO)
        self.lookups += lookups
        bucket = bucket_of(seconds)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1

    def track(self, durations: Collection[float], size: int) -> None:
        """Add the queries, by their durations, and the size that belong to the last duration."""
        self.tracked += 1
        self.size += size
        if size > self.largest:
            self.largest = size
        if durations:
            self.queries += len(durations)
            self.query_microseconds += round(sum(durations) * _MICRO)

    def merge(self, other: Samples) -> None:
        """Add all samples of another."""
        self.count += other.count
        self.microseconds += other.microseconds
        self.tracked += other.tracked
        self.queries += other.queries
        self.query_microseconds += other.query_microseconds
        self.size += other.size
        self.largest = max(self.largest, other.largest)
        self.lookups += other.lookups
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def payload(self) -> list[Any]:
        """The values as plain data, see `from_payload`.

        The buckets are the lowest one, then the counts from there on.
        """
        buckets = self.buckets
        lowest, highest = min(buckets, default=0), max(buckets, default=-1)
        return [
            self.count,
            self.microseconds,
            self.tracked,
            self.queries,
            self.query_microseconds,
            self.size,
            self.largest,
            self.lookups,
            [lowest, *(buckets.get(bucket, 0) for bucket in range(lowest, highest + 1))],
        ]

    @classmethod
    def from_payload(cls, payload: list[Any]) -> Samples:
        """The samples of a `payload`."""
        made = cls()
        (
            made.count,
            made.microseconds,
            made.tracked,
            made.queries,
            made.query_microseconds,
            made.size,
            made.largest,
            made.lookups,
            (lowest, *counts),
        ) = payload
        made.buckets = {bucket: count for bucket, count in enumerate(counts, lowest) if count}
        return made


class Table:
    """Labels -> samples. Beyond `MAX_LABELS` sets of labels, further ones count as `OTHER`."""

    def __init__(self) -> None:
        self._samples: dict[Labels, Samples] = {}

    def __bool__(self) -> bool:
        return bool(self._samples)

    def __iter__(self) -> Iterator[tuple[Labels, Samples]]:
        return iter(self._samples.items())

    def of(self, labels: Labels) -> Samples:
        """The samples of these labels, to add to."""
        samples = self._samples.get(labels)
        if samples is None:
            samples = self._made(labels)
        return samples

    def _made(self, labels: Labels) -> Samples:
        if len(self._samples) >= MAX_LABELS:
            measure, _, part, outcome = labels
            labels = (measure, OTHER, part and OTHER, outcome if outcome in _KNOWN else OTHER)
        # These are few, so they may exceed the limit.
        return self._samples.setdefault(labels, Samples())

    def merge(self, other: Table) -> None:
        """Add all samples of another table."""
        for labels, samples in other:
            self.of(labels).merge(samples)

    def select(self, measure: str, view: str | None = None, part: str | None = None) -> Samples:
        """The samples of a measure together; None: of all views, or of all parts."""
        found = Samples()
        for _, samples in self.chosen(measure, view, part):
            found.merge(samples)
        return found

    def chosen(
        self, measure: str, view: str | None = None, part: str | None = None
    ) -> Iterator[tuple[str, Samples]]:
        """Pairs of an outcome and its samples; None: of all views, or of all parts."""
        for (of_measure, of_view, of_part, outcome), samples in self:
            if of_measure == measure and view in (None, of_view) and part in (None, of_part):
                yield outcome, samples

    def payload(self) -> list[Any]:
        """The table as plain data, see `from_payload`."""
        return [[*labels, samples.payload()] for labels, samples in self]

    @classmethod
    def from_payload(cls, payload: Iterable[Any]) -> Table:
        """The table of a `payload`."""
        made = cls()
        for *labels, samples in payload:
            measure, view, part, outcome = labels
            made._samples[measure, view, part, outcome] = Samples.from_payload(samples)
        return made
