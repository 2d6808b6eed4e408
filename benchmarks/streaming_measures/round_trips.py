"""Eight parts over a slow line: the stream, and walks."""

from __future__ import annotations

from statistics import median

from headline_measures.texts import Table, seconds
from streaming_site.sleeps import BUDGETS, SLEEPS

from . import client
from .client import Delivery
from .delay import delay
from .servers import GUNICORN, missing, serve
from .sizes import Sizes

#: Seconds of the round trip.
ROUND_TRIP = 0.15
STREAM, ONE_BY_ONE = "/eight/", "/eight/one-by-one/"
_STREAM, _ONE_BY_ONE = "a stream", "a walk with chunk_size=1"
#: What a view has that sets no chunk size.
_DEFAULT = "a walk with the default chunk_size and a time budget of"
#: Name of a way -> its path.
WAYS = {
    _STREAM: STREAM,
    _ONE_BY_ONE: ONE_BY_ONE,
    **{
        f"a walk with a time budget of {budget} ms": f"/eight/budget/{budget}/"
        for budget in BUDGETS
    },
    **{f"{_DEFAULT} {budget} ms": f"/eight/budget/{budget}/default/" for budget in BUDGETS},
}


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Deliver the parts in each of `WAYS`; the ways take turns."""
    if absent := missing(GUNICORN):
        return [], [f"A slow line: left out, since {', '.join(absent)} is not installed."]
    found: dict[str, list[Delivery]] = {way: [] for way in WAYS}
    # A part that moves to the next chunk is kept, so the largest one must be allowed to be.
    with (
        serve(GUNICORN, PARTSTREAM_MAX_FRAGMENT_SIZE="4000000") as server,
        delay(server.port, round_trip=ROUND_TRIP) as port,
    ):
        for number in range(sizes.delayed_rounds + 1):
            for way, path in WAYS.items():
                deliver = client.stream if way == _STREAM else client.walk
                delivery = client.run(deliver(port, path)).check(SLEEPS)
                if number:  # The first one warms up.
                    found[way].append(delivery)
    return [_ratios(found), _ways(found)], []


def _median(deliveries: list[Delivery], attribute: str) -> float:
    return median(getattr(each, attribute) for each in deliveries)


def _ratios(found: dict[str, list[Delivery]]) -> Table:
    rows = []
    walks = [way for way in WAYS if way not in (_STREAM, _ONE_BY_ONE)]
    default = [way for way in walks if way.startswith(_DEFAULT)]
    for attribute, name in (("total", "time to all parts"), ("mean", "mean time to a part")):
        stream = _median(found[_STREAM], attribute)
        best, best_default = (
            min(some, key=lambda way: _median(found[way], attribute)) for some in (walks, default)
        )
        for way, target in (
            (_ONE_BY_ONE, "<= 0.25 x"),
            (best, "<= 0.8 x"),
            (best_default, "<= 0.8 x"),
        ):
            other = _median(found[way], attribute)
            what = way if way == _ONE_BY_ONE else f"the best: {way}"
            rows.append(
                (
                    name,
                    what,
                    seconds(other),
                    seconds(stream),
                    target if attribute == "total" else "",
                    f"{stream / other:.2f} x",
                )
            )
    head = ("measure", "compared with", "it", "a stream", "target", "ratio")
    return Table(f"Eight parts, a round trip of {ROUND_TRIP * 1000:.0f} ms", head, rows)


def _ways(found: dict[str, list[Delivery]]) -> Table:
    rows = [
        (
            way,
            f"{_median(deliveries, 'first') * 1000:,.0f}",
            f"{_median(deliveries, 'mean') * 1000:,.0f}",
            f"{_median(deliveries, 'total') * 1000:,.0f}",
            "1" if way == _STREAM else f"{median(len(each.records) for each in deliveries):.0f}",
        )
        for way, deliveries in found.items()
    ]
    head = ("way, ms", "first part", "mean of the parts", "all parts", "requests")
    return Table("The same, all ways", head, rows)
