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
        #: Replaced as a whole, so that no thread reads the parts of another threshold.
        self._noted = _Noted(-1.0)

    def note(self, outcomes: Iterable[Outcome], threshold: float) -> bool:
        """Note how long parts took.

        Args:
            outcomes: The outcomes of one request.
            threshold: Seconds; a part that took longer is slow.

        Returns:
            Whether any of these parts was slow.
        """
        noted = self._noted
        if noted.threshold != threshold:  # The setting has changed.
            noted = self._noted = _Noted(threshold)
        quick, slow, found = noted.quick, noted.slow, False
        for outcome in outcomes:
            name = outcome.name
            if outcome.duration > threshold:
                found = True
                slow.add(name)
                quick.discard(name)
            elif name not in quick and name not in slow and _tells_duration(outcome):
                quick.add(name)
        return found

    def may_include(self, names: Iterable[str], threshold: float) -> bool:
        """Whether one of these parts has been slow, or has not run in this process yet.

        Args:
            names: Names of parts.
            threshold: See `note`.
        """
        noted = self._noted
        return (
            noted.threshold != threshold
            or not noted.quick.issuperset(names)
            # Two threads may have noted a part at once, each in another set.
            or not noted.slow.isdisjoint(names)
        )


class _Noted:
    """The parts that were noted for one threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        #: Parts that have run, and were never slower.
        self.quick: set[str] = set()
        self.slow: set[str] = set()


def _tells_duration(outcome: Outcome) -> bool:
    """Whether the outcome tells how long its part takes: one that was cached or failed does not."""
    return outcome.source == "immediate" or worth_keeping(outcome) is not None
