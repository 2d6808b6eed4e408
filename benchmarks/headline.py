"""The headline figures: one dashboard as one blocking response, and progressively.

Install the project with the dependency group ``benchmarks``, and PostgreSQL's server, then run
``python benchmarks/headline.py``. It starts its own PostgreSQL and gunicorn, on loopback, and ends
them. A run takes about ten minutes. ``--markdown`` prints the tables for the docs, and ``--picture
PATH`` draws the time line of the dashboard's parts.

All views are in ``headline_site/``. The blocking and the progressive view of a dashboard have the
same data and the same loaders. "First useful data" is the first response that has the result of a
query: a response with nothing but immediate parts does not count.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import signal
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Behind what is installed, so that an installed partstream is measured.
sys.path += [str(ROOT), str(ROOT / "testproject")]

from headline_measures import dashboard, growth, load, memory, overview, picture, tables
from headline_measures.databases import KINDS, databases, fill
from headline_measures.rates import exchange_rates
from headline_measures.sizes import QUICK, Sizes
from headline_measures.tables import Found
from report import surroundings

#: Ways to deliver the export: on the first database all of them, on the others these.
FEW_WAYS = ("blocking", "progressive")
NEEDED = {
    "gunicorn": "gunicorn",
    "dj_database_url": "dj-database-url",
    "drf_spectacular": "drf-spectacular",
    "tqdm": "tqdm",
}


def say(text: str) -> None:
    """Tell a waiting user what is measured."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def measure(kind: str, sizes: Sizes, *, thorough: bool) -> Found:
    """Measure all on one database.

    Args:
        kind: The database.
        sizes: How much to measure.
        thorough: Whether to measure, too, what the figures owe to what.
    """
    with (
        tempfile.TemporaryDirectory(prefix="headline-") as folder,
        databases(kind, folder) as make,
        exchange_rates() as rates_url,
    ):
        say(f"{kind}: the dashboard")
        slow = dashboard.measure(make, rates_url, sizes, others=thorough)
        say(f"{kind}: the export")
        ways = memory.WAYS if thorough else FEW_WAYS
        export = memory.measure(slow.url, ways, sizes)
        say(f"{kind}: the overview")
        url = make("small_shop")
        fill(url, sizes.small_orders)
        queries = overview.measure(url, rates_url, sizes)
        compared, *others = sizes.workers
        say(f"{kind}: users of {compared} workers")
        known = load.measure(url, rates_url, compared, sizes)
        loads, thinking = {compared: known}, None
        if thorough:
            fewer = replace(sizes, trials=sizes.trials - 1)
            for workers in others:
                say(f"{kind}: users of {workers} workers")
                loads[workers] = load.measure(url, rates_url, workers, fewer, known=known)
            say(f"{kind}: users of {compared} workers who think")
            # Visits are further apart, so it takes longer to see as many.
            longer = replace(fewer, measured=1.5 * sizes.measured)
            pair = load.measure(url, rates_url, compared, longer, think=sizes.think, known=known)
            thinking = (compared, sizes.think, pair)
    return Found(kind, slow, export, queries, loads, thinking)


def describe(found: list[Found]) -> list[str]:
    """What the figures are of, in sentences."""
    lines = []
    for each in found:
        blocking, walk = each.export["blocking"].visit, each.export["progressive"].visit
        lines.append(
            f"- {each.kind}: the dashboard is that of {each.dashboard.orders:,} orders, and has "
            f"{len(each.dashboard.walk.parts)} parts. The export has {blocking.received:,} bytes, "
            f"in {len(walk.chunks)} parts. The overview has "
            f"{each.overview['blocking'].visit.queries[0]} queries."
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true", help="print tables for the docs")
    parser.add_argument(
        "--database",
        choices=["both", *map(str.lower, KINDS)],
        default="both",
        help="the databases to measure on (default: %(default)s)",
    )
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw the time line there")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it runs: no figures to trust"
    )
    arguments = parser.parse_args()
    kinds = [kind for kind in KINDS if arguments.database in ("both", kind.lower())]
    needed = NEEDED | ({"psycopg": "psycopg[binary]"} if "PostgreSQL" in kinds else {})
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.exit(2, f"Not installed: {', '.join(missing)}. pip install --group benchmarks\n")
    # An end by a signal ends the servers, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))

    sizes = QUICK if arguments.quick else Sizes()
    started = time.monotonic()
    found = [measure(kind, sizes, thorough=number == 0) for number, kind in enumerate(kinds)]
    say("the number of parts")
    grown = growth.measure(sizes.growth, sizes.blocks)
    say(f"done, after {time.monotonic() - started:.0f} s")

    print(surroundings(f"gunicorn {version('gunicorn')}") + "\n")
    print("\n".join(describe(found)))
    first = found[0]
    for table in (
        tables.headline(found, sizes.workers[0]),
        tables.owed_dashboard(first),
        tables.owed_overview(first),
        tables.owed_memory(found),
        tables.costs(found),
        tables.loads(found),
        tables.growths(grown),
    ):
        print("\n" + "\n".join(table.lines(markdown=arguments.markdown)))
    if arguments.picture is not None:
        arguments.picture.write_text(picture.draw(first.dashboard, first.kind), encoding="utf-8")


if __name__ == "__main__":
    main()
