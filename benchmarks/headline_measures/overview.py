"""The overview of more than 500 queries: how many are in the first response, and what all cost."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from . import client
from .client import Visit
from .server import serve
from .sizes import Sizes

BLOCKING, PROGRESSIVE = "/overview/blocking/", "/overview/"
#: Name of a way -> the view's path, and whether it is a walk. All but the first visitors of the
#: cached views find what the first one left.
WAYS = {
    "blocking": (BLOCKING, False),
    "progressive": (PROGRESSIVE, True),
    "blocking, fixed": (f"{BLOCKING}fixed/", False),
    "progressive, fixed": (f"{PROGRESSIVE}fixed/", True),
    "blocking, cached": (f"{BLOCKING}cached/", False),
    "progressive, cached": (f"{PROGRESSIVE}cached/", True),
}


@dataclass
class Delivery:
    """One way to deliver the overview.

    Attributes:
        visit: One visit, whose queries were counted.
        firsts: Seconds until the first response was there, of each visit.
        totals: Seconds until all was there.
        processor: The worker's seconds for a visit.
    """

    visit: Visit
    firsts: list[float]
    totals: list[float]
    processor: float

    @property
    def first(self) -> float:
        """The median of the seconds until the first response was there."""
        return statistics.median(self.firsts)

    @property
    def total(self) -> float:
        """The median of the seconds until all was there."""
        return statistics.median(self.totals)


def measure(url: str, rates_url: str, sizes: Sizes) -> dict[str, Delivery]:
    """Visit the overview in each of `WAYS`; the ways take turns."""
    counted: dict[str, Visit] = {}
    with serve(url, SHOP_EXCHANGE_RATES_URL=rates_url, HEADLINE_COUNT_QUERIES="1") as server:
        for _ in range(2):  # The first one fills the caches.
            for way, (path, walk) in WAYS.items():
                counted[way] = client.visit(server.port, path, walk=walk)
    visits: dict[str, list[Visit]] = {way: [] for way in WAYS}
    used = dict.fromkeys(WAYS, 0.0)
    with serve(url, SHOP_EXCHANGE_RATES_URL=rates_url) as server:
        for number in range(sizes.repeats + 1):
            for way, (path, walk) in WAYS.items():
                before = server.processor_seconds()
                visit = client.visit(server.port, path, walk=walk)
                if number:  # The first one warms up, and fills the caches.
                    visits[way].append(visit)
                    used[way] += server.processor_seconds() - before
    return {
        way: Delivery(
            visit=counted[way],
            firsts=[visit.first for visit in visits[way]],
            totals=[visit.total for visit in visits[way]],
            processor=used[way] / sizes.repeats,
        )
        for way in WAYS
    }
