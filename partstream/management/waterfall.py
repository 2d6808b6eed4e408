"""The parts of a walk or a stream, as a waterfall of text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from partstream.parts.outcome import Outcome
from partstream.resolution.observers import PartObserver, PartRun

#: What bars are made of.
BLOCK = "█"
#: The narrowest column for the bars.
_NARROWEST = 10
#: Characters of a line beside the bar, the part's name, and the first column.
_BESIDE = 43


@dataclass
class Row:
    """One line of the table.

    Attributes:
        number: The number of the chunk or record, from 1.
        outcome: The outcome; None: the part was left to a later chunk, or is not known.
        run: The part's run, which may have begun in an earlier chunk; None: there is none.
        source: Where the data came from, or what became of it.
    """

    name: str
    number: int
    outcome: Outcome | None
    run: PartRun | None
    source: str


class Recording(PartObserver):
    """Notes the runs and outcomes of a walk.

    Args:
        show: Called with the names of the running parts, whenever they change.

    Attributes:
        number: The number of the chunk.
    """

    counts_queries = True

    def __init__(self, show: Callable[[Sequence[str]], None]) -> None:
        self.number = 0
        self._rows: list[Row] = []
        self._show = show
        self._lock = threading.Lock()
        self._running: dict[str, PartRun] = {}
        self._runs: dict[str, PartRun] = {}

    @property
    def rows(self) -> Sequence[Row]:
        """The lines of the table, so far."""
        return self._rows

    @contextmanager
    def running(self, run: PartRun) -> Iterator[None]:
        """See `PartObserver.running`."""
        with self._lock:
            self._running[run.name] = self._runs[run.name] = run
            self._show(list(self._running))
        yield

    def ended(self, run: PartRun, outcome: Outcome | None) -> None:
        """See `PartObserver.ended`."""
        with self._lock:
            self._running.pop(run.name, None)
            self._show(list(self._running))

    def close(self) -> None:
        """Show nothing any more: loaders may go on after the walk."""
        with self._lock:
            self._show([])
            self._show = _ignore

    def resolved(
        self, view: Any, request: Any, outcomes: Sequence[Outcome], pending: Sequence[str]
    ) -> None:
        """See `PartObserver.resolved`."""
        for outcome in outcomes:
            self._rows.append(self._row(outcome, self.number))
        for name in pending:
            self._rows.append(Row(name, self.number, None, self._runs.get(name), "pending"))

    def _row(self, outcome: Outcome, number: int) -> Row:
        # A part from the cache may have run in an earlier chunk.
        run = None if outcome.source == "cache" else self._runs.get(outcome.name)
        failed = outcome.failure
        source = outcome.source if failed is None else f"error: {failed.code}"
        return Row(outcome.name, number, outcome, run, source)


class StreamRecording(Recording):
    """Notes the runs and outcomes of a stream; its records say which part came when."""

    def __init__(self, show: Callable[[Sequence[str]], None]) -> None:
        super().__init__(show)
        self._outcomes: dict[str, Outcome] = {}
        self._delivered: list[tuple[int, str, str]] = []

    def ended(self, run: PartRun, outcome: Outcome | None) -> None:
        """See `PartObserver.ended`."""
        super().ended(run, outcome)
        if outcome is not None:
            self._outcomes.setdefault(run.name, outcome)

    def resolved(
        self, view: Any, request: Any, outcomes: Sequence[Outcome], pending: Sequence[str]
    ) -> None:
        """See `PartObserver.resolved`."""
        for outcome in outcomes:
            # A resumed stream may find it in the walk's cache, because it ran for the first one.
            if outcome.source != "cache" or outcome.name not in self._outcomes:
                self._outcomes[outcome.name] = outcome

    def take(self, record: Mapping[str, Any]) -> list[str]:
        """Note a record, which has just arrived; returns the parts that came before already."""
        self.number += 1
        before = {name for _, name, _ in self._delivered}
        parts = [(name, "") for result in record.get("results", ()) for name in result]
        parts += [(each["part"], f"error: {each['code']}") for each in record.get("errors", ())]
        self._delivered += [(self.number, name, source) for name, source in parts]
        return [name for name, _ in parts if name in before]

    @property
    def rows(self) -> Sequence[Row]:
        """See `Recording.rows`."""
        rows = []
        for number, name, source in self._delivered:
            outcome = self._outcomes.get(name)
            rows.append(
                Row(name, number, None, self._runs.get(name), source)
                if outcome is None
                else self._row(outcome, number)
            )
        return rows


def _ignore(names: Sequence[str]) -> None:
    """Show nothing."""


def draw(
    rows: Sequence[Row], started: float, seconds: float, columns: int, *, unit: str = "chunk"
) -> Iterator[str]:
    """The lines of the waterfall.

    Args:
        rows: The parts, in the order of their outcomes.
        started: When the walk began, on the clock of ``time.perf_counter()``.
        seconds: How long it took.
        columns: The width of the terminal in characters.
        unit: What is numbered: ``"chunk"`` or ``"record"``.
    """
    longest = max([len("part"), *(len(row.name) for row in rows)])
    width = max(_NARROWEST, min(60, columns - longest - len(unit) - _BESIDE))
    yield (
        f"{unit}  {'part':{longest}}  {'':{width}}  {'ms':>9}  {'queries':>7}  {'bytes':>9}  source"
    )
    for row in rows:
        run, outcome = row.run, row.outcome
        bar = "" if run is None else _bar(run, started, seconds, width)
        queries = "" if run is None or run.queries is None else str(len(run.queries))
        if outcome is None:
            figures = f"{'':>9}  {queries:>7}  {'':>9}"
        else:
            size = "" if outcome.fragment is None else f"{len(outcome.fragment):,}"
            figures = f"{outcome.duration * 1000:>9,.1f}  {queries:>7}  {size:>9}"
        number = f"{row.number:>{len(unit)}}"
        yield f"{number}  {row.name:{longest}}  {bar:{width}}  {figures}  {row.source}"


def _bar(run: PartRun, started: float, seconds: float, width: int) -> str:
    end = run.ended if run.ended is not None else started + seconds
    first = min(width - 1, max(0, int((run.started - started) / seconds * width)))
    last = min(width, max(first + 1, round((end - started) / seconds * width)))
    return " " * first + BLOCK * (last - first)
