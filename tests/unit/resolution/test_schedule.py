"""Parts side by side: in what order, in which threads, and for whom."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import re
import time
from threading import Barrier, Event, get_ident

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.utils import translation
from rest_framework.test import force_authenticate

from partstream import HybridProgressiveView, PartError, cached_for, lazy, safe_call, with_timeout
from partstream.backends.executors.threads import ThreadExecutor
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import Misuse, NoCapacity
from partstream.parts.outcome import Outcome
from tests.support.concurrency import (
    PATIENCE,
    SOON,
    HeldCoroutine,
    in_background,
    in_threads,
    result_of,
    soon,
    wait_until,
)
from tests.support.time_budgets import AMPLE, BUDGET
from tests.support.walk_client import get_json, merged, names, walk

THREADS = "partstream.backends.executors.threads.ThreadExecutor"


def one(request):
    return 1


def failing(request):
    raise ValueError("no")


@pytest.fixture
def resolve(serve, client, threads):
    """The one envelope of a view of these parts, which run in threads."""

    def resolve(*parts, **attributes):
        url = serve(parts=list(parts), executor=threads, **{"chunk_size": 50, **attributes})
        return get_json(client, url)

    return resolve


# Side by side


def test_parts__start_together(resolve):
    barrier = Barrier(8)

    def meet(request):
        barrier.wait(PATIENCE)
        return get_ident()

    envelope = resolve(*((f"p{number}", lazy(meet)) for number in range(8)))
    idents = merged([envelope]).values()
    assert len(set(idents)) == 8
    assert get_ident() not in idents


def test_parts__plain_ones_and_coroutines_start_together(resolve, held):
    loaders = [held(1), held(2, kind=HeldCoroutine), held(3), held(4, kind=HeldCoroutine)]
    parts = [(f"p{number}", lazy(loader)) for number, loader in enumerate(loaders)]
    with in_background(resolve, *parts) as envelope:
        for loader in loaders:
            loader.wait_until_begun()
        for loader in reversed(loaders):
            loader.release()
        assert envelope()["results"] == [{"p0": 1}, {"p1": 2}, {"p2": 3}, {"p3": 4}]


def test_parts__of_every_kind(resolve):
    async def later(request):
        await asyncio.sleep(0)
        return "later"

    envelope = resolve(
        ("immediate", 1),
        ("plain", lazy(lambda request: (number for number in range(3)))),
        ("coroutine", lazy(later)),
        ("decorated", lazy(lambda request: later(request))),
        ("method", lazy("get_method")),
        ("timed", lazy(one, timeout=PATIENCE)),
        ("timed_coroutine", lazy(later, timeout=PATIENCE)),
        ("covered", lazy(safe_call(failing, fallback=None))),
        get_method=lambda self, request: type(self).__name__,
    )
    assert merged([envelope]) == {
        "immediate": 1,
        "plain": [0, 1, 2],
        "coroutine": "later",
        "decorated": "later",
        "method": "ServedView",
        "timed": 1,
        "timed_coroutine": "later",
        "covered": None,
    }


@pytest.mark.usefixtures("known_thread_settings")
@pytest.mark.parametrize("budget", [None, AMPLE, BUDGET])
def test_parts__leave_no_outcome_to_the_garbage_collector(serve, client, threads, budget):
    async def later(request):
        return 1

    def slow(request):
        time.sleep(3 * BUDGET)
        return 1

    parts = [
        *(("now", 1), ("plain", lazy(one)), ("coroutine", lazy(later))),
        *(("timed", lazy(one, timeout=PATIENCE)), ("slow", lazy(slow))),
        ("cached", lazy(cached_for(60, shared=True)(slow))),
    ]
    url = serve(parts=parts, executor=threads, chunk_size=50, time_budget=budget)

    def outcomes():
        return {id(found) for found in gc.get_objects() if type(found) is Outcome}

    gc.collect()
    gc.disable()
    try:
        before = outcomes()
        get_json(client, url)
        # A worker may still be about to let go of its call.
        wait_until(lambda: not get_single_flight()._flights)
        get_single_flight()._results.clear()
        wait_until(lambda: outcomes() <= before)
    finally:
        gc.enable()


def test_parts__come_in_declared_order_however_they_end(resolve, held):
    loaders = [held(number) for number in range(4)]
    parts = [(f"p{number}", lazy(loader)) for number, loader in enumerate(loaders)]
    with in_background(resolve, *parts) as envelope:
        for loader in reversed(loaders):
            loader.wait_until_begun()
            loader.release()
        assert names(envelope()) == ["p0", "p1", "p2", "p3"]


# Dependencies


def test_dependency__comes_first(resolve, calls):
    def load(name):
        def load(request, **given):
            calls.append(name)
            return sum(given.values(), 1)

        return load

    async def load_later(request, **given):
        calls.append("b")
        return sum(given.values(), 1)

    envelope = resolve(
        ("c", lazy(load("c"), depends_on=["a", "b"])),
        ("b", lazy(load_later, depends_on=["a"])),
        ("d", lazy(load("d"), depends_on=["c", "two"])),
        ("a", lazy(load("a"))),
        ("two", 2),
    )
    assert merged([envelope]) == {"c": 4, "b": 2, "d": 7, "a": 1, "two": 2}
    assert calls == ["a", "b", "c", "d"]


def test_dependency__starts_its_dependents_while_others_run(resolve, held):
    slow, top = held("slow"), held("top")
    parts = [
        ("slow", lazy(slow)),
        ("base", lazy(one)),
        ("top", lazy(top, depends_on=["base"])),
    ]
    with in_background(resolve, *parts) as envelope:
        slow.wait_until_begun()
        top.wait_until_begun()
        top.release()
        slow.release()
        assert merged([envelope()])["top"] == {"base": 1, "data": "top"}


def test_dependency__that_failed_fails_its_dependents_uncalled(resolve, calls):
    async def fail_later(request):
        raise PartError("Shut.", code="shut")

    envelope = resolve(
        ("base", lazy(failing)),
        ("other", lazy(fail_later)),
        ("middle", lazy(lambda request, base: calls.append("middle"), depends_on=["base"])),
        ("top", lazy(safe_call(calls.loader("top"), 1), depends_on=["middle"])),
        ("apart", lazy(calls.loader("apart"), depends_on=["other"])),
        ("fine", lazy(one)),
    )
    assert envelope["results"] == [{"fine": 1}]
    assert {error["part"]: error["code"] for error in envelope["errors"]} == {
        "base": "part_failed",
        "other": "shut",
        "middle": "dependency_failed",
        "top": "dependency_failed",
        "apart": "dependency_failed",
    }
    assert calls == []


@pytest.mark.parametrize("keys", ["base,left,right", "right,left", "left,left,base"])
def test_dependency__runs_once(serve, client, threads, calls, keys):
    def top(request, base):
        return base

    url = serve(
        HybridProgressiveView,
        parts=[
            ("left", lazy(top, depends_on=["base"])),
            ("base", lazy(calls.loader("base", 1))),
            ("right", lazy(top, depends_on=["base"])),
        ],
        executor=threads,
    )
    envelope = get_json(client, f"{url}parts/?keys={keys}")
    assert sorted(names(envelope)) == sorted(set(keys.split(",")))
    assert calls == ["base"]


# A full pool


class NotingExecutor(ThreadExecutor):
    """Says when it has refused a call."""

    def __init__(self, **options):
        super().__init__(**options)
        self.refused = Event()

    def submit(self, function, *, timeout=None):
        try:
            return super().submit(function, timeout=timeout)
        except NoCapacity:
            self.refused.set()
            raise


@pytest.fixture
def full(executors, held):
    """An executor whose one thread and one place in the queue are taken."""
    executor = executors(NotingExecutor, max_workers=1, max_queued=1)
    executor.busy = held()
    executor.submit(executor.busy)
    executor.busy.wait_until_begun()
    executor.submit(executor.busy)
    return executor


def test_full_pool__has_the_caller_run_it(serve, client, full):
    async def load_later(request):
        await asyncio.sleep(0)
        return 3

    def load(request):
        translation.activate("fr")
        return get_ident()

    url = serve(
        parts=[("a", lazy(load)), ("b", lazy(load)), ("language", lazy(language))], executor=full
    )
    with soon(), translation.override("de"):
        assert merged(walk(client, url)) == {
            "a": get_ident(),
            "b": get_ident(),
            "language": "de",
        }
        assert language(None) == "de"
    assert full.busy.runs == 1


def language(request):
    return translation.get_language()


def test_full_pool__has_the_caller_run_a_coroutine(serve, client, executors, held):
    executor = executors(ThreadExecutor, max_coroutines=1)
    busy = held(kind=HeldCoroutine)
    call = executor.submit_coroutine(busy, lambda result, error: result)
    busy.wait_until_begun()

    async def load(request):
        await asyncio.sleep(0)
        return 3

    url = serve(parts=[("a", lazy(load)), ("b", lazy(one))], executor=executor)
    with soon():
        assert merged([get_json(client, url)]) == {"a": 3, "b": 1}
    busy.release()
    result_of(call)


@pytest.mark.parametrize("budget", [None, BUDGET, AMPLE])
def test_full_pool__fails_what_has_a_timeout(serve, client, full, budget):
    url = serve(
        parts=[
            ("timed", lazy(one, timeout=PATIENCE)),
            ("covered", lazy(safe_call(with_timeout(one, PATIENCE), fallback=[]))),
        ],
        executor=full,
        time_budget=budget,
    )
    with soon():
        envelope = get_json(client, url)
    assert envelope["results"] == [{"covered": []}]
    assert [error["code"] for error in envelope["errors"]] == ["capacity"]


@pytest.mark.parametrize("budget", [BUDGET, AMPLE])
def test_full_pool__is_waited_for_with_a_budget(serve, client, full, budget):
    where = []

    def load(request):
        where.append(get_ident())
        return 1

    url = serve(parts=[("a", lazy(load)), ("b", lazy(load))], executor=full, time_budget=budget)
    with in_background(lambda: (get_ident(), walk(client, url))) as answer:
        assert full.refused.wait(PATIENCE)
        assert where == []
        full.busy.release()
        requests_own, envelopes = answer()
    assert merged(envelopes) == {"a": 1, "b": 1}
    assert len(where) == 2
    assert requests_own not in where


# What ends the process


@pytest.mark.parametrize("ends", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("budget", [None, AMPLE])
def test_request__that_is_ended_by_a_loader(serve, client, threads, ends, budget):
    def end(request):
        raise ends

    async def end_later(request):
        raise ends

    for loader in (end, safe_call(end, "covered")):
        url = serve(parts=[("end", lazy(loader))], executor=threads, time_budget=budget)
        with pytest.raises(ends):
            client.get(url)
    url = serve(
        parts=[("end", lazy(end_later, timeout=SOON))], executor=threads, time_budget=budget
    )
    with pytest.raises(ends):
        client.get(url)
    url = serve(parts=[("fine", lazy(one))], executor=threads)
    assert get_json(client, url)["results"] == [{"fine": 1}]


def test_request__that_fails_cancels_what_has_not_started(serve, client, executors, held):
    executor = executors(max_workers=1, max_queued=1)
    busy, queued = held(), held()
    running = executor.submit(busy)
    busy.wait_until_begun()

    def end(request):
        raise SystemExit

    # The first is queued; for the second there is no room, so the request's thread runs it.
    url = serve(parts=[("queued", lazy(queued)), ("end", lazy(end))], executor=executor)
    with pytest.raises(SystemExit):
        client.get(url)
    busy.release()
    result_of(running)
    result_of(executor.submit(lambda: 7, timeout=PATIENCE))
    assert queued.runs == 0


# The executor of a view


def test_executor__of_a_view_may_be_named_in_each_way(serve, client, settings, threads):
    for executor in (THREADS, {"BACKEND": THREADS, "OPTIONS": {"max_workers": 2}}, threads):
        url = serve(parts=[("where", lazy(lambda request: get_ident()))], executor=executor)
        assert merged([get_json(client, url)])["where"] != get_ident()
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": THREADS}
    url = serve(parts=[("where", lazy(lambda request: get_ident()))])
    assert merged([get_json(client, url)])["where"] != get_ident()
    inline = "partstream.backends.executors.inline.InlineExecutor"
    url = serve(parts=[("where", lazy(lambda request: get_ident()))], executor=inline)
    assert merged([get_json(client, url)])["where"] == get_ident()


@pytest.mark.parametrize(
    "executor",
    ["no.such.Executor", "django.test.Client", {"BACKEND": THREADS, "OPTIONS": {"x": 1}}],
)
def test_executor__of_a_view_that_cannot_be_made_is_refused(serve, client, executor):
    with pytest.raises(Misuse, match=r"ServedView\.executor = "):
        client.get(serve(parts=[("a", 1)], executor=executor))


# Whose data it is


class Everybody(HybridProgressiveView):
    """20 parts of each kind. Each contains the canary of the client that sent the request."""

    chunk_size = 10
    # Of ten clients at once, no part with a timeout is refused for want of room.
    executor = {"BACKEND": THREADS, "OPTIONS": {"max_queued": 200}}
    authentication_classes = []

    def get_parts(self):
        canary = canary_of(self.request)
        return [
            ("immediate", canary),
            *((f"plain{number}", lazy(canary_of)) for number in range(5)),
            *((f"later{number}", lazy(later_canary_of)) for number in range(4)),
            *((f"top{number}", lazy(self.top, depends_on=["plain0"])) for number in range(3)),
            ("cached", lazy("cached_canary")),
            ("cached_later", lazy(cached_for(60)(later_canary_of))),
            ("covered", lazy(safe_call(self.fail, fallback=lambda request, _: canary_of(request)))),
            ("method", lazy("own_canary")),
            ("timed", lazy(canary_of, timeout=PATIENCE)),
            ("timed_later", lazy(later_canary_of, timeout=PATIENCE)),
            ("rows", lazy(lambda request: (canary_of(request) for _ in range(3)))),
        ]

    def own_canary(self, request):
        if request is not self.request:
            raise AssertionError("another's request")
        return canary_of(self.request)

    @cached_for(60)
    def cached_canary(self, request):
        return self.own_canary(request)

    def top(self, request, plain0):
        return [plain0, self.own_canary(request)]

    def fail(self, request):
        raise ValueError(canary_of(request))


def canary_of(request):
    return f"canary-{request.user.pk}-{translation.get_language()}"


async def later_canary_of(request):
    await asyncio.sleep(0)
    return canary_of(request)


def test_users__of_200_each_gets_their_own(settings, caplog):
    """Guard 21: 200 users, 20 parts, at random on threads, walks and keys at once."""
    caplog.set_level(logging.CRITICAL)
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "canaries",
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        }
    }
    order, factory = list(range(1, 201)), RequestFactory()
    random.Random(21).shuffle(order)

    def ask(pk, language, query="", delivery="walk"):
        request = factory.get(f"/everybody/{query}")
        force_authenticate(request, user=User(pk=pk, username=f"user{pk}"))
        with translation.override(language):
            answer = Everybody.as_view(delivery=delivery)(request)
        assert answer.status_code == 200, answer.content
        own = f"canary-{pk}-{language}"
        found = re.findall(rb"canary-[0-9]+-[a-z-]+", answer.content)
        assert set(found) <= {own.encode()}
        return answer, len(found)

    def use(number):
        counts = []
        for pk in order[number::10]:
            language = ("en", "de", "fr")[pk % 3]
            answer, count = ask(pk, language)
            while "Link" in answer.headers:
                cursor = re.search(r"cursor=([^>]+)>", answer.headers["Link"])[1]
                answer, more = ask(pk, language, f"?cursor={cursor}")
                count += more
            _, by_key = ask(pk, language, "?keys=plain1,later1,top1,cached,rows", "parts")
            counts.append((count, by_key))
        return counts

    counts = itertools.chain(*in_threads(10, use))
    # 16 parts with one canary each, three with two of them and one with three.
    assert list(counts) == [(25, 8)] * 200
