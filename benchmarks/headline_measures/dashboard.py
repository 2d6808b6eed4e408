"""The shop's dashboard, whose one response takes about 15 seconds: when is which data there?"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import client
from .client import Visit
from .databases import Make, fill
from .server import Server, serve
from .sizes import Sizes

BLOCKING, PROGRESSIVE = "/dashboard/blocking/", "/dashboard/"
#: Views that change one thing -> the most responses that are read; None: all.
OTHERS = {"slow-first": 1, "side-by-side": None, "budget": None}
#: Seconds that the view with a time budget has.
BUDGET = 0.05
#: Scheme of a database's URL -> the power of the number of orders that the blocking view's time
#: grows with.
POWERS = {"sqlite": 1.1, "postgres": 0.9}
#: The number of orders grows at most by this factor between the two shops.
_MOST_GROWTH = 20


@dataclass
class Dashboard:
    """What was measured, on one database.

    Attributes:
        orders: Orders of the shop.
        url: The database, with that shop.
        blocking: Visits of the blocking view.
        walk: A visit of the progressive view.
        firsts: Seconds until the first chunk was there, of many visits.
        processor: The worker's seconds for a blocking visit, and for the walk.
        others: Visits of the views that change one thing, as far as they were measured.
    """

    orders: int
    url: str
    blocking: list[Visit]
    walk: Visit
    firsts: list[float]
    processor: tuple[float, float]
    others: dict[str, Visit]

    @property
    def wait(self) -> float:
        """Seconds until the blocking view's response was there."""
        return statistics.median(visit.total for visit in self.blocking)

    @property
    def first(self) -> float:
        """Seconds until the progressive view's first data was there."""
        return statistics.median(self.firsts)


def measure(make: Make, rates_url: str, sizes: Sizes, *, others: bool) -> Dashboard:
    """Measure the dashboard, with one visitor at a time on one worker.

    Args:
        make: Makes databases.
        rates_url: The exchange-rate service.
        sizes: How much to measure.
        others: Whether to measure the views that change one thing, too.
    """
    orders, url = sizes.first_orders, make("first_shop")
    fill(url, orders)
    if sizes.seconds:
        with serve(url, SHOP_EXCHANGE_RATES_URL=rates_url) as server:
            client.visit(server.port, PROGRESSIVE, most=1)
            # The quicker one: the other may have been disturbed.
            seconds = min(client.visit(server.port, BLOCKING, walk=False).total for _ in range(2))
        growth = (sizes.seconds / seconds) ** (1 / POWERS[urlsplit(url).scheme])
        orders = round(orders * min(_MOST_GROWTH, growth) / 1000) * 1000
        url = make("shop")
        fill(url, orders)
    with serve(url, SHOP_EXCHANGE_RATES_URL=rates_url) as server:
        return _measure(server, orders, url, sizes, others)


def _measure(server: Server, orders: int, url: str, sizes: Sizes, others: bool) -> Dashboard:
    port = server.port
    client.visit(port, PROGRESSIVE, most=1)  # Opens a connection to the database.
    used = [server.processor_seconds()]
    blocking = [client.visit(port, BLOCKING, walk=False)]
    used.append(server.processor_seconds())
    walk = client.visit(port, PROGRESSIVE)
    used.append(server.processor_seconds())
    firsts = [client.visit(port, PROGRESSIVE, most=1).first for _ in range(2 * sizes.repeats)]
    if others:
        blocking.append(client.visit(port, BLOCKING, walk=False))
    return Dashboard(
        orders=orders,
        url=url,
        blocking=blocking,
        walk=walk,
        firsts=firsts,
        processor=(used[1] - used[0], used[2] - used[1]),
        others={
            name: client.visit(port, f"{PROGRESSIVE}{name}/", most=most)
            for name, most in (OTHERS.items() if others else ())
        },
    )
