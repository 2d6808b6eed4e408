"""Many clients at once: when does one of them see the first of the eight parts?"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from statistics import median
from typing import Any

from headline_measures.texts import Table, seconds
from streaming_site.sleeps import SLEEPS

from . import client
from .client import Delivery
from .servers import GUNICORN, missing, serve
from .sizes import Sizes

WORKERS, THREADS = 2, 40
STREAM, INLINE, SIDE_BY_SIDE = "/eight/", "/eight/inline/", "/eight/"


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Have many clients come at once, for streams and for one response each, in turn."""
    if absent := missing(GUNICORN):
        return [], [f"Clients at once: left out, since {', '.join(absent)} is not installed."]
    streams: list[Delivery] = []
    inline: list[Delivery] = []
    side_by_side: list[Delivery] = []
    with serve(GUNICORN, workers=WORKERS, threads=THREADS) as server:
        for number in range(sizes.client_rounds + 1):
            for deliver, path, into in (
                (client.stream, STREAM, streams),
                (client.walk, INLINE, inline),
                (client.walk, SIDE_BY_SIDE, side_by_side),
            ):
                found = client.run(
                    _together([deliver(server.port, path) for _ in range(sizes.clients)])
                )
                if number:  # The first one warms up.
                    into += [delivery.check(SLEEPS) for delivery in found]
    one = median(each.total for each in inline)
    opening, first, total = (
        median(getattr(each, name) for each in streams) for name in ("opening", "first", "total")
    )
    slowest = sorted(each.first for each in streams)[int(0.95 * len(streams))]
    many = median(each.total for each in side_by_side)
    rows = [
        ("one response each, parts one after another", "", seconds(one), "1 x"),
        ("one response each, parts side by side", "", seconds(many), f"{many / one:.3f} x"),
        ("a stream each: opening record", "<= 0.02 x", seconds(opening), f"{opening / one:.3f} x"),
        ("a stream each: first lazy part", "<= 0.25 x", seconds(first), f"{first / one:.3f} x"),
        ("the same, 95 of 100 clients", "", seconds(slowest), f"{slowest / one:.3f} x"),
        ("a stream each: all parts", "", seconds(total), f"{total / one:.3f} x"),
    ]
    head = (f"{sizes.clients} clients at once, {WORKERS} workers", "target", "median", "ratio")
    return [Table("Clients at once", head, rows)], []


async def _together(deliveries: list[Coroutine[Any, Any, Delivery]]) -> list[Delivery]:
    return await asyncio.gather(*deliveries)
