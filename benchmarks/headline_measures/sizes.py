"""How much the headline benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The sizes of a full run.

    Attributes:
        seconds: What the blocking response of the dashboard should take.
        first_orders: Orders of the shop that is timed to find the number of orders for that.
        repeats: How often a quick request is repeated.
        export_parts: Parts of the export.
        export_bytes: Bytes of JSON in each of them.
        small_orders: Orders of the shop whose overview has many users.
        workers: Numbers of workers that have many users; the first is in the headline.
        warm_up: Seconds before those that are measured, of each trial with many users.
        measured: Seconds that are measured.
        trials: The most trials for one figure.
        think: Seconds that users think between two visits, where they do.
        most_users: The most users of a trial.
        growth: Numbers of parts whose walks are compared.
        blocks: Blocks of each case of that comparison.
    """

    seconds: float = 15.0
    first_orders: int = 60_000
    repeats: int = 10
    export_parts: int = 100
    export_bytes: int = 5_000_000
    small_orders: int = 1_000
    workers: tuple[int, ...] = (2, 1, 4)
    warm_up: float = 1.0
    measured: float = 4.0
    trials: int = 4
    think: float = 5.0
    most_users: int = 2_000
    growth: tuple[int, ...] = (1, 10, 100, 1_000)
    blocks: int = 10


#: So small that a test can wait for it; the figures mean nothing.
QUICK = Sizes(
    seconds=0,
    first_orders=300,
    repeats=1,
    export_parts=3,
    export_bytes=50_000,
    small_orders=300,
    workers=(1,),
    warm_up=0.2,
    measured=0.5,
    trials=2,
    think=0.2,
    most_users=8,
    growth=(1, 10),
    blocks=1,
)
