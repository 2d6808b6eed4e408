"""The tables of the headline benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .client import Visit
from .dashboard import BUDGET, Dashboard
from .growth import Growth
from .load import Search
from .memory import GIVE_BACK
from .memory import Delivery as Export
from .overview import Delivery as Overview
from .server import THREADS
from .texts import Table, less, seconds, size, times


@dataclass
class Found:
    """What was measured on one database.

    Attributes:
        kind: The database.
        dashboard: The dashboard of 15 s.
        export: The export of 500 MB, in some ways.
        overview: The overview of 500 queries.
        load: Number of workers -> users of the blocking and of the progressive view.
        thinking: The same for users who think between two visits, if that was measured.
    """

    kind: str
    dashboard: Dashboard
    export: dict[str, Export]
    overview: dict[str, Overview]
    load: dict[int, tuple[Search, Search]]
    thinking: tuple[int, float, tuple[Search, Search]] | None = None


def headline(found: Sequence[Found], workers: int) -> Table:
    """The four claims, on each database."""
    rows: list[Sequence[str]] = []
    for each in found:
        wait, first = each.dashboard.wait, each.dashboard.first
        rows.append(
            (
                "time to first useful data",
                each.kind,
                "<= 100 ms, >= 150 x",
                seconds(wait),
                seconds(first),
                times(wait / first),
            )
        )
    for each in found:
        blocking, walk = each.export["blocking"].over_idle, each.export["progressive"].over_idle
        rows.append(
            (
                "peak memory of a worker, over idle",
                each.kind,
                "<= 50 MB, -90 %",
                size(blocking),
                size(walk),
                less(walk, blocking),
            )
        )
    for each in found:
        queries = [each.overview[way].visit.queries[0] for way in ("blocking", "progressive")]
        rows.append(
            (
                "queries in the first response",
                each.kind,
                "<= 20, -95 %",
                str(queries[0]),
                str(queries[1]),
                less(queries[1], queries[0]),
            )
        )
    for each in found:
        users = [search.best.users for search in each.load[workers]]
        rows.append(
            (
                "users at once with first data within 1 s",
                each.kind,
                ">= 10 x",
                str(users[0]),
                str(users[1]),
                _ratio(*users),
            )
        )
    head = ("measure", "database", "target", "one blocking response", "progressive", "ratio")
    return Table("The headline", head, rows)


def _ratio(blocking: int, progressive: int) -> str:
    return times(progressive / blocking) if blocking else ""


def owed_dashboard(found: Found) -> Table:
    """The dashboard of 15 s delivered in other ways."""
    dashboard, others = found.dashboard, found.dashboard.others
    ways: list[tuple[str, str, Visit]] = [
        ("one blocking response", "nothing", dashboard.blocking[0]),
        ("one response, its parts side by side on threads", "concurrency", others["side-by-side"]),
        ("a walk, slow parts first", "laziness, in a bad order", others["slow-first"]),
        ("a walk, slow parts last", "laziness", dashboard.walk),
        (
            f"a walk, slow parts first, on threads with a budget of {seconds(BUDGET)}",
            "laziness and concurrency",
            others["budget"],
        ),
    ]
    rows = [
        (
            way,
            what,
            seconds(visit.first),
            # Of the walk in a bad order, only the beginning was measured.
            "" if visit is others["slow-first"] else seconds(visit.total),
            "" if visit is others["slow-first"] else str(len(visit.chunks)),
        )
        for way, what, visit in ways
    ]
    head = ("the dashboard", "uses", "first data", "all data", "requests")
    return Table(f"What the time owes to what, on {found.kind}", head, rows)


def owed_overview(found: Found) -> Table:
    """The overview of 500 queries delivered in other ways."""
    names = {
        "blocking": "one blocking response",
        "blocking, fixed": "the same, its queries fixed",
        "blocking, cached": "the same as the first, cached for the next visitor",
        "progressive": "a walk",
        "progressive, fixed": "the same, its queries fixed",
        "progressive, cached": "the same as the first, cached for the next visitor",
    }
    rows = []
    for way, name in names.items():
        each = found.overview[way]
        queries = each.visit.queries
        rows.append(
            (
                name,
                str(queries[0]),
                str(sum(queries)),
                seconds(each.first),
                seconds(each.total),
                seconds(each.processor),
            )
        )
    head = (
        "the overview",
        "queries in the first response",
        "in all",
        "first data",
        "all data",
        "processor time of the worker",
    )
    return Table(f"What the queries owe to what, on {found.kind}", head, rows)


def owed_memory(found: Sequence[Found]) -> Table:
    """The export delivered in other ways."""
    names = {
        "blocking": "one blocking response",
        "stream": "one response, streamed part by part by hand",
        "progressive": "a walk",
        "threads": f"a walk, a worker of {THREADS} threads",
        "threads, giving back": f"the same, with {'='.join(*GIVE_BACK.items())}",
    }
    rows = [
        (
            name,
            each.kind,
            size(each.export[way].over_idle),
            seconds(each.export[way].visit.first),
            seconds(each.export[way].visit.total),
        )
        for way, name in names.items()
        for each in found
        if way in each.export
    ]
    head = ("the export", "database", "peak memory over idle", "first response", "all data")
    return Table("What the memory owes to what", head, rows)


def costs(found: Sequence[Found]) -> Table:
    """What progressive delivery costs beside one response, for all of the data."""
    rows: list[Sequence[str]] = []
    for each in found:
        dashboard = each.dashboard
        compared: list[tuple[str, Visit, Visit, float, float, float, float]] = [
            (
                "the dashboard",
                dashboard.blocking[0],
                dashboard.walk,
                *dashboard.processor,
                dashboard.wait,
                dashboard.walk.total,
            ),
            _of_overview(each, "the overview", ""),
            _of_overview(each, "the overview, its queries fixed", ", fixed"),
        ]
        blocking, walk = each.export["blocking"], each.export["progressive"]
        compared.append(
            (
                "the export",
                blocking.visit,
                walk.visit,
                blocking.processor,
                walk.processor,
                blocking.visit.total,
                walk.visit.total,
            )
        )
        for name, one, many, used, used_by_walk, total, total_of_walk in compared:
            rows.append(
                (
                    name,
                    each.kind,
                    f"1, {len(many.chunks)}",
                    f"{size(one.received)}, {size(many.received)}",
                    f"{size(one.sent)}, {size(many.sent)}",
                    f"{seconds(used)}, {seconds(used_by_walk)}",
                    f"{seconds(total)}, {seconds(total_of_walk)}",
                )
            )
    head = (
        "one response, a walk",
        "database",
        "requests",
        "bytes received",
        "bytes sent",
        "processor time of the worker",
        "time to all data",
    )
    return Table("What progressive delivery costs", head, rows)


def _of_overview(
    found: Found, name: str, suffix: str
) -> tuple[str, Visit, Visit, float, float, float, float]:
    one, many = found.overview[f"blocking{suffix}"], found.overview[f"progressive{suffix}"]
    processor = (one.processor, many.processor)
    return (name, one.visit, many.visit, *processor, one.total, many.total)


def loads(found: Iterable[Found]) -> Table:
    """The users that workers hold."""
    rows = []
    for each in found:
        measured = [
            (f"{workers} worker{'s' if workers > 1 else ''}", "0 s", pair)
            for workers, pair in sorted(each.load.items())
        ]
        if each.thinking is not None:
            workers, think, pair = each.thinking
            measured.append((f"{workers} worker{'s' if workers > 1 else ''}", f"{think:g} s", pair))
        for name, think, (blocking, walk) in measured:
            rows.append(
                (
                    name,
                    each.kind,
                    think,
                    str(blocking.best.users),
                    str(walk.best.users),
                    _ratio(blocking.best.users, walk.best.users),
                    f"{blocking.pace:.1f}, {walk.pace:.1f}",
                )
            )
    head = (
        "gunicorn",
        "database",
        "users think",
        "users, blocking",
        "users, progressive",
        "ratio",
        "most whole visits a second",
    )
    return Table("Users at once with first data within 1 s, 95 of 100", head, rows)


def growths(found: Iterable[Growth]) -> Table:
    """The cost of walks of more and more parts."""
    rows = [
        (
            f"{each.parts:,}",
            f"{each.blocking:,.0f} us",
            f"{each.walk:,.0f} us",
            f"{each.walk / each.parts:,.1f} us",
            f"{each.first:,.0f} us",
            f"{each.by_key:,.0f} us",
        )
        for each in found
    ]
    head = (
        "parts",
        "a blocking view of all",
        "the whole walk",
        "a part of it",
        "the first chunk alone",
        "one part by key",
    )
    return Table("How the cost grows with the number of parts, ten in a chunk", head, rows)
