"""Figures in words, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def seconds(value: float) -> str:
    """A time: ``15.1 s``, ``340 ms``, ``4.6 ms``."""
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def size(value: float) -> str:
    """Bytes: ``504 MB``, ``38.1 kB``."""
    for unit, name in ((1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return (
                f"{value / unit:,.0f} {name}"
                if value >= 10 * unit
                else f"{value / unit:.1f} {name}"
            )
    return f"{value:.0f} B"


def times(value: float) -> str:
    """A ratio: ``3,280 x``, ``1.3 x``."""
    return f"{value:,.0f} x" if value >= 10 else f"{value:.2g} x"


def less(small: float, large: float) -> str:
    """A saving: ``-98.8 %``."""
    return f"{100 * (small - large) / large:+.1f} %".replace("+0.0", "0.0")


@dataclass
class Table:
    """A table of the report.

    Attributes:
        title: What it shows.
        head: The names of its columns.
        rows: Its rows.
    """

    title: str
    head: Sequence[str]
    rows: list[Sequence[str]]

    def lines(self, *, markdown: bool) -> list[str]:
        """The table as text."""
        table = [self.head, *self.rows]
        if markdown:
            lines = [f"| {' | '.join(row)} |" for row in table]
            return [f"**{self.title}**", "", lines[0], f"|{'---|' * len(self.head)}", *lines[1:]]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return [
            self.title,
            *(
                "  ".join(
                    cell.ljust(width) for cell, width in zip(row, widths, strict=True)
                ).rstrip()
                for row in table
            ),
        ]
