"""When a walk asks the store: for parts that were slow in this process, or have not run in it yet.

Each served class begins without knowing any part, as a process does.
"""

from __future__ import annotations

import pytest

from partstream import PartError, cached_for, lazy, safe_call
from partstream.backends.loader import get_cache_store
from partstream.exceptions import Misuse
from partstream.resolution import boundary, launcher
from tests.support.time_budgets import AMPLE
from tests.support.walk_client import at, first_cursor, get_json, walk

pytestmark = pytest.mark.usefixtures("empty_cache")

#: Seconds below and above the default of `CACHE_MIN_DURATION`.
QUICK, SLOW = 0.25, 0.26


@pytest.fixture
def configure(settings):
    """Set more of the settings beside the store that notes what it is asked."""

    def configure(**more):
        settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "tests.support.stores.NotingStore", **more}
        return get_cache_store()

    return configure


class Clock:
    """The clock of durations, which stands still unless a loader moves it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Timed:
    """Loaders that take the seconds that the test says, and note their runs."""

    def __init__(self, clock):
        self._clock = clock
        self.seconds = {}
        self.runs = []

    def part(self, name, seconds, **options):
        self.seconds[name] = seconds

        def load(request, **dependencies):
            self.runs.append(name)
            self._clock.now += self.seconds[name]
            return len(self.runs)

        return name, lazy(load, **options)

    def parts(self, **seconds):
        return [self.part(name, each) for name, each in seconds.items()]


@pytest.fixture
def timed(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(boundary, "perf_counter", clock)
    monkeypatch.setattr(launcher, "perf_counter", clock)
    return Timed(clock)


def cursors(client, url):
    """The tokens of a walk."""
    return [envelope["cursor"] for envelope in walk(client, url)[:-1]]


# Quick parts


def test_store__is_not_asked_for_parts_that_were_quick_here(client, serve, store, timed):
    url = serve(parts=timed.parts(a=0, b=QUICK, c=QUICK), chunk_size=1)
    walk(client, url)
    assert store.taken() == [("read", 1), ("read", 1)]
    for _ in range(2):
        walk(client, url)
    assert store.taken() == []
    assert timed.runs == ["a", "b", "c"] * 3


def test_store__is_asked_for_a_chunk_with_one_part_that_has_not_run(client, serve, store, timed):
    parts = timed.parts(a=0, b=0, c=0)
    tokens = cursors(client, serve(parts=parts, chunk_size=1))
    store.taken()
    url = serve(parts=parts, chunk_size=2)
    get_json(client, at(url, tokens[1]))  # c
    assert store.taken() == [("read", 1)]
    get_json(client, at(url, tokens[0]))  # b and c
    assert store.taken() == [("read", 2)]
    get_json(client, at(url, tokens[0]))
    assert store.taken() == []


def test_store__is_not_asked_for_what_a_first_request_delivered_quickly(
    client, serve, store, timed
):
    parts = timed.parts(a=0, b=0)
    (token,) = cursors(client, serve(parts=parts, chunk_size=1))
    store.taken()
    url = serve(parts=parts, chunk_size=2)
    get_json(client, url)
    get_json(client, at(url, token))
    assert store.taken() == []


def test_store__is_not_asked_for_immediate_values(client, serve, store, timed):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], chunk_size=1)
    walk(client, url)
    assert store.taken() == []


def test_store__what_one_class_knows_another_does_not(client, serve, store, timed):
    parts = timed.parts(a=0, b=0)
    for _ in range(2):
        walk(client, serve(parts=parts, chunk_size=1))
        assert store.taken() == [("read", 1)]


# Slow parts


def test_store__is_asked_for_a_slow_part_each_time(client, serve, store, timed):
    url = serve(parts=timed.parts(a=0, slow=SLOW, c=0), chunk_size=1)
    walk(client, url)
    assert store.taken() == [("read", 1), ("write", 1), ("read", 1)]
    for _ in range(2):
        walk(client, url)
        assert store.taken() == [("read", 1), ("write", 1)]


def test_store__a_slow_part_runs_once_for_a_repeated_cursor(client, serve, store, timed):
    url = serve(parts=timed.parts(a=0, slow=SLOW, c=0), chunk_size=1)
    token = first_cursor(client, url)
    first, *again = (get_json(client, at(url, token))["results"] for _ in range(4))
    assert again == [first] * 3
    assert timed.runs == ["a", "slow"]
    assert store.taken() == [("read", 1), ("write", 1), *[("read", 1)] * 3]


def test_store__a_slow_part_of_a_first_request_is_known_and_not_kept(client, serve, store, timed):
    parts = timed.parts(a=0, slow=0)
    (token,) = cursors(client, serve(parts=parts, chunk_size=1))
    store.taken()
    url = serve(parts=parts, chunk_size=2)
    timed.seconds["slow"] = SLOW
    get_json(client, url)
    assert store.taken() == []
    timed.seconds["slow"] = 0
    for _ in range(2):
        get_json(client, at(url, token))
    assert store.taken() == [("read", 1), ("read", 1)]


def test_store__a_walk_of_mixed_parts(client, serve, store, timed):
    parts = [("now", 1), *timed.parts(quick=QUICK, slow=SLOW), ("last", 4)]
    url = serve(parts=parts, chunk_size=1)
    walk(client, url)
    store.taken()
    timed.runs.clear()
    for token in cursors(client, url):
        get_json(client, at(url, token))
    assert store.taken() == [("read", 1), ("write", 1), ("read", 1)]
    assert timed.runs == ["quick", "slow", "quick"]


def test_store__keeps_only_the_slow_parts_of_a_chunk(client, serve, store, timed):
    parts = [("now", 1), ("next", 2), *timed.parts(a=QUICK, b=SLOW)]
    url = serve(parts=parts, chunk_size=2)
    token = first_cursor(client, url)
    for _ in range(2):
        get_json(client, at(url, token))
    assert store.taken() == [("read", 2), ("write", 1), ("read", 2)]
    assert timed.runs == ["a", "b", "a"]


def test_store__a_part_that_turns_slow_is_kept_and_asked_for(client, serve, store, timed):
    url = serve(parts=timed.parts(a=0, b=0), chunk_size=1)
    walk(client, url)
    token = first_cursor(client, url)
    store.taken()
    timed.seconds["b"] = SLOW
    first = get_json(client, at(url, token))
    assert store.taken() == [("write", 1)]  # It was known to be quick, so nothing was read.
    assert get_json(client, at(url, token))["results"] == first["results"]
    assert store.taken() == [("read", 1)]


def test_store__a_part_that_was_slow_in_another_process_and_quick_here_runs_again(
    client, serve, store, timed
):
    parts = timed.parts(a=0, b=SLOW)
    elsewhere = serve(parts=parts, chunk_size=1)
    token = first_cursor(client, elsewhere)
    get_json(client, at(elsewhere, token))
    assert store.taken() == [("read", 1), ("write", 1)]
    # Here it is not known yet: it is found.
    here = serve(parts=parts, chunk_size=1)
    get_json(client, at(here, token))
    assert timed.runs == ["a", "b"]
    # Here it was quick.
    timed.seconds["b"] = 0
    walk(client, here)
    store.taken()
    get_json(client, at(here, token))
    assert store.taken() == []
    assert timed.runs == ["a", "b", "a", "b", "b"]


# What says nothing of how quick a part is


def failing(error):
    def load(request):
        raise error

    return load


@pytest.mark.parametrize(
    "load",
    [
        failing(ValueError("no")),
        failing(PartError("Closed.", code="closed")),
        safe_call(failing(ValueError("no")), fallback=1),
        lambda request: object(),
    ],
    ids=["error", "part error", "fallback", "no JSON"],
)
def test_store__is_asked_for_a_part_that_has_only_failed(client, serve, store, timed, load):
    url = serve(parts=[("a", 1), ("bad", lazy(load))], chunk_size=1)
    token = first_cursor(client, url)
    for _ in range(3):
        get_json(client, at(url, token))
    assert store.taken() == [("read", 1)] * 3


def test_store__is_asked_for_a_part_that_was_only_found_in_it(client, serve, store, timed):
    parts = timed.parts(a=0, b=SLOW)
    elsewhere = serve(parts=parts, chunk_size=1)
    token = first_cursor(client, elsewhere)
    get_json(client, at(elsewhere, token))
    here = serve(parts=parts, chunk_size=1)
    store.taken()
    for _ in range(3):
        get_json(client, at(here, token))
    assert store.taken() == [("read", 1)] * 3
    assert timed.runs == ["a", "b"]


def test_store__is_asked_for_a_part_that_came_from_the_cache_for_all(client, serve, store, timed):
    def load(request):
        timed.runs.append("b")
        return 2

    parts = [("a", 1), ("b", lazy(cached_for(60, shared=True)(load)))]
    walk(client, serve(parts=parts, chunk_size=1))
    url = serve(parts=parts, chunk_size=1)
    token = first_cursor(client, url)
    store.taken()
    for _ in range(2):
        get_json(client, at(url, token))
    # For the walk, and for all.
    assert store.taken() == [("read", 1)] * 4
    assert timed.runs == ["b"]


# The setting


def test_store__another_minimum_forgets_which_parts_were_quick(client, serve, configure, timed):
    configure(CACHE_MIN_DURATION=1)
    url = serve(parts=timed.parts(a=0, b=0.5), chunk_size=1)
    (token,) = cursors(client, url)
    store = configure(CACHE_MIN_DURATION=0.4)
    for _ in range(2):
        get_json(client, at(url, token))
    assert store.taken() == [("read", 1), ("write", 1), ("read", 1)]
    assert timed.runs == ["a", "b", "b"]


def test_store__another_minimum_forgets_which_parts_were_slow(client, serve, configure, timed):
    configure(CACHE_MIN_DURATION=0.4)
    url = serve(parts=timed.parts(a=0, b=0.5), chunk_size=1)
    walk(client, url)
    store = configure(CACHE_MIN_DURATION=0.5)
    for expected in ([("read", 1)], [], []):
        walk(client, url)
        assert store.taken() == expected


def test_store__with_a_minimum_of_zero_is_always_asked(client, serve, configure, timed):
    store = configure(CACHE_MIN_DURATION=0)
    url = serve(parts=timed.parts(a=0.001, b=0.001), chunk_size=1)
    for _ in range(3):
        walk(client, url)
        assert store.taken() == [("read", 1), ("write", 1)]


# Dependencies, time budgets, and walks without a cache


def test_store__is_always_asked_where_parts_have_dependencies(client, serve, store, timed):
    parts = [
        *timed.parts(rates=0),
        timed.part("orders", 0, depends_on=["rates"]),
        *timed.parts(news=0),
    ]
    url = serve(parts=parts, chunk_size=1)
    for _ in range(3):
        walk(client, url)
        assert store.taken() == [("write", 1), ("read", 2), ("read", 1)]
    assert timed.runs == ["rates", "orders", "news"] * 3


def test_store__is_always_asked_where_there_is_a_time_budget(client, serve, store, threads):
    parts = [(name, lazy(lambda request: 1)) for name in ("a", "b", "c")]
    url = serve(parts=parts, chunk_size=1, executor=threads, time_budget=AMPLE)
    for _ in range(3):
        walk(client, url)
        assert [trip for trip in store.taken() if trip[0] == "read"] == [("read", 1)] * 2


def test_store__is_asked_where_another_request_may_have_had_a_time_budget(
    client, serve, store, threads
):
    def get_time_budget(self):
        return None if "cursor" in self.request.query_params else AMPLE

    parts = [(name, lazy(lambda request: 1)) for name in ("a", "b", "c")]
    url = serve(parts=parts, chunk_size=1, executor=threads, get_time_budget=get_time_budget)
    for _ in range(3):
        walk(client, url)
        assert [trip for trip in store.taken() if trip[0] == "read"] == [("read", 1)] * 2


def test_store__a_wrong_switch_fails_at_once(client, serve, store, timed):
    url = serve(parts=timed.parts(a=0, b=0), chunk_size=1, enable_caching="yes")
    for _ in range(2):
        with pytest.raises(Misuse, match="enable_caching is 'yes'"):
            client.get(url)


@pytest.mark.parametrize("seconds", [QUICK, SLOW])
def test_store__is_never_asked_without_caching(client, serve, store, timed, seconds):
    parts = [*timed.parts(a=seconds, b=seconds), timed.part("c", seconds, depends_on=["a"])]
    url = serve(parts=parts, chunk_size=1, enable_caching=False)
    for token in cursors(client, url):
        get_json(client, at(url, token))
    assert store.taken() == []
    assert timed.runs == ["a", "b", "a", "c", "b", "a", "c"]
