"""Prints a benchmark's results: a table, and the versions used."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterable, Sequence

import django
import rest_framework

#: The measure, its target, its result.
Row = tuple[str, str, str]


def report(
    description: str,
    get_rows: Callable[[int], Iterable[Row]],
    *versions: str,
    blocks: int = 60,
    counts: Callable[[], Iterable[Row]] | None = None,
) -> None:
    """Measure, and print a table, with ``--markdown`` in the docs' format.

    Args:
        description: The subject of the benchmark.
        get_rows: Measures each case in the given number of blocks.
        versions: Names and versions of other packages used.
        blocks: The default number of blocks.
        counts: Counts the instructions of each case: its name, the count, its ratio.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--markdown", action="store_true", help="print a table for the docs")
    parser.add_argument("--blocks", type=int, default=blocks, help=f"blocks per case ({blocks})")
    arguments = parser.parse_args()
    print(f"{surroundings(*versions)}\n")
    print_table(
        [("measure", "target", "measured"), *get_rows(arguments.blocks)], arguments.markdown
    )
    if counts is not None:
        header = ("instructions a request", "thousands", "against the bare view")
        print()
        print_table([header, *counts()], arguments.markdown)


def surroundings(*versions: str) -> str:
    """What the figures depend on, in one line: versions, and the machine."""
    packages = ", ".join(
        [
            f"CPython {platform.python_version()}",
            f"Django {django.__version__}",
            f"DRF {rest_framework.__version__}",
            *versions,
        ]
    )
    return f"{packages}; {os.cpu_count()} cores, {platform.machine()}"


def print_table(table: Sequence[Row], markdown: bool) -> None:
    """Print rows, the first of which is the head."""
    for number, row in enumerate(table):
        if not markdown:
            print(f"{row[0]:80}{row[1]:20}{row[2]}")
            continue
        print(f"| {' | '.join(row)} |")
        if number == 0:
            print("|---|---|---|")
