"""What this process has measured since it was last collected."""

from __future__ import annotations

import threading

from partstream.per_process import reset_after_fork

from .memory import peak_memory
from .samples import PART, RESPONSE, Table


class Measured:
    """One response and its parts, as the recorder takes them.

    Args:
        view: The route of the view.
        outcome: See `samples`.
        seconds: How long the response took.
        tracked: Whether queries and sizes were measured.
    """

    __slots__ = ("outcome", "parts", "queries", "query_seconds", "seconds", "tracked", "view")

    def __init__(self, view: str, outcome: str, seconds: float, *, tracked: bool) -> None:
        self.view = view
        self.outcome = outcome
        self.seconds = seconds
        self.tracked = tracked
        self.queries = 0
        self.query_seconds = 0.0
        #: Name, outcome, seconds, look-ups in a cache, queries, seconds of queries, bytes of JSON.
        self.parts: list[tuple[str, str, float, int, int, float, int]] = []


class Recorder:
    """Adds up what requests measure. Exact with any number of threads."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._table = Table()
        self._peak = peak_memory()

    def record(self, measured: Measured) -> None:
        """Add a response and its parts."""
        view, tracked = measured.view, measured.tracked
        peak = peak_memory() if tracked else 0
        with self._lock:
            of = self._table.of
            samples = of((RESPONSE, view, "", measured.outcome))
            samples.add(measured.seconds)
            if tracked:
                growth = peak - self._peak
                if growth > 0:
                    self._peak = peak
                samples.track(measured.queries, measured.query_seconds, max(0, growth))
            for name, outcome, seconds, lookups, queries, query_seconds, size in measured.parts:
                samples = of((PART, view, name, outcome))
                samples.add(seconds, lookups)
                if tracked:
                    samples.track(queries, query_seconds, size)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded since the last `take`."""
        return not self._table

    def take(self) -> Table:
        """What was recorded since the last call."""
        with self._lock:
            taken, self._table = self._table, Table()
        return taken


#: The recorder of this process.
recorder = Recorder()
