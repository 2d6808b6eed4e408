"""The browser client: its size, what the demo's page does with it, and what it loses to cut lines.

Install the project with the dependency groups ``tests`` and ``browser``, the requirements of
``testproject``, node, npm and Chromium, then run ``python benchmarks/client.py``. It takes twelve
minutes, ten of them for the cut lines; ``--seconds 30`` shows that it runs. ``--measure NAME``
chooses measures, ``--markdown`` prints a table for the docs.

Run it on a machine that does nothing else: browser, servers and loads share its cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Behind what is installed, so that an installed partstream is measured.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from client_measures import cuts, page, size
from report import Row, print_table, surroundings

MEASURES = {"size": size.measure, "page": page.measure, "cuts": cuts.measure}


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true", help="print a table for the docs")
    parser.add_argument("--measure", choices=list(MEASURES), action="append")
    parser.add_argument(
        "--seconds", type=float, default=600, help="how long lines are cut (default: %(default)s)"
    )
    parser.add_argument(
        "--loads", type=int, default=7, help="how often the page is opened (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rows: list[Row] = [("measure", "target", "measured")]
    for name in arguments.measure or MEASURES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += MEASURES[name](arguments)
    print(f"{surroundings()}\n")
    print_table(rows, arguments.markdown)


if __name__ == "__main__":
    main()
