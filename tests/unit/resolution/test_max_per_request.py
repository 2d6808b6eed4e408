"""``max_per_request``: how many parts of one request run at the same time."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from threading import Event, Lock

import pytest
from django.test import Client

from partstream import HybridProgressiveView, cached_for, lazy, safe_call
from partstream.backends.executors.threads import ThreadExecutor
from partstream.caching.flight import LOST
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import Misuse
from partstream.resolution import schedule as schedule_module
from partstream.resolution.cached_parts import CachedParts
from partstream.resolution.pending import Pending
from partstream.resolution.waiting import Waiting
from tests.support.concurrency import PATIENCE, SOON, in_background, in_threads
from tests.support.marks import timed
from tests.support.time_budgets import AMPLE, BUDGET
from tests.support.walk_client import get_json, merged, walk

INLINE = "partstream.backends.executors.inline.InlineExecutor"
NUMBERS = range(8)


class Counter:
    """Loaders that count how many of them run at the same time; ``most`` is the highest count.

    Each runs until as many run as may, or, if fewer are left, until all others have ended.
    """

    def __init__(self, width, total):
        self.width = width
        self.left = total
        self.running = self.most = 0
        self.is_full = Event()
        self.lock = Lock()

    @contextmanager
    def counted(self):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running >= min(self.width, self.left):
                self.is_full.set()
        try:
            yield
        finally:
            with self.lock:
                self.running -= 1
                self.left -= 1
                if self.running < min(self.width, self.left):
                    self.is_full.clear()

    def wait(self):
        if not self.is_full.wait(PATIENCE):
            raise AssertionError("the others do not run")

    def loader(self, data=1):
        def load(request, **dependencies):
            with self.counted():
                self.wait()
                return data

        return load

    def coroutine(self, data=1):
        async def load(request, **dependencies):
            with self.counted():
                while not self.is_full.is_set():
                    await asyncio.sleep(0.001)
                return data

        return load

    def failing(self):
        def load(request, **dependencies):
            with self.counted():
                self.wait()
                raise ValueError("no")

        return load


@pytest.fixture
def limited(executors):
    """Makes executors of a limit."""
    return lambda most, **options: executors(ThreadExecutor, max_per_request=most, **options)


@pytest.fixture
def serve_limited(serve, empty_cache):
    def serve_limited(executor, *parts, **attributes):
        attributes = {"chunk_size": 50, "executor": executor, **attributes}
        return serve(HybridProgressiveView, parts=list(parts), **attributes)

    return serve_limited


@pytest.fixture
def polls(monkeypatch):
    """Whether each wait was a short one, for what nothing announces."""
    found, original = [], Waiting.polls

    def note(waiting):
        found.append(original(waiting))
        return found[-1]

    monkeypatch.setattr(Waiting, "polls", note)
    return found


@pytest.mark.parametrize("budget", [None, AMPLE])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_limit__is_reached_and_never_exceeded(serve_limited, client, limited, most, budget):
    counter = Counter(most, len(NUMBERS))
    parts = [(f"p{number}", lazy(counter.loader(number))) for number in NUMBERS]
    url = serve_limited(limited(most), *parts, time_budget=budget)
    assert merged([get_json(client, url)]) == {f"p{number}": number for number in NUMBERS}
    assert counter.most == most


def test_limit__counts_coroutines_too(serve_limited, client, limited):
    counter = Counter(2, len(NUMBERS))
    parts = [
        (f"p{number}", lazy(counter.coroutine() if number % 2 else counter.loader()))
        for number in NUMBERS
    ]
    assert len(merged([get_json(client, serve_limited(limited(2), *parts))])) == len(NUMBERS)
    assert counter.most == 2


def test_limit__does_not_count_parts_of_the_requests_thread(serve_limited, client, limited, held):
    slow = held("slow")

    def here(request):
        slow.wait_until_begun()
        return 1

    parts = [
        ("slow", lazy(slow)),
        ("here", lazy(here, executor=INLINE)),
        ("last", lazy(lambda request: slow.release(), executor=INLINE)),
        ("value", 1),
    ]
    url = serve_limited(limited(1), *parts)
    assert len(merged([get_json(client, url)])) == 4


def test_limit__is_that_of_each_request(serve_limited, client, limited):
    """Two requests side by side: each runs one part, and both at the same time."""
    counter = Counter(2, 4)
    executor = limited(1)
    url = serve_limited(executor, *((f"p{n}", lazy(counter.loader())) for n in range(2)))
    found = in_threads(2, lambda _: get_json(Client(), url))
    assert all(len(envelope["results"]) == 2 for envelope in found)
    assert counter.most == 2


def test_limit__is_that_of_each_executor(serve_limited, client, limited):
    counter = Counter(2, 4)
    one, other = limited(1), limited(1)
    parts = [
        (f"p{n}", lazy(counter.loader(), executor=executor))
        for n, executor in enumerate([one, one, other, other])
    ]
    assert len(merged([get_json(client, serve_limited(None, *parts))])) == 4
    assert counter.most == 2


def test_limit__with_dependencies_and_failures(serve_limited, client, limited):
    counter = Counter(1, 5)
    envelope = get_json(
        client,
        serve_limited(
            limited(1),
            ("d", lazy(counter.loader(), depends_on=["c"])),
            ("c", lazy(counter.loader(), depends_on=["a"])),
            ("a", lazy(counter.loader())),
            ("failed", lazy(counter.failing())),
            ("after", lazy(counter.loader(), depends_on=["failed"])),
            ("covered", lazy(safe_call(counter.failing(), 5))),
        ),
    )
    assert merged([envelope]) == {"d": 1, "c": 1, "a": 1, "covered": 5}
    codes = {error["part"]: error["code"] for error in envelope["errors"]}
    assert codes == {"failed": "part_failed", "after": "dependency_failed"}
    assert counter.most == 1


@timed
def test_limit__does_not_count_what_timed_out(serve_limited, client, limited, held):
    hangs = held()
    parts = [
        ("hangs", lazy(hangs, timeout=0.05)),
        ("hangs_too", lazy(hangs, timeout=0.05)),
        ("fine", lazy(lambda request: 1)),
    ]
    envelope = get_json(client, serve_limited(limited(1), *parts))
    assert envelope["results"] == [{"fine": 1}]
    assert [error["code"] for error in envelope["errors"]] == ["part_timeout"] * 2
    assert hangs.runs == 2
    hangs.release()


def test_limit__starts_the_timeout_of_a_part_with_the_part(
    serve_limited, client, limited, held, monkeypatch
):
    """While it waits for its turn, nothing counts."""
    slow = held("slow")
    parts = [("slow", lazy(slow)), ("next", lazy(lambda request: 1, timeout=PATIENCE))]
    deadlines = []
    original = schedule_module.Schedule._pause

    def pause(schedule):
        deadlines.append(schedule.pending.deadline())
        return original(schedule)

    monkeypatch.setattr(schedule_module.Schedule, "_pause", pause)
    with in_background(get_json, client, serve_limited(limited(1), *parts)) as answer:
        slow.wait_until_begun()
        slow.release()
        assert len(answer()["results"]) == 2
    assert deadlines[0] is None


def test_limit__is_kept_across_the_requests_of_a_walk(
    serve_limited, client, limited, held, monkeypatch
):
    """What an earlier request has left running counts, until it ends."""
    loaders = [held(number) for number in range(5)]
    parts = [("now", 1), *((f"p{number}", lazy(loader)) for number, loader in enumerate(loaders))]
    url = serve_limited(limited(2), *parts, time_budget=BUDGET)
    first = get_json(client, url)
    assert merged([first]) == {"now": 1}
    waits, in_progress = Event(), []
    original = Pending.deadline

    def deadline(pending):
        if not waits.is_set():
            in_progress.extend(entry.name for entry in pending)
            waits.set()
        return original(pending)

    monkeypatch.setattr(Pending, "deadline", deadline)
    with in_background(walk, client, url, first["cursor"]) as answer:
        assert waits.wait(PATIENCE)
        assert sorted(in_progress) == ["p0", "p1"]
        assert [loader.runs for loader in loaders[2:]] == [0, 0, 0]
        for loader in loaders:
            loader.release()
        assert merged(answer()) == {f"p{number}": number for number in range(5)}
    assert [loader.runs for loader in loaders] == [1] * 5


def test_limit__delivers_what_is_cached_without_room(serve_limited, client, limited, held):
    busy = held("busy")
    cached = cached_for(60, shared=True)(lambda request: "cached")
    url = serve_limited(limited(1), ("cached", lazy(cached)))
    get_json(client, url)
    looks = []
    url = serve_limited(
        limited(1),
        ("now", 1),
        ("busy", lazy(busy)),
        ("missing", lazy(cached_for(60, shared=True)(lambda request: looks.append(1)))),
        ("cached", lazy(cached)),
        time_budget=BUDGET,
    )
    first = get_json(client, url)
    assert merged([first]) == {"now": 1, "cached": "cached"}
    assert looks == []
    busy.release()
    assert list(merged(walk(client, url, first["cursor"]))) == ["busy", "missing"]


def test_limit__looks_only_once_for_what_waits_for_room(
    serve_limited, client, limited, monkeypatch
):
    """And once more when it begins: another process may have made it by then."""
    looks = []
    original = CachedParts.find

    def find(cached, name, *args):
        looks.append(name)
        return original(cached, name, *args)

    monkeypatch.setattr(CachedParts, "find", find)
    parts = [(f"p{number}", lazy(lambda request: 1)) for number in range(4)]
    missing = ("missing", lazy(cached_for(60, shared=True)(lambda request: 1)))
    assert len(merged([get_json(client, serve_limited(limited(1), *parts, missing))])) == 5
    assert looks == ["missing", "missing"]


@pytest.fixture
def other_caller(serve_limited, client, monkeypatch):
    """Another caller of a cached part, which is computing it: the value is its flight."""

    def other_caller(part):
        flights, keys = get_single_flight(), []
        join = flights.join

        def note(key, **options):
            keys.append(key)
            return join(key, **options)

        with monkeypatch.context() as patches:
            patches.setattr(flights, "join", note)
            get_json(client, serve_limited(None, part))
        flights.store.delete(keys[0])
        flight, is_own = join(keys[0], ttl=60)
        assert is_own
        return flight

    return other_caller


def test_limit__after_another_callers_run_was_lost(
    serve_limited, client, limited, held, other_caller, monkeypatch
):
    """A part that joined another caller's run has to run here; it waits for room, too."""
    busy, is_held, original = held("busy"), Event(), Waiting.hold
    joins = ("joins", lazy(cached_for(60, shared=True)(lambda request: busy.gate.is_set())))
    flight = other_caller(joins)

    def hold(waiting, name):
        original(waiting, name)
        is_held.set()

    monkeypatch.setattr(Waiting, "hold", hold)
    url = serve_limited(limited(1), joins, ("busy", lazy(busy)))
    with in_background(get_json, client, url) as answer:
        busy.wait_until_begun()
        flight.finish(LOST, failed=True)
        assert is_held.wait(SOON)
        busy.release()
        assert merged([answer()]) == {"joins": True, "busy": "busy"}


