"""Prints a benchmark's results: a table, and the versions used."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterable

import django
import rest_framework

#: The measure, its target, its result.
Row = tuple[str, str, str]


def report(
    description: str,
    get_rows: Callable[[int], Iterable[Row]],
    *versions: str,
    blocks: int = 60,
) -> None:
    """Measure, and print a table, with ``--markdown`` in the docs' format.

    Args:
        description: The subject of the benchmark.
        get_rows: Measures each case in the given number of blocks.
        versions: Names and versions of other packages used.
        blocks: The default number of blocks.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--markdown", action="store_true", help="print a table for the docs")
    parser.add_argument("--blocks", type=int, default=blocks, help=f"blocks per case ({blocks})")
    arguments = parser.parse_args()
    packages = ", ".join(
        [
            f"CPython {platform.python_version()}",
            f"Django {django.__version__}",
            f"DRF {rest_framework.__version__}",
            *versions,
        ]
    )
    table = [("measure", "target", "measured"), *get_rows(arguments.blocks)]
    where = f"{packages}; {os.cpu_count()} cores, {platform.machine()}"
    if arguments.markdown:
        print(f"{where}\n")
        for number, row in enumerate(table):
            print(f"| {' | '.join(row)} |")
            if number == 0:
                print("|---|---|---|")
        return
    print(where)
    for row in table:
        print(f"{row[0]:72}{row[1]:20}{row[2]}")
