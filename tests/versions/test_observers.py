"""Observers: what they see, in every place where parts run, and that they can break nothing."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress

import pytest

from partstream import HybridProgressiveView, cached_for, lazy
from partstream.resolution.observers import (
    PartObserver,
    add_observer,
    get_observers,
    remove_observer,
)
from tests.support.concurrency import PATIENCE, wait_until
from tests.support.log_messages import message
from tests.support.marks import timed
from tests.support.walk_client import get_json, names


class Noting(PartObserver):
    """Notes what it sees."""

    def __init__(self):
        self.entered = []
        self.left = []
        self.ends = []
        self.resolutions = []
        self.threads = set()

    @contextmanager
    def running(self, run):
        self.entered.append(run.name)
        self.threads.add(threading.get_ident())
        try:
            yield
        finally:
            self.left.append(run.name)

    def ended(self, run, outcome):
        self.ends.append((run.name, None if outcome is None else outcome.source))
        assert run.ended >= run.started

    def resolved(self, view, request, outcomes, pending):
        self.resolutions.append(([outcome.name for outcome in outcomes], list(pending)))


@pytest.fixture
def observe():
    added = []

    def observe(observer):
        add_observer(observer)
        added.append(observer)
        return observer

    yield observe
    for observer in added:
        remove_observer(observer)
    assert not get_observers()


def load(request, **dependencies):
    return 1


async def load_async(request):
    return 2


def fail(request):
    raise ValueError("no")


PARTS = [
    ("meta", 1),
    ("plain", lazy(load)),
    ("later", lazy(load_async)),
    ("needs", lazy(load, depends_on=["plain"])),
    ("raises", lazy(fail)),
    ("needs_raises", lazy(load, depends_on=["raises"])),
]


def test_observer__sees_each_part(serve, client, executor, observe):
    seen = observe(Noting())
    url = serve(parts=PARTS, chunk_size=10, executor=executor)
    get_json(client, url)
    assert set(seen.entered) == {"meta", "plain", "later", "needs", "raises"}
    assert sorted(seen.entered) == sorted(seen.left)
    # A coroutine, then its JSON.
    assert seen.entered.count("later") == 2
    assert dict(seen.ends) == {
        "meta": "immediate",
        "plain": "loader",
        "later": "loader",
        "needs": "loader",
        "raises": "loader",
    }
    assert len(seen.ends) == 5
    ((outcomes, pending),) = seen.resolutions
    assert set(outcomes) == {name for name, _ in PARTS}
    assert pending == []
    assert len(seen.threads) > 1 or not executor.concurrent


def test_observer__sees_what_a_cache_delivers(serve, client, observe, empty_cache):
    url = serve(parts=[("shared", lazy(cached_for(60, shared=True)(load)))])
    get_json(client, url)
    seen = observe(Noting())
    get_json(client, url)
    assert seen.entered == []
    assert seen.resolutions == [(["shared"], [])]


def test_observer__sees_what_is_left_to_a_later_chunk(
    serve, client, observe, held, threads, empty_cache
):
    slow = held(1)
    seen = observe(Noting())
    url = serve(parts=[("quick", 1), ("slow", lazy(slow))], executor=threads, time_budget=0.05)
    get_json(client, url)
    assert seen.resolutions == [(["quick"], ["slow"])]
    slow.release()


@timed
@pytest.mark.django_db(transaction=True)
def test_observer__sees_the_end_of_a_coroutine_that_is_cancelled(serve, client, executor, observe):
    ended = threading.Event()

    class Waiting(Noting):
        def ended(self, run, outcome):
            super().ended(run, outcome)
            ended.set()

    async def hang(request):
        await asyncio.sleep(PATIENCE)

    seen = observe(Waiting())
    url = serve(parts=[("hangs", lazy(hang, timeout=0.05))], executor=executor)
    assert get_json(client, url)["errors"][0]["code"] == "part_timeout"
    assert ended.wait(PATIENCE)
    assert seen.ends == [("hangs", None)]
    wait_until(lambda: seen.left == seen.entered == ["hangs"])


@timed
def test_observer__sees_the_end_of_a_coroutine_that_refuses_to_be_cancelled(
    serve, client, observe, threads
):
    let_go = threading.Event()

    async def hang(request):
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    seen = observe(Noting())
    url = serve(parts=[("hangs", lazy(hang, timeout=0.05))], executor=threads)
    assert get_json(client, url)["errors"][0]["code"] == "part_timeout"
    assert seen.ends == [("hangs", None)]
    let_go.set()
    wait_until(lambda: seen.left == ["hangs"])


def test_observer__several(serve, client, observe):
    both = [observe(Noting()), observe(Noting())]
    get_json(client, serve(parts=[("plain", lazy(load))]))
    assert [seen.entered for seen in both] == [["plain"]] * 2


def test_observer__removed_it_sees_nothing(serve, client):
    seen = Noting()
    add_observer(seen)
    remove_observer(seen)
    get_json(client, serve(parts=[("plain", lazy(load))]))
    assert seen.entered == []


@pytest.mark.parametrize("method", ["running", "ended", "resolved"])
def test_observer__that_raises_breaks_nothing(
    serve, client, executor, observe, monkeypatch, caplog, method
):
    def fail(self, *args):
        raise RuntimeError("broken observer")

    monkeypatch.setattr(Noting, method, fail)
    observe(Noting())
    others = observe(PartObserver())
    url = serve(HybridProgressiveView, parts=PARTS, chunk_size=10, executor=executor)
    envelope = get_json(client, url)
    assert names(envelope) == ["meta", "plain", "later", "needs"]
    assert "An observer of parts failed." in map(message, caplog.records)
    assert others in get_observers()


class RaisesAtTheEnd(PartObserver):
    """Its context managers raise when they are left."""

    @contextmanager
    def running(self, run):
        yield
        raise RuntimeError("broken observer")


class Swallowing(PartObserver):
    """Its context managers swallow what the part raises, as they must not."""

    class Manager:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return True

    def running(self, run):
        return self.Manager()


@pytest.mark.parametrize("kind", [RaisesAtTheEnd, Swallowing])
def test_observer__whose_context_manager_is_broken_breaks_nothing(
    serve, client, executor, observe, caplog, kind
):
    observe(kind())
    seen = observe(Noting())
    url = serve(HybridProgressiveView, parts=PARTS, chunk_size=10, executor=executor)
    assert names(get_json(client, url)) == ["meta", "plain", "later", "needs"]
    assert len(seen.ends) == 5
    told = "An observer of parts failed." in map(message, caplog.records)
    assert told is (kind is RaisesAtTheEnd)


def test_observer__sees_the_end_of_a_part_that_fails_the_request(serve, client, observe):
    """A KeyboardInterrupt is no failure of a part. It goes on through each observer."""

    def interrupt(request):
        raise KeyboardInterrupt

    observe(Swallowing())
    seen = observe(Noting())
    with pytest.raises(KeyboardInterrupt):
        client.get(serve(parts=[("plain", lazy(interrupt))]))
    assert (seen.entered, seen.left, seen.ends) == (["plain"], ["plain"], [("plain", None)])


def test_observer__of_nothing_is_free(serve, client):
    """Without observers, no boundary of theirs is made."""
    views = []

    class View(HybridProgressiveView):
        parts = PARTS

        def get_links(self, request):
            views.append(self.get_resolver(request))
            return super().get_links(request)

    get_json(client, serve(View))
    assert {resolver.observation for resolver in views} == {None}
