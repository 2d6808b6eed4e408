"""The time budget of a chunk."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from threading import Event

import pytest
from django.core.cache import cache
from django.test import AsyncClient
from rest_framework.permissions import BasePermission

from partstream import HybridProgressiveView, PartError, cached_for, lazy, safe_call
from partstream.backends.executors.inline import InlineExecutor
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import Misuse
from partstream.testing import collect
from tests.support.concurrency import (
    PATIENCE,
    HeldCoroutine,
    in_background,
    in_threads,
    soon,
    wait_until,
)
from tests.support.marks import timed
from tests.support.time_budgets import AMPLE, BEYOND, BUDGET, LONGER
from tests.support.walk_client import at, get_json, merged, names, walk

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
NULL = "partstream.backends.caches.null.NullCacheStore"
DUMMY = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


def one(request):
    return 1


def failing(request):
    raise ValueError("no")


@pytest.fixture
def serve_budget(serve, threads):
    """The URL of a view of these parts, of one chunk if its budget were not spent."""

    def serve_budget(*parts, **attributes):
        attributes = {"chunk_size": 50, "time_budget": BUDGET, "executor": threads, **attributes}
        return serve(HybridProgressiveView, parts=list(parts), **attributes)

    return serve_budget


# What is sent, and what moves on


def test_budget__sends_what_is_ready(serve_budget, client, held_of_each_kind):
    slow, slower = held_of_each_kind("slow"), held_of_each_kind("slower")
    url = serve_budget(
        ("now", 1),
        ("slow", lazy(slow)),
        ("quick", 2),
        ("slower", lazy(slower)),
        ("last", lazy(one)),
        chunk_size=4,
    )
    with soon():
        first = get_json(client, url)
    assert first["results"] == [{"now": 1}, {"quick": 2}]
    assert "errors" not in first
    assert first["meta"] == {
        "total_parts": 5,
        "current_part": 2,
        "has_more": True,
        "manifest_url": "/served/manifest/",
        "pending": ["slow", "slower", "last"],
    }
    slow.release()
    slower.release()
    rest = walk(client, url, first["cursor"])
    assert merged(rest) == {"slow": "slow", "slower": "slower", "last": 1}
    assert [envelope["meta"]["current_part"] for envelope in rest][-1] == 5
    assert all("pending" not in envelope["meta"] for envelope in rest)
    assert (slow.runs, slower.runs) == (1, 1)


@pytest.mark.parametrize("look", range(1, 3))
def test_budget__may_end_at_any_moment(serve_budget, client, held, monkeypatch, look):
    """As on a busy machine, which stops a thread for longer than the budget after it has looked."""
    looks, stopped = itertools.count(1), 0

    def look_and_be_stopped():
        nonlocal stopped
        now = time.monotonic() + stopped
        if next(looks) == look:
            stopped = 2 * AMPLE
        return now

    monkeypatch.setattr("partstream.resolution.resolver.monotonic", look_and_be_stopped)
    monkeypatch.setattr("partstream.resolution.pending.monotonic", look_and_be_stopped)
    slow = held("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow)), time_budget=AMPLE)
    with soon():
        first = get_json(client, url)
    assert (names(first), first["meta"]["pending"]) == (["now"], ["slow"])
    slow.release()
    assert merged(walk(client, url, first["cursor"])) == {"slow": "slow"}


def test_budget__that_is_not_spent_makes_no_difference(serve_budget, client):
    url = serve_budget(
        *((f"p{number}", lazy(one)) for number in range(5)), chunk_size=3, time_budget=AMPLE
    )
    with soon():
        envelopes = walk(client, url)
    assert [names(envelope) for envelope in envelopes] == [["p0", "p1", "p2"], ["p3", "p4"]]
    assert envelopes[0]["meta"]["pending"] == ["p3", "p4"]


def test_budget__waits_for_the_first_in_any_case(serve_budget, client, held_of_each_kind):
    loaders = [held_of_each_kind(number) for number in range(3)]
    parts = [(f"p{number}", lazy(loader)) for number, loader in enumerate(loaders)]
    url = serve_budget(*parts, time_budget=0.001)
    with in_background(get_json, client, url) as answer:
        for loader in loaders:
            loader.wait_until_begun()
        loaders[1].release()
        first = answer()
    assert first["results"] == [{"p1": 1}]
    assert first["meta"]["pending"] == ["p0", "p2"]
    loaders[0].release()
    loaders[2].release()
    assert merged(walk(client, url, first["cursor"])) == {"p0": 0, "p2": 2}
    assert [loader.runs for loader in loaders] == [1, 1, 1]


def test_budget__the_first_may_be_a_failure(serve_budget, client, held):
    slow = held("slow")
    url = serve_budget(("slow", lazy(slow)), ("bad", lazy(failing)))
    first = get_json(client, url)
    assert first["results"] == []
    assert [error["part"] for error in first["errors"]] == ["bad"]
    assert first["meta"]["current_part"] == 1
    slow.release()
    assert merged(walk(client, url, first["cursor"])) == {"slow": "slow"}


def test_budget__what_is_only_depended_on_is_not_the_first(serve_budget, client, held):
    top = held("top")
    url = serve_budget(("top", lazy(top, depends_on=["base"])), ("base", lazy(one)), chunk_size=1)
    with in_background(get_json, client, url) as answer:
        top.wait_until_begun()
        top.release()
        assert answer()["results"] == [{"top": {"base": 1, "data": "top"}}]


def test_budget__the_running_part_is_joined(serve_budget, client, held_of_each_kind):
    slow, next_one = held_of_each_kind("slow"), held_of_each_kind("next")
    url = serve_budget(("now", 1), ("slow", lazy(slow)), ("next", lazy(next_one)), chunk_size=2)
    first = get_json(client, url)
    assert first["meta"]["pending"] == ["slow", "next"]
    with in_background(get_json, client, at(url, first["cursor"])) as answer:
        next_one.wait_until_begun()  # So the request waits for both.
        slow.release()
        second = answer()
    assert second["results"] == [{"slow": "slow"}]
    next_one.release()
    assert merged(walk(client, url, second["cursor"])) == {"next": "next"}
    assert (slow.runs, next_one.runs) == (1, 1)


def test_budget__the_running_part_may_be_put_off_again(serve_budget, client, held):
    slow, others = held("slow"), [held(number) for number in range(3)]
    url = serve_budget(
        ("now", 1),
        ("slow", lazy(slow)),
        *((f"p{number}", lazy(other)) for number, other in enumerate(others)),
        chunk_size=2,
    )
    envelope = get_json(client, url)
    for number, other in enumerate(others):
        with in_background(get_json, client, at(url, envelope["cursor"])) as answer:
            other.wait_until_begun()
            other.release()
            envelope = answer()
        assert envelope["results"] == [{f"p{number}": number}]
    slow.release()
    assert merged(walk(client, url, envelope["cursor"])) == {"slow": "slow"}
    assert slow.runs == 1


#: More than what the store keeps.
HUGE = "x" * 2000
#: What is around the loader, what is delivered, what the loader raises.
ENDS = {
    "data": (lambda slow: slow, "slow", None),
    "huge": (lambda slow: slow, HUGE, None),
    "fallback": (lambda slow: safe_call(slow, fallback="covered"), "covered", ValueError("no")),
    "failure": (lambda slow: slow, None, ValueError("no")),
    "own error": (lambda slow: slow, None, PartError("Shut.", code="shut", retryable=False)),
    "cached": (lambda slow: cached_for(60, shared=True)(slow), "slow", None),
    "cached failure": (lambda slow: cached_for(60, shared=True)(slow), None, ValueError("no")),
    "cached huge": (lambda slow: cached_for(60, shared=True)(slow), HUGE, None),
}


@pytest.fixture(params=ENDS)
def ending(request, held_of_each_kind, settings):
    """A loader that is held and its part, with what it comes to: a result, or a code."""
    settings.DJANGO_PARTSTREAM = {"MAX_FRAGMENT_SIZE": 1024}
    cache.clear()
    wrap, data, error = ENDS[request.param]
    slow = held_of_each_kind(data, error=error)
    code = None if data is not None else getattr(error, "code", "part_failed")
    return slow, lazy(wrap(slow)), data, code


def outcome(envelopes, name):
    """The result of a part, and the code of its error."""
    codes = {
        error["part"]: error["code"]
        for envelope in envelopes
        for error in envelope.get("errors", [])
    }
    return merged(envelopes).get(name), codes.get(name)


def test_budget__what_ends_while_it_is_joined(serve_budget, client, ending, held, caplog):
    slow, part, data, code = ending
    next_one = held("next")
    url = serve_budget(("now", 1), ("slow", part), ("next", lazy(next_one)), chunk_size=2)
    first = get_json(client, url)
    assert names(first) == ["now"]
    with in_background(get_json, client, at(url, first["cursor"])) as answer:
        next_one.wait_until_begun()
        slow.release()
        second = answer()
    assert outcome([second], "slow") == (data, code)
    next_one.release()
    assert merged(walk(client, url, second["cursor"])) == {"next": "next"}
    assert slow.runs == 1
    assert logged(caplog) == isinstance(slow.error, ValueError)


def logged(caplog):
    """How many failures the log has."""
    return sum(
        record.levelno >= logging.WARNING and record.name.startswith("partstream")
        for record in caplog.records
    )


def nothing_is_running():
    """Whether all flights have ended, and all waiting callers were notified."""
    return not get_single_flight()._flights


def test_budget__what_ends_between_two_chunks(client, serve_budget, ending, caplog):
    slow, part, data, code = ending
    url = serve_budget(("now", 1), ("slow", part))
    first = get_json(client, url)
    assert names(first) == ["now"]
    slow.release()
    wait_until(nothing_is_running)
    (second,) = walk(client, url, first["cursor"])
    assert outcome([second], "slow") == (data, code)
    assert slow.runs == 1
    assert logged(caplog) == isinstance(slow.error, ValueError)


def test_budget__what_failed_while_it_was_joined_is_run_again_by_a_retry(
    serve_budget, client, held
):
    slow, next_one = held(error=ValueError("no")), held("next")
    url = serve_budget(("now", 1), ("slow", lazy(slow)), ("next", lazy(next_one)), chunk_size=2)
    first = get_json(client, url)
    with in_background(get_json, client, at(url, first["cursor"])) as answer:
        next_one.wait_until_begun()
        slow.release()
        (error,) = answer()["errors"]
    slow.error, slow.data = None, "mended"
    assert merged(walk(client, url, error["retry_cursor"])) == {"slow": "mended"}
    assert slow.runs == 2


def test_budget__what_failed_between_two_chunks_is_run_again_by_a_retry(serve_budget, client, held):
    slow = held(error=ValueError("no"))
    url = serve_budget(("now", 1), ("slow", lazy(slow)))
    first = get_json(client, url)
    slow.release()
    wait_until(nothing_is_running)
    (error,) = get_json(client, at(url, first["cursor"]))["errors"]
    slow.error, slow.data = None, "mended"
    assert merged(walk(client, url, error["retry_cursor"])) == {"slow": "mended"}
    assert slow.runs == 2


def test_budget__a_retry_has_one_as_well(serve_budget, client, held):
    slow = held("slow")
    failures = itertools.count()

    def flaky(request):
        if next(failures) == 0:
            raise ValueError
        return "mended"

    url = serve_budget(("flaky", lazy(flaky)), ("slow", lazy(slow)))
    first = get_json(client, url)
    (error,) = first["errors"]
    retried = get_json(client, at(url, error["retry_cursor"]))
    assert retried["results"] == [{"flaky": "mended"}]
    assert retried["cursor"] is None
    assert (retried["meta"]["current_part"], retried["meta"]["total_parts"]) == (2, 2)
    slow.release()
    (last,) = walk(client, url, first["cursor"])
    assert last["results"] == [{"slow": "slow"}]
    assert slow.runs == 1


# With dependencies


def test_budget__a_dependency_moves_with_its_dependents(serve_budget, client, held_of_each_kind):
    base, top = held_of_each_kind("base"), held_of_each_kind("top")
    url = serve_budget(
        ("now", 1),
        ("top", lazy(top, depends_on=["base"])),
        ("base", lazy(base)),
        ("higher", lazy(lambda request, top: top["data"], depends_on=["top"])),
    )
    first = get_json(client, url)
    assert names(first) == ["now"]
    assert first["meta"]["pending"] == ["top", "base", "higher"]
    base.release()
    top.release()
    rest = walk(client, url, first["cursor"])
    assert merged(rest) == {
        "base": "base",
        "top": {"base": "base", "data": "top"},
        "higher": "top",
    }
    assert (base.runs, top.runs) == (1, 1)


@timed
@pytest.mark.parametrize("fails", [False, True], ids=["data", "fallback"])
def test_budget__a_dependency_that_was_delivered_does_not_run_again(
    serve_budget, client, held, calls, fails
):
    def base(request):
        calls.append("base")
        if fails:
            raise ValueError
        return "base"

    top = held("top")
    url = serve_budget(
        ("base", lazy(safe_call(base, fallback="base"))),
        ("top", lazy(top, depends_on=["base"])),
        time_budget=LONGER,
    )
    with in_background(get_json, client, url) as answer:
        top.wait_until_begun()
        first = answer()
    assert first["results"] == [{"base": "base"}]
    top.release()
    assert merged(walk(client, url, first["cursor"])) == {"top": {"base": "base", "data": "top"}}
    assert (calls, top.runs) == (["base"], 1)


@timed
def test_budget__a_dependency_that_is_not_delivered_yet_does_not_run_again(
    serve_budget, client, held, calls
):
    slow = held("slow")
    url = serve_budget(
        ("now", 1),
        ("slow", lazy(slow, depends_on=["base"])),
        ("base", lazy(calls.loader("base", "base"))),
        chunk_size=2,
        time_budget=LONGER,
    )
    with in_background(get_json, client, url) as answer:
        slow.wait_until_begun()
        first = answer()
    assert first["results"] == [{"now": 1}]
    slow.release()
    rest = walk(client, url, first["cursor"])
    assert merged(rest) == {"slow": {"base": "base", "data": "slow"}, "base": "base"}
    assert (calls, slow.runs) == (["base"], 1)


def test_budget__a_dependency_that_fails_after_it_moved(serve_budget, client, held, calls):
    base = held(error=ValueError("no"))
    url = serve_budget(
        ("now", 1),
        ("base", lazy(base)),
        ("top", lazy(calls.loader("top"), depends_on=["base"])),
    )
    first = get_json(client, url)
    base.release()
    rest = walk(client, url, first["cursor"])
    assert [
        (error["part"], error["code"]) for envelope in rest for error in envelope["errors"]
    ] == [("base", "part_failed"), ("top", "dependency_failed")]
    assert (calls, base.runs) == ([], 1)


# With permissions


class Switch(BasePermission):
    """Granted while the query says nothing else."""

    granted = True

    def has_permission(self, request, view):
        return type(self).granted


class Never(BasePermission):
    def has_permission(self, request, view):
        return False


def test_budget__hidden_parts_stay_hidden(serve_budget, client, held, calls):
    slow = held("slow")
    url = serve_budget(
        ("secret", lazy(calls.loader("secret"), permission_classes=[Never])),
        ("slow", lazy(slow)),
        ("now", 1),
        ("gated", lazy(lambda request, secret: calls.append("gated"), depends_on=["secret"])),
        ("last", 2),
        chunk_size=2,
    )
    first = get_json(client, url)
    assert names(first) == ["now"]
    assert (first["meta"]["current_part"], first["meta"]["total_parts"]) == (1, 3)
    assert first["meta"]["pending"] == ["slow", "last"]
    slow.release()
    assert merged(walk(client, url, first["cursor"])) == {"slow": "slow", "last": 2}
    assert (calls, slow.runs) == ([], 1)


def test_budget__a_permission_is_withdrawn_from_what_moved(serve_budget, client, held, monkeypatch):
    slow = held("secret")
    url = serve_budget(
        ("now", 1), ("slow", lazy(slow, permission_classes=[Switch])), ("last", 2), chunk_size=2
    )
    first = get_json(client, url)
    assert first["meta"]["pending"] == ["slow", "last"]
    monkeypatch.setattr(Switch, "granted", False)
    slow.release()
    rest = walk(client, url, first["cursor"])
    assert merged(rest) == {"last": 2}
    assert rest[-1]["meta"]["total_parts"] == rest[-1]["meta"]["current_part"] == 2
    assert slow.runs == 1


# Once, however it is asked


def test_budget__a_repeated_cursor_completes_each_branch_once(serve_budget, client, held):
    slow, other = held("slow"), held("other")
    url = serve_budget(
        ("now", 1), ("slow", lazy(slow)), ("other", lazy(other)), ("last", lazy(one)), chunk_size=3
    )
    first = get_json(client, url)
    with in_background(get_json, client, at(url, first["cursor"])) as answer:
        slow.release()
        branches = [[answer()]]
    other.release()
    branches += [[get_json(client, at(url, first["cursor"]))] for _ in range(2)]
    # Where they stand differs; each of them ends with all that was still to come, once.
    for branch in branches:
        if branch[-1]["cursor"] is not None:
            branch += walk(client, url, branch[-1]["cursor"])
        assert sorted(itertools.chain(*map(names, branch))) == ["last", "other", "slow"]
        assert merged(branch) == {"slow": "slow", "other": "other", "last": 1}
        assert branch[-1]["meta"]["current_part"] == 4


def test_budget__two_requests_with_one_cursor_share_running_parts(serve_budget, client, held):
    slow = held("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow)))
    first = get_json(client, url)
    with (
        in_background(get_json, client, at(url, first["cursor"])) as answer,
        in_background(get_json, client, at(url, first["cursor"])) as other_answer,
    ):
        slow.release()
        assert merged([answer()]) == merged([other_answer()]) == {"slow": "slow"}
    assert slow.runs == 1


def test_budget__of_another_walk_is_another_matter(serve_budget, client, held):
    slow = held("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow)))
    firsts = [get_json(client, url) for _ in range(3)]
    slow.release()
    for first in firsts:
        assert merged(walk(client, url, first["cursor"])) == {"slow": "slow"}
    assert slow.runs == 3


def test_budget__of_many_walks_at_a_time(serve_budget, client, executors):
    # Real time: none of it is asserted.
    executor, runs = executors(max_workers=4, max_queued=1000), Counter()
    pause = Event()

    def load(number):
        def load(request):
            runs[number] += 1
            pause.wait(0.002 * number)
            return number

        return load

    parts = [(f"p{number}", lazy(load(number))) for number in range(6)]
    url = serve_budget(*parts, chunk_size=3, executor=executor, time_budget=0.004)

    def use(_):
        return [dict(collect(type(client)(), url)) for _ in range(3)]

    whole = {f"p{number}": number for number in range(6)}
    assert in_threads(8, use) == [[whole] * 3] * 8
    assert set(runs.values()) == {24}


def test_budget__under_asgi(serve_budget, held_of_each_kind):
    slow = held_of_each_kind("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow)), ("quick", 2))

    async def main():
        client = AsyncClient()
        first = (await client.get(url)).json()
        slow.release()
        return first, (await client.get(at(url, first["cursor"]))).json()

    first, second = asyncio.run(main())
    assert first["results"] == [{"now": 1}, {"quick": 2}]
    assert second["results"] == [{"slow": "slow"}]
    assert slow.runs == 1


# With timeouts


def test_budget__a_timeout_goes_on_in_the_next_chunk(serve_budget, client, held_of_each_kind):
    slow = held_of_each_kind("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow, timeout=BEYOND)))
    first = get_json(client, url)
    assert names(first) == ["now"]
    with soon():
        (second,) = walk(client, url, first["cursor"])
    assert outcome([second], "slow") == (None, "part_timeout")
    assert slow.runs == 1


def test_budget__a_part_of_a_walk_that_stops_is_abandoned(serve_budget, client, held, threads):
    slow = held("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow, timeout=BEYOND)))
    first = get_json(client, url)
    wait_until(lambda: threads.abandoned == 1)
    with soon():
        (second,) = walk(client, url, first["cursor"])
    assert outcome([second], "slow") == (None, "part_timeout")
    assert slow.runs == 1
    slow.release()
    wait_until(lambda: threads.abandoned == 0)


def test_budget__a_coroutine_of_a_walk_that_stops_is_cancelled(serve_budget, client, held):
    slow = held("slow", kind=HeldCoroutine)
    get_json(client, serve_budget(("now", 1), ("slow", lazy(slow, timeout=BEYOND))))
    assert slow.cancelled.wait(PATIENCE)


# What it needs, and where it does not hold


@pytest.mark.parametrize("delivery", ["walk", "cursor"])
def test_budget__head_runs_nothing(serve_budget, client, calls, delivery):
    url = serve_budget(*((name, lazy(calls.loader(name))) for name in "abc"), chunk_size=1)
    if delivery == "cursor":
        url = at(url, get_json(client, url)["cursor"])
        calls.clear()
    answer = client.head(url)
    assert (answer.status_code, answer.content, calls) == (200, b"", [])


def test_budget__does_not_hold_by_key(serve_budget, client, held):
    slow = held("slow")
    url = serve_budget(("now", 1), ("slow", lazy(slow)), time_budget=0.001)
    with in_background(get_json, client, f"{url}parts/?keys=now,slow") as answer:
        slow.wait_until_begun()
        # Long after the budget.
        assert not Event().wait(0.05)
        slow.release()
        envelope = answer()
    assert envelope["results"] == [{"now": 1}, {"slow": "slow"}]
    assert envelope["cursor"] is None


def test_budget__does_not_hold_without_cursors(serve, client, threads, held):
    from rest_framework.views import APIView

    from partstream.mixins import ChunkMixin

    slow = held("slow")

    class Whole(ChunkMixin, APIView):
        def get(self, request):
            return self.walk_response(request)

    url = serve(
        Whole, parts=[("now", 1), ("slow", lazy(slow))], executor=threads, time_budget=0.001
    )
    with in_background(get_json, client, url) as answer:
        slow.wait_until_begun()
        assert not Event().wait(0.05)
        slow.release()
        assert merged([answer()]) == {"now": 1, "slow": "slow"}


def test_budget__may_be_a_setting_or_a_hook(serve, client, settings, held):
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": THREADS, "CHUNK_TIME_BUDGET": BUDGET}
    for attributes in ({}, {"get_time_budget": lambda self: BUDGET, "time_budget": AMPLE}):
        slow = held("slow")
        url = serve(parts=[("now", 1), ("slow", lazy(slow))], **attributes)
        first = get_json(client, url)
        assert first["meta"]["pending"] == ["slow"]
        slow.release()
        assert merged(walk(client, url, first["cursor"])) == {"slow": "slow"}
    # The view's own wins over the setting.
    url = serve(parts=[("a", lazy(one)), ("b", lazy(one))], time_budget=AMPLE)
    assert names(get_json(client, url)) == ["a", "b"]


@pytest.mark.parametrize("budget", [0, -1, "1", True, float("nan"), float("inf"), [1]], ids=repr)
def test_budget__that_is_no_time_is_refused(serve_budget, client, budget):
    with pytest.raises(Misuse) as caught:
        client.get(serve_budget(("a", 1), time_budget=budget))
    assert str(caught.value) == (
        f"ServedView.time_budget is {budget!r}. Write seconds, for example 0.1, or None for the "
        "setting."
    )


def test_budget__needs_an_executor_that_runs_parts_side_by_side(serve_budget, client, calls):
    url = serve_budget(("a", lazy(calls.loader("a"))), executor=InlineExecutor(), time_budget=1)
    with pytest.raises(Misuse) as caught:
        client.get(url)
    assert str(caught.value) == (
        "ServedView has a time budget of 1.0 s, but InlineExecutor runs parts one after another. "
        f'Set executor = "{THREADS}", or write lazy(..., executor=...) for the parts that should '
        "run there."
    )
    assert calls == []


def test_budget__needs_the_walk_cache(serve_budget, client, settings):
    says = (
        "ServedView has a time budget of 1.0 s, but no walk cache to keep the parts that move on. "
        "Set enable_caching = True."
    )
    with pytest.raises(Misuse) as caught:
        client.get(serve_budget(("a", 1), enable_caching=False, time_budget=1))
    assert str(caught.value) == says
    settings.DJANGO_PARTSTREAM = {"ENABLE_CACHING": False}
    with pytest.raises(Misuse) as caught:
        client.get(serve_budget(("a", 1), time_budget=1))
    assert str(caught.value) == says
    assert get_json(client, serve_budget(("a", 1), time_budget=1, enable_caching=True))


@pytest.mark.parametrize(
    ("overridden", "store"),
    [
        ({"DJANGO_PARTSTREAM": {"CACHE_STORE": NULL}}, "NullCacheStore"),
        ({"CACHES": DUMMY}, "DjangoCacheStore"),
    ],
)
def test_budget__needs_a_store_that_keeps(serve_budget, client, settings, overridden, store):
    for name, value in overridden.items():
        setattr(settings, name, value)
    with pytest.raises(Misuse) as caught:
        client.get(serve_budget(("a", 1), time_budget=1))
    assert str(caught.value) == (
        f"ServedView has a time budget of 1.0 s, but {store} keeps nothing. "
        "Set CACHE_STORE to a store that does."
    )
