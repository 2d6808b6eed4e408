"""Many users at once: how many of them get first data within a second?

A closed loop. Each user visits the overview, takes it to its end, thinks, and visits it again. A
user of the progressive view asks for the next chunk as soon as one has come. In the beginning the
users are at different steps of their walks, or thinking, as if they had been there for a while. So
the load is steady from the beginning, and a trial of some seconds shows it.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from dataclasses import dataclass
from time import perf_counter

from . import client
from .client import Connection, following
from .overview import BLOCKING, PROGRESSIVE
from .server import THREADS, Server, serve
from .sizes import Sizes

#: Seconds within which first data should be there, and the share of visits of which that is true.
LIMIT, SHARE = 1.0, 0.95
#: Two tried numbers of users as close as this end a search.
CLOSE = 1.15


@dataclass
class Trial:
    """What a number of users got.

    Attributes:
        users: The number of users.
        slowest: Seconds within which `SHARE` of the visits had first data.
        visits: Visits that were completed, a second.
    """

    users: int
    slowest: float
    visits: float


@dataclass
class Search:
    """The most users that are served in time.

    Attributes:
        trials: All trials, in order.
    """

    trials: list[Trial]

    @property
    def best(self) -> Trial:
        """The trial with the most users who were served in time, when no fewer were not."""
        failed = min((trial.users for trial in self.trials if trial.slowest > LIMIT), default=1e9)
        good = [trial for trial in self.trials if trial.slowest <= LIMIT and trial.users < failed]
        return max(good, key=lambda trial: trial.users, default=Trial(0, 0.0, 0.0))

    @property
    def pace(self) -> float:
        """The most visits that were completed in a second, with however many users."""
        return max(trial.visits for trial in self.trials)


@dataclass
class Load:
    """Users who wait at one time, and what is known of them.

    Attributes:
        port: The server's.
        path: The view's.
        steps: Where a user may be in the beginning: the tokens of a walk, and None before it.
        think: Seconds between the end of a visit and the user's next one, on average.
        pace: Visits a second that the server completes, as far as known.
    """

    port: int
    path: str
    steps: list[str | None]
    think: float
    pace: float


def measure(
    url: str,
    rates_url: str,
    workers: int,
    sizes: Sizes,
    *,
    think: float = 0.0,
    known: tuple[Search, Search] | None = None,
) -> tuple[Search, Search]:
    """The searches for the blocking and the progressive view, on servers of their own.

    Args:
        url: The database.
        rates_url: The exchange-rate service.
        workers: The number of workers.
        sizes: How long to measure.
        think: Seconds between the end of a visit and the user's next one, on average.
        known: The same for another number of workers, or without thinking: a first guess.
    """
    found = []
    for number, path in enumerate((BLOCKING, PROGRESSIVE)):
        with serve(url, workers=workers, SHOP_EXCHANGE_RATES_URL=rates_url) as server:
            found.append(_search(server, path, sizes, think, known[number] if known else None))
    return found[0], found[1]


def _search(server: Server, path: str, sizes: Sizes, think: float, known: Search | None) -> Search:
    walk = path == PROGRESSIVE
    asyncio.run(_warm_up(server, path))
    seconds = client.visit(server.port, path, walk=walk).total
    steps = asyncio.run(_steps(server.port, path)) if walk else [None]
    # A first guess: each core is busy with one visit, and each of its chunks may wait its time.
    pace = min(len(server.workers), os.cpu_count() or 1) / seconds
    users = max(1, round(pace * len(steps) * LIMIT))
    if known is not None and known.best.users:
        pace, users = known.pace, known.best.users + round(known.pace * think)
    load = Load(server.port, path, steps, think, pace)
    most, least, trials = None, 0, []
    while len(trials) < sizes.trials:
        users = min(users, sizes.most_users)
        trial = asyncio.run(_try(load, users, sizes))
        trials.append(trial)
        if trial.slowest <= LIMIT:
            least = max(least, users)
        else:
            most = users if most is None else min(most, users)
        if most is None and users == sizes.most_users:
            break
        if most is not None and (most <= least * CLOSE or most - least <= 1):
            break
        users = _next(trial, least, most, think)
    return Search(trials)


def _next(trial: Trial, least: int, most: int | None, think: float) -> int:
    """The number of users to try next: the time grows with the users who do not think."""
    thinking = trial.visits * think
    waiting = max(1.0, trial.users - thinking)
    users = round(thinking + waiting * min(4.0, max(0.25, 0.97 * LIMIT / trial.slowest)))
    if users <= least or (most is not None and users >= most):
        users = round(least * CLOSE) + 1 if most is None else (least + most) // 2
    return max(1, users)


async def _warm_up(server: Server, path: str) -> None:
    """Have every worker answer, in most of its threads."""

    async def one() -> None:
        connection = Connection(server.port)
        await connection.get(path)
        connection.close()

    await asyncio.gather(*(one() for _ in range(THREADS * len(server.workers))))


async def _steps(port: int, path: str) -> list[str | None]:
    """The tokens of one walk, after None for its beginning."""
    connection, steps = Connection(port), [None]
    token = (await connection.get(path)).cursor
    while token is not None:
        steps.append(token)
        token = (await connection.get(following(path, token))).cursor
    connection.close()
    return steps


async def _try(load: Load, users: int, sizes: Sizes) -> Trial:
    begun = perf_counter() + sizes.warm_up
    end = begun + sizes.measured
    chance = random.Random(users)
    firsts: list[float] = []
    ends: list[float] = []

    async def pause(seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, end - perf_counter())))

    async def user() -> None:
        token = chance.choice(load.steps)
        if chance.random() < load.pace * load.think / users:
            token = None
            await pause(chance.expovariate(1 / load.think))
        else:
            await pause(chance.random() * sizes.warm_up / 2)
        while perf_counter() < end:
            connection = Connection(load.port)
            if token is None:
                started = perf_counter()
                answer = await connection.get(load.path)
                if begun <= started:
                    firsts.append(perf_counter() - started)
                token = answer.cursor if len(load.steps) > 1 else None
            while token is not None and perf_counter() < end:
                token = (await connection.get(following(load.path, token))).cursor
            connection.close()
            ends.append(perf_counter())
            if load.think:
                await pause(chance.expovariate(1 / load.think))

    await asyncio.gather(*(user() for _ in range(users)))
    visits = sum(begun <= moment < end for moment in ends) / sizes.measured
    if not firsts:  # Nobody who came while it was measured got anything.
        return Trial(users, max(2 * LIMIT, sizes.measured), visits)
    firsts.sort()
    return Trial(users, firsts[math.ceil(SHARE * len(firsts)) - 1], visits)
