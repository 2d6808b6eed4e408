"""Which parts of a view have been slow in this process: only their data is worth looking for."""

from __future__ import annotations

from collections.abc import Iterable

from .outcome import Outcome, worth_keeping


class SlowParts:
    """Which parts have been slow in this process, and which never were.

    A walk keeps the data of a slow part, so that a client that repeats a cursor does not run it
    again. For parts that have always been quick, no store needs to be asked.
    """

    def __init__(self) -> None:
        #: The threshold in seconds; parts that ran and were always quicker; parts that were not.
        self._known: tuple[float, set[str], set[str]] = (-1.0, set(), set())

    def note(self, outcomes: Iterable[Outcome], threshold: float) -> bool:
        """Note how long parts took.

        Args:
            outcomes: The outcomes of one request.
            threshold: Seconds; a part that took longer is slow.

        Returns:
            Whether any of these parts was slow.
        """
        if self._known[0] != threshold:  # The setting has changed.
            self._known = (threshold, set(), set())
        _, quick, slow = self._known
        found = False
        for outcome in outcomes:
            name = outcome.name
            if outcome.duration > threshold:
                found = True
                slow.add(name)
                quick.discard(name)
            elif name not in quick and name not in slow and _has_run(outcome):
                quick.add(name)
        return found

    def may_include(self, names: Iterable[str], threshold: float) -> bool:
        """Whether one of these parts has been slow, or has not run in this process yet.

        Args:
            names: Names of parts.
            threshold: See `note`.
        """
        known, quick, _ = self._known
        return known != threshold or not quick.issuperset(names)


def _has_run(outcome: Outcome) -> bool:
    """Whether the part's duration is known: one that was cached or failed says nothing."""
    return outcome.source == "immediate" or worth_keeping(outcome) is not None
