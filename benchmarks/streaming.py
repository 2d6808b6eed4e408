"""Streams under real servers: how soon parts come, what waiting costs, how much memory it takes.

Install the project with the dependency groups ``benchmarks`` and ``servers`` and the extra
``redis``, and nginx and redis-server, then run ``python benchmarks/streaming.py``. It starts all
servers itself, on loopback, and ends them. A measure whose servers are not installed says so and
is left out. A full run takes about ten minutes, and 4 GB of memory. ``--measure NAME`` chooses
measures, ``--markdown`` prints the tables for the docs.

The views are in ``streaming_site/``. What is compared was measured in one run, in turn; figures
are medians. Times begin when a request is sent over an open connection, and end when the last byte
of a record is there. Clients run on the same machine as the servers.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Behind what is installed, so that an installed partstream is measured.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from headline_measures.texts import Table
from report import surroundings
from streaming_measures import crowd, first_data, idle, joining, memory, round_trips
from streaming_measures.http import WrongAnswer
from streaming_measures.servers import DidNotStart
from streaming_measures.sizes import QUICK, Sizes

#: Name of a measure -> what measures it: its tables, and what it had to leave out.
MEASURES: dict[str, Callable[[Sizes], tuple[list[Table], list[str]]]] = {
    "first-data": first_data.measure,
    "round-trips": round_trips.measure,
    "crowd": crowd.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "joining": joining.measure,
}
PACKAGES = (
    "gunicorn",
    "uvicorn",
    "h11",
    "httptools",
    "uvloop",
    "granian",
    "django-redis",
    "orjson",
)


def say(text: str) -> None:
    """Tell a waiting user what is measured."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def versions() -> list[str]:
    """Name and version of each package that is used and installed."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true", help="print tables for the docs")
    parser.add_argument(
        "--measure",
        choices=list(MEASURES),
        action="append",
        help="a measure; may be repeated (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it runs: no figures to trust"
    )
    arguments = parser.parse_args()
    if importlib.util.find_spec("gunicorn") is None:
        parser.exit(2, "Not installed: gunicorn. pip install --group benchmarks --group servers\n")
    # An end by a signal ends the servers, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    sizes = QUICK if arguments.quick else Sizes()
    started = time.monotonic()
    tables: list[Table] = []
    notes: list[str] = []
    failed = False
    for name, measure in MEASURES.items():
        if arguments.measure is None or name in arguments.measure:
            say(name)
            try:
                its_tables, its_notes = measure(sizes)
            except (WrongAnswer, DidNotStart, TimeoutError) as error:  # The others go on.
                its_tables, its_notes, failed = [], [f"{name} failed: {error!r}"], True
            tables += its_tables
            notes += its_notes
    say(f"done, after {time.monotonic() - started:.0f} s")

    print(surroundings(*versions()))
    if notes:
        print("\n" + "\n".join(f"- {note}" for note in notes))
    for table in tables:
        print("\n" + "\n".join(table.lines(markdown=arguments.markdown)))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