def test_limit__of_a_part_that_joins_leaves_its_thread_to_others(
    serve_limited, client, limited, other_caller, polls
):
    """In the request's own thread: while a part waits for another caller, the next one runs."""
    has_run = Event()
    joins = ("joins", lazy(cached_for(60, shared=True)(lambda request: 1), executor=INLINE))
    flight = other_caller(joins)
    following = ("following", lazy(lambda request: has_run.set(), executor=INLINE))
    with in_background(get_json, client, serve_limited(limited(1), joins, following)) as answer:
        assert has_run.wait(SOON)
        assert not any(polls)
        flight.finish(LOST, failed=True)
        assert merged([answer()]) == {"joins": 1, "following": None}


def test_limit__waits_for_an_end_and_does_not_poll(serve_limited, client, limited, held, polls):
    slow = held("slow")
    parts = [("slow", lazy(slow)), ("next", lazy(lambda request: 1))]
    with in_background(get_json, client, serve_limited(limited(1), *parts)) as answer:
        slow.wait_until_begun()
        slow.release()
        answer()
    assert polls == [False, False]


def test_limit__with_a_full_pool(serve_limited, client, limited, held):
    executor = limited(2, max_workers=1, max_queued=1)
    busy = held()
    executor.submit(busy)
    busy.wait_until_begun()
    executor.submit(busy)
    parts = [(f"p{number}", lazy(lambda request: 1)) for number in range(4)]
    assert len(merged([get_json(client, serve_limited(executor, *parts))])) == 4
    url = serve_limited(executor, *parts, time_budget=AMPLE)
    with in_background(get_json, client, url) as answer:
        busy.release()
        assert len(merged([answer()])) == 4


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"], ids=repr)
def test_option__that_is_no_count_is_misuse(most):
    with pytest.raises(Misuse) as caught:
        ThreadExecutor(max_per_request=most)
    assert str(caught.value) == (
        f"ThreadExecutor(max_per_request={most!r}): write a whole number of 1 or more."
    )


def test_option__is_none_by_default():
    assert ThreadExecutor().max_per_request is None
    assert ThreadExecutor(max_per_request=3).max_per_request == 3
