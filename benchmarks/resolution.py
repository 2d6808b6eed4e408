"""The benefits and costs of executors, time budgets, caches and single flight.

Install the versions to be measured, including the dependencies of the tests and PostgreSQL, then
run ``python benchmarks/resolution.py``. It starts its own Redis (or Valkey) and PostgreSQL
servers. ``--markdown`` prints the table for the docs.

The subject is the view alone, called as Django calls it and rendered. Loaders that stand for slow
queries sleep. Cases that are compared run in alternating blocks of one process.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from contextlib import ExitStack
from importlib.metadata import version
from types import SimpleNamespace

import subjects

from tests import postgresql
from tests.support import redis

if __name__ == "__main__":  # Not in the processes that it starts: they have their own.
    subjects.set_up()
    logging.disable(logging.CRITICAL)

from django.test import override_settings
from report import report
from timing import Case, measure

from partstream.backends.loader import get_cache_store

SLOWEST = max(subjects.SLEEPS) / 1000
ROUNDS = 7
#: Of cold callers, whose times vary most.
COLD_ROUNDS = 25
#: Rounds of callers before the measured ones, so that layouts exist and connections are open.
WARM_UP = 5


def fetch(name):
    """A call of a warmed-up view."""
    get = subjects.make_view(name)
    get()
    return Case(lambda count: ["/"] * count, get)


def median(values):
    """The median, of any iterable."""
    return statistics.median(list(values))


def side_by_side():
    """Eight sleeping parts in one response."""
    get = subjects.make_view("Eight")
    get()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        get()
        seconds.append(time.perf_counter() - started)
    yield (
        "eight parts sleeping 0 to 600 ms on threads, one response",
        "<= 1.05 x the slowest",
        f"{median(seconds) / SLOWEST:.3f} x ({median(seconds) * 1000:.0f} ms)",
    )


def in_time(redis_url):
    """The same with a time budget: in one process, and in two by turns."""
    get = subjects.make_view("EightInTime")
    subjects.walk(get)
    walks, counts = [], set()
    for _ in range(ROUNDS):
        subjects.runs.clear()
        walks.append(subjects.walk(get))
        counts.add((len(subjects.runs), len(set(walks[-1][3]))))
    yield from walk_rows("one process", walks, counts)

    walks, counts = [], set()
    with subjects.processes(2, "EightInTime", redis_url=redis_url) as workers:
        for number in range(ROUNDS + 1):
            run, turn = [], [0]

            def ask(path, run=run, turn=turn):
                worker = workers[turn[0] % 2]
                turn[0] += 1
                worker.send(("get", path))
                content, ran = worker.recv()
                run += ran
                return SimpleNamespace(content=content)

            walked = subjects.walk(ask)
            if number:  # The first one warms up.
                walks.append(walked)
                counts.add((len(run), len(set(walked[3]))))
    yield from walk_rows("two processes by turns, Redis", walks, counts)

    seconds = [subjects.walk(subjects.make_view("Two")) for _ in range(3)]
    yield (
        "an instant part and one of 3 s, chunk of 2, budget 0.1 s",
        "2 requests",
        f"{max(walk[2] for walk in seconds)} requests",
    )


def walk_rows(where, walks, counts):
    """The results of walks of eight parts."""
    yield (
        f"a budget of 0.1 s, {where}: first chunk",
        "<= 0.115 s",
        f"{median(walk[0] for walk in walks):.3f} s",
    )
    whole = median(walk[1] for walk in walks)
    yield (
        f"a budget of 0.1 s, {where}: the whole walk",
        "<= 1.05 x the slowest",
        f"{whole / SLOWEST:.3f} x ({whole * 1000:.0f} ms)",
    )
    loaders, parts = max(counts)
    yield (
        f"a budget of 0.1 s, {where}: loaders run, parts delivered",
        "8, 8",
        f"{loaders}, {parts}",
    )


def computing():
    """Ten parts that compute in Python: when the first of them is delivered, and the last."""
    names = {
        "on threads": "Computing",
        "on threads, max_per_request=2": "ComputingByTwo",
        "quick ones in the request's thread, slow ones on threads": "ComputingQuickInline",
        "in the request's thread, one a chunk": "ComputingInline",
    }
    views = {label: subjects.make_view(name) for label, name in names.items()}
    walks = {label: [] for label in names}
    for number in range(ROUNDS + 1):
        for label, get in views.items():
            walked = subjects.walk(get)
            if number:  # The first one warms up.
                walks[label].append(walked)
    firsts = {label: median(walk[0] for walk in found) for label, found in walks.items()}
    for label, found in walks.items():
        first, whole = firsts[label], median(walk[1] for walk in found)
        yield (
            f"ten parts that compute for 10 to 100 ms, {label}: first data",
            "" if label == "on threads" else "< 1 x",
            f"{first / firsts['on threads']:.2f} x ({first * 1000:.0f} ms; all: "
            f"{whole * 1000:.0f} ms)",
        )


def hop(blocks):
    """A part on a thread, and the least that another thread costs."""
    names = {"inline": "One", "thread": "OneOnAThread", "handed over": "OneHandedOver"}
    cases = {case: fetch(name) for case, name in names.items()}
    found = measure(cases, blocks=blocks, clock=time.perf_counter)
    yield (
        "a part on a warm thread, over one in the request's",
        "<= 80 us",
        f"{found['thread'] - found['inline']:.0f} us",
    )
    yield (
        "for comparison: two queues, to a waiting thread and back",
        "",
        f"{found['handed over'] - found['inline']:.0f} us",
    )


def cached(blocks, redis_url):
    """A large cached fragment against a tiny one, and a store against the client it uses."""
    cases = {"tiny": fetch("Tiny"), "large": fetch("Large")}
    found = measure(cases, calls=50, blocks=blocks)
    yield (
        "a cached fragment of 226 KB against a tiny one, LocMem",
        "<= 2.5 x",
        f"{found['large'] / found['tiny']:.2f} x",
    )
    caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}}
    with override_settings(CACHES=caches, DJANGO_PARTSTREAM={"CACHE_STORE": subjects.REDIS_STORE}):
        cases = {"tiny": fetch("Tiny"), "large": fetch("Large")}
        found = measure(cases, calls=50, blocks=blocks, clock=time.perf_counter)
        yield (
            "a cached fragment of 226 KB against a tiny one, Redis",
            "<= 3 x",
            f"{found['large'] / found['tiny']:.2f} x",
        )
        from django_redis import get_redis_connection

        store, client, value = get_cache_store(), get_redis_connection(), b"x" * 2048
        store.set_many({"benchmark": value}, 300)
        client.set("raw", value)
        found = measure(
            {
                "store": Case(lambda count: ["benchmark"] * count, store.get),
                "raw": Case(lambda count: ["raw"] * count, client.get),
            },
            blocks=blocks,
            clock=time.perf_counter,
        )
        yield (
            "2 KB from the Redis store against redis-py's get",
            "<= 1.5 x",
            f"{found['store'] / found['raw']:.2f} x",
        )


def single_flight(redis_url):
    """64 callers of an uncached loader in four warm processes, each timed from its own call."""
    views = ("Shared", "SharedByHand")
    slowest, counts = {view: [] for view in views}, []
    caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}}
    with ExitStack() as stack:
        crews = {
            view: stack.enter_context(subjects.processes(4, view, redis_url=redis_url))
            for view in views
        }
        stack.enter_context(override_settings(CACHES=caches))
        from django_redis import get_redis_connection

        client = get_redis_connection()
        for number in range(COLD_ROUNDS + WARM_UP):
            for view, workers in crews.items():
                client.flushdb()
                moment = time.time() + 0.3
                for worker in workers:
                    worker.send(("callers", moment))
                answers = [worker.recv() for worker in workers]
                if number >= WARM_UP:
                    longest = max(second for seconds, _ in answers for second in seconds)
                    slowest[view].append(longest)
                    counts.append(sum(len(ran) for _, ran in answers))
    yield "64 cold callers in 4 processes, a loader of 200 ms: runs", "1", str(max(counts))
    yield (
        "64 cold callers in 4 processes: the slowest of them",
        "<= 225 ms",
        f"{median(slowest['Shared']) * 1000:.0f} ms",
    )
    yield (
        "for comparison: the same with a lock in Redis, written by hand in the loader",
        "",
        f"{median(slowest['SharedByHand']) * 1000:.0f} ms",
    )


def connections(database_url):
    """PostgreSQL connections before and after many part loads on threads."""
    import psycopg

    def count():
        with psycopg.connect(database_url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            )
            return row.fetchone()[0] - 1

    with subjects.processes(1, "Queries", database_url=database_url) as (worker,):
        before = count()
        for _ in range(100):
            worker.send(("get", "/"))
            worker.recv()
        deadline = time.monotonic() + 10
        while count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        after = count()
    yield (
        "PostgreSQL connections after 1,000 part loads on threads, 100 timed out",
        "as before",
        f"{before} before, {after} after",
    )
    with subjects.processes(1, "Connecting", database_url=database_url) as (worker,):
        seconds = []
        for _ in range(200):
            worker.send(("get", "/"))
            content, _ = worker.recv()
            seconds.append(json.loads(content)["results"][0]["seconds"])
    opened, kept = (median(pair[place] for pair in seconds) * 1000 for place in (0, 1))
    yield (
        "a worker's query that opens its PostgreSQL connection, and one on a kept connection",
        "",
        f"{opened:.2f} ms, {kept:.2f} ms",
    )


def rows(blocks):
    """Each measure with its target."""
    binary = redis.find_server()
    with redis.server(binary) as server:
        yield from side_by_side()
        yield from in_time(server.url)
        yield from computing()
        yield from hop(blocks)
        yield from cached(blocks, server.url)
        yield from single_flight(server.url)
    with postgresql.server(postgresql.find_binaries()) as url:
        yield from connections(url)


if __name__ == "__main__":
    report(
        __doc__.split("\n")[0],
        rows,
        f"django-redis {version('django-redis')}",
        f"redis-py {version('redis')}",
        blocks=40,
    )
