"""Parts with executors of their own: what starts first, in which thread, and what waits."""

from __future__ import annotations

import asyncio
import threading
import time
from threading import Event, current_thread, get_ident

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from partstream import HybridProgressiveView, cached_for, lazy, safe_call, with_timeout
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.exceptions import Misuse
from partstream.resolution import resolver
from partstream.resolution.waiting import Waiting
from partstream.testing import inline
from tests.support.concurrency import (
    PATIENCE,
    HeldCoroutine,
    in_background,
    wait_until,
)
from tests.support.marks import leaves_transaction, timed
from tests.support.time_budgets import AMPLE
from tests.support.walk_client import at, get_json, merged, names, walk

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
INLINE = "partstream.backends.executors.inline.InlineExecutor"


def where(request, **dependencies):
    return get_ident()


async def where_async(request, **dependencies):
    await asyncio.sleep(0)
    return current_thread().name


def one(request):
    return 1


def failing(request):
    raise ValueError("no")


@pytest.fixture(params=["threads for a part", "inline for a part"])
def placed(request, threads):
    """The view's executor, and the arguments of parts that run in threads and of those that do not.

    Either the view's executor is inline and some parts run in threads, or the other way round.
    """
    if request.param == "threads for a part":
        return None, {"executor": threads}, {}
    return threads, {}, {"executor": INLINE}


@pytest.fixture
def serve_placed(serve, placed):
    """The URL of a view: its parts are made of the two kinds of arguments."""
    executor, elsewhere, here = placed

    def serve_placed(make_parts, **attributes):
        attributes = {"chunk_size": 50, "executor": executor, **attributes}
        return serve(HybridProgressiveView, parts=make_parts(elsewhere, here), **attributes)

    return serve_placed


# What runs where


@pytest.mark.parametrize("form", ["path", "dictionary", "instance"])
def test_executor__of_a_part_may_be_named_in_each_way(serve, client, threads, form):
    executor = {
        "path": THREADS,
        "dictionary": {"BACKEND": THREADS, "OPTIONS": {"max_workers": 2}},
        "instance": threads,
    }[form]
    parts = [("there", lazy(where, executor=executor)), ("here", lazy(where))]
    found = merged([get_json(client, serve(parts=parts))])
    assert found["here"] == get_ident() != found["there"]


def test_executor__of_a_part_is_its_own_among_those_of_each_kind(serve_placed, client):
    envelope = get_json(
        client,
        serve_placed(
            lambda elsewhere, here: [
                ("there", lazy(where, **elsewhere)),
                ("value", 1),
                ("here", lazy(where, **here)),
                ("there_async", lazy(where_async, **elsewhere)),
                ("here_async", lazy(where_async, **here)),
                ("method", lazy("get_method", **here)),
                ("timed", lazy(where, timeout=PATIENCE, **here)),
                ("timed_async", lazy(where_async, timeout=PATIENCE, **here)),
                ("cached", lazy(cached_for(60, shared=True)(where), **here)),
            ],
            get_method=where_method,
        ),
    )
    found, own = merged([envelope]), get_ident()
    assert found["here"] == found["method"] == found["cached"] == own
    assert own not in {found["there"], found["timed"]}
    assert found["there_async"] == found["timed_async"] == "partstream-loop"
    assert found["here_async"] != "partstream-loop"
    assert names(envelope) == list(found)


def where_method(self, request):
    return get_ident()


def test_executor__of_a_part_serves_every_delivery(serve_placed, client):
    url = serve_placed(
        lambda elsewhere, here: [
            ("there", lazy(where, **elsewhere)),
            ("here", lazy(where, depends_on=["there"], **here)),
        ],
        chunk_size=1,
    )
    for envelopes in (walk(client, url), [get_json(client, f"{url}parts/?keys=here,there")]):
        found = merged(envelopes)
        assert found["here"] == get_ident() != found["there"]


def test_executor__may_differ_from_part_to_part(serve, client, executors):
    """Each pool has one thread, and both are held at the same time."""
    met = threading.Barrier(2)

    def meet(request):
        met.wait(PATIENCE)
        return get_ident()

    parts = [
        (f"p{number}", lazy(meet, executor=executors(ThreadExecutor, max_workers=1)))
        for number in range(2)
    ]
    found = merged([get_json(client, serve(parts=parts))])
    assert len({*found.values(), get_ident()}) == 3


def test_executor__that_cannot_be_made_is_misuse_at_its_first_use(serve, client):
    class Own(HybridProgressiveView):
        def get_parts(self):
            return [("odd", lazy(one, executor="no.such.Executor"))]

    with pytest.raises(Misuse, match=r"ServedView: the executor of part 'odd' = 'no\.such"):
        client.get(serve(Own))


def test_executor__of_parts_that_are_declared_for_each_request(serve, client, threads):
    class Own(HybridProgressiveView):
        def get_parts(self):
            executor = threads if "threads" in self.request.query_params else None
            return [("where", lazy(where, executor=executor)), ("here", lazy(where))]

    url = serve(Own)
    assert merged([get_json(client, url)])["where"] == get_ident()
    assert merged([get_json(client, f"{url}?threads=1")])["where"] != get_ident()
    assert merged([get_json(client, url)])["where"] == get_ident()


# What starts first


def test_start__of_what_runs_in_threads_comes_first(serve_placed, client, held_of_each_kind):
    slow = held_of_each_kind("slow")

    def here(request):
        slow.wait_until_begun()
        slow.release()
        return "here"

    url = serve_placed(
        lambda elsewhere, own: [("here", lazy(here, **own)), ("slow", lazy(slow, **elsewhere))]
    )
    assert get_json(client, url)["results"] == [{"here": "here"}, {"slow": "slow"}]


class Encoded:
    """A value that takes a while to encode."""

    def __init__(self, encode):
        self.encode = encode

    def tolist(self):
        return self.encode()


def test_start__of_what_runs_in_threads_comes_before_values(serve_placed, client, held):
    slow = held("slow")

    def encode():
        slow.wait_until_begun()
        slow.release()
        return [1]

    url = serve_placed(
        lambda elsewhere, here: [
            ("value", Encoded(encode)),
            ("slow", lazy(slow, **elsewhere)),
            ("here", lazy(one, **here)),
        ]
    )
    assert get_json(client, url)["results"] == [{"value": [1]}, {"slow": "slow"}, {"here": 1}]


def test_start__of_the_others_is_in_declared_order(serve_placed, client, calls):
    url = serve_placed(
        lambda elsewhere, here: [
            ("first", lazy(calls.loader("first"), **here)),
            ("there", lazy(one, **elsewhere)),
            ("second", lazy(calls.loader("second"), timeout=PATIENCE, **here)),
            ("third", lazy(calls.loader("third"), **here)),
            ("value", 1),
            ("fourth", lazy(calls.loader("fourth"), **here)),
        ]
    )
    get_json(client, url)
    assert calls == ["first", "second", "third", "fourth"]


def test_start__of_a_dependent_in_a_thread_does_not_wait_for_the_other_parts(
    serve_placed, client, held
):
    dependent = held("dependent")

    def last(request):
        dependent.wait_until_begun()
        dependent.release()
        return "last"

    url = serve_placed(
        lambda elsewhere, here: [
            ("base", lazy(one, **here)),
            ("last", lazy(last, **here)),
            ("dependent", lazy(dependent, depends_on=["base"], **elsewhere)),
        ]
    )
    found = merged([get_json(client, url)])
    assert found["dependent"] == {"base": 1, "data": "dependent"}


def test_start__of_a_dependent_comes_first_after_what_ended_meanwhile(
    serve_placed, client, held, calls
):
    """The part in a thread ends while an inline one runs; its dependent starts before the next."""
    dependent, ended = held(1), Event()

    def base(request):
        ended.set()
        return 1

    def middle(request):
        assert ended.wait(PATIENCE)
        # Its flight ends in the worker, after the loader.
        wait_until(lambda: not base_is_running())
        return 1

    def base_is_running():
        return any(executor.pool.pending for executor in used)

    def last(request):
        dependent.wait_until_begun()
        dependent.release()
        return 1

    used = []

    def make_parts(elsewhere, here):
        return [
            ("middle", lazy(middle, **here)),
            ("last", lazy(last, **here)),
            ("base", lazy(base, **elsewhere)),
            ("dependent", lazy(dependent, depends_on=["base"], **elsewhere)),
        ]

    url = serve_placed(make_parts)
    assert len(merged([get_json(client, url)])) == 4


def test_dependency__across_threads_in_both_directions(serve_placed, client):
    def total(request, **dependencies):
        return sum(dependencies.values(), 1)

    url = serve_placed(
        lambda elsewhere, here: [
            ("d", lazy(total, depends_on=["c"], **elsewhere)),
            ("c", lazy(total, depends_on=["b"], **here)),
            ("b", lazy(total, depends_on=["a"], **elsewhere)),
            ("a", lazy(total, **here)),
        ]
    )
    envelope = get_json(client, url)
    assert envelope["results"] == [{"d": 4}, {"c": 3}, {"b": 2}, {"a": 1}]


def test_dependency__that_failed_fails_its_dependents_elsewhere(serve_placed, client, calls):
    url = serve_placed(
        lambda elsewhere, here: [
            ("a", lazy(failing, **here)),
            ("b", lazy(calls.loader("b"), depends_on=["a"], **elsewhere)),
            ("c", lazy(calls.loader("c"), depends_on=["b"], **here)),
            ("fine", lazy(one, **elsewhere)),
        ]
    )
    envelope = get_json(client, url)
    assert envelope["results"] == [{"fine": 1}]
    assert [error["code"] for error in envelope["errors"]] == [
        "part_failed",
        "dependency_failed",
        "dependency_failed",
    ]
    assert calls == []


# Timeouts


@timed
def test_timeout__of_each_kind_of_part(serve_placed, client, held):
    hangs, hangs_async = held(), held(kind=HeldCoroutine)
    url = serve_placed(
        lambda elsewhere, here: [
            ("there", lazy(hangs, timeout=0.05, **elsewhere)),
            ("there_async", lazy(hangs_async, timeout=0.05, **elsewhere)),
            ("here", lazy(safe_call(with_timeout(hangs, 0.05), "covered"), **here)),
            ("fine", lazy(one, **here)),
        ]
    )
    envelope = get_json(client, url)
    assert envelope["results"] == [{"here": "covered"}, {"fine": 1}]
    assert {error["part"]: error["code"] for error in envelope["errors"]} == {
        "there": "part_timeout",
        "there_async": "part_timeout",
    }
    hangs.release()


def test_timeout__of_a_part_in_this_threads_stead_lets_no_other_run_meanwhile(
    serve_placed, client, held, calls, monkeypatch
):
    alone, dependent = held(1), held(2)
    polls, original = [], Waiting.polls

    def note(waiting):
        polls.append(original(waiting))
        return polls[-1]

    monkeypatch.setattr(Waiting, "polls", note)
    url = serve_placed(
        lambda elsewhere, here: [
            ("alone", lazy(alone, timeout=PATIENCE, **here)),
            ("next", lazy(calls.loader("next"), **here)),
            ("base", lazy(one, **elsewhere)),
            ("dependent", lazy(dependent, depends_on=["base"], **elsewhere)),
        ]
    )
    with in_background(get_json, client, url) as answer:
        alone.wait_until_begun()
        dependent.wait_until_begun()  # What runs in threads goes on.
        assert calls == []
        dependent.release()
        alone.release()
        assert len(answer()["results"]) == 4
    assert calls == ["next"]
    # The end of the part is announced.
    assert not any(polls)


def test_timeout__of_the_settings_holds_for_each_part(serve_placed, client, settings, held):
    settings.DJANGO_PARTSTREAM = {"PART_TIMEOUT": 0.05}
    hangs = held()
    url = serve_placed(
        lambda elsewhere, here: [("a", lazy(hangs, **elsewhere)), ("b", lazy(hangs, **here))]
    )
    assert [error["code"] for error in get_json(client, url)["errors"]] == ["part_timeout"] * 2
    hangs.release()


# Transactions


@pytest.mark.django_db
@leaves_transaction
def test_transaction__is_not_that_of_a_part_in_a_thread(serve_placed, client):
    def is_atomic(request):
        return connection.in_atomic_block

    async def is_atomic_async(request):
        return await sync_to_async(is_atomic)(request)

    found = merged(
        [
            get_json(
                client,
                serve_placed(
                    lambda elsewhere, here: [
                        ("there", lazy(is_atomic, **elsewhere)),
                        ("here", lazy(is_atomic, **here)),
                        ("timed", lazy(is_atomic, timeout=PATIENCE, **here)),
                        ("there_async", lazy(is_atomic_async, **elsewhere)),
                        ("here_async", lazy(is_atomic_async, **here)),
                    ]
                ),
            )
        ]
    )
    assert found == {
        "there": False,
        "here": True,
        "timed": True,
        "there_async": False,
        "here_async": True,
    }


# Coroutines


def test_coroutines__of_the_requests_thread_run_together(serve_placed, client):
    met = []

    def make(name):
        async def load(request):
            met.append(name)
            for _ in range(1000):
                if len(met) == 2:
                    return current_thread().name
                await asyncio.sleep(0.001)
            raise AssertionError("it is alone")

        return load

    url = serve_placed(
        lambda elsewhere, here: [
            ("a", lazy(make("a"), **here)),
            ("plain", lazy(where, **here)),
            ("b", lazy(make("b"), **here)),
            ("there", lazy(where_async, **elsewhere)),
        ]
    )
    found = merged([get_json(client, url)])
    assert "partstream-loop" not in {found["a"], found["b"]}
    assert found["there"] == "partstream-loop"


# Time budgets


class Clock:
    """The clock of budgets: a loader spends one by `spend`."""

    def __init__(self):
        self.offset = 0.0

    def __call__(self):
        return time.monotonic() + self.offset

    def spend(self, request=None, **dependencies):
        self.offset += 2 * AMPLE
        return "spent"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(resolver, "monotonic", clock)
    return clock


def test_budget__is_looked_at_between_parts_of_the_requests_thread(
    serve_placed, client, clock, calls, held
):
    slow = held("slow")
    url = serve_placed(
        lambda elsewhere, here: [
            ("first", lazy(clock.spend, **here)),
            ("second", lazy(calls.loader("second", 2), **here)),
            ("slow", lazy(slow, **elsewhere)),
            ("third", lazy(calls.loader("third", 3), **here)),
        ],
        time_budget=AMPLE,
    )
    first = get_json(client, url)
    assert first["results"] == [{"first": "spent"}]
    assert first["meta"]["pending"] == ["second", "slow", "third"]
    assert calls == []
    slow.wait_until_begun()
    slow.release()
    second = get_json(client, at(url, first["cursor"]))
    assert second["results"] == [{"second": 2}, {"slow": "slow"}, {"third": 3}]
    assert slow.runs == 1
    assert calls == ["second", "third"]


def test_budget__that_is_spent_waits_for_the_first_part(serve_placed, client, clock, held):
    """Nothing is ready when the budget is spent: the chunk is not empty."""
    slow = held("slow")

    def here(request):
        return "here"

    url = serve_placed(
        lambda elsewhere, own: [
            ("slow", lazy(slow, **elsewhere)),
            ("here", lazy(here, **own)),
            ("later", lazy(here, **own)),
        ],
        time_budget=1e-9,
    )
    first = get_json(client, url)
    assert first["results"] == [{"here": "here"}]
    slow.release()
    assert merged([first, *walk(client, url, first["cursor"])]) == {
        "slow": "slow",
        "here": "here",
        "later": "here",
    }


def test_budget__that_is_spent_sends_the_values(serve_placed, client, held, calls):
    slow = held("slow")
    url = serve_placed(
        lambda elsewhere, own: [
            ("here", lazy(calls.loader("here"), **own)),
            ("slow", lazy(slow, **elsewhere)),
            ("value", 1),
        ],
        time_budget=1e-9,
    )
    first = get_json(client, url)
    assert first["results"] == [{"value": 1}]
    assert calls == []
    slow.release()
    assert len(merged(walk(client, url, first["cursor"]))) == 2


def test_budget__moves_a_part_that_runs_in_this_threads_stead(serve_placed, client, held, clock):
    alone = held("alone")

    def wait_and_spend(request):
        alone.wait_until_begun()
        return clock.spend()

    url = serve_placed(
        lambda elsewhere, here: [
            ("alone", lazy(alone, timeout=PATIENCE, **here)),
            ("there", lazy(wait_and_spend, **elsewhere)),
            ("last", lazy(one, **here)),
            ("value", 7),
        ],
        time_budget=AMPLE,
    )
    first = get_json(client, url)
    assert first["results"] == [{"there": "spent"}, {"value": 7}]
    alone.release()
    assert get_json(client, at(url, first["cursor"]))["results"] == [
        {"alone": "alone"},
        {"last": 1},
    ]
    assert alone.runs == 1


def test_budget__is_misuse_where_all_parts_run_in_the_requests_thread(serve, client):
    parts = [("a", lazy(one, executor=INLINE)), ("b", lazy(one, executor=InlineExecutor()))]
    url = serve(parts=parts, time_budget=1)
    with pytest.raises(Misuse, match="InlineExecutor runs parts one after another"):
        client.get(url)
    parts = [("a", lazy(one)), ("b", lazy(one, executor=THREADS))]
    assert names(get_json(client, serve(parts=parts, time_budget=AMPLE))) == ["a", "b"]


# Connections, the end of the process, and tests


def test_connections__are_given_back_before_a_wait_only(serve, client, monkeypatch, threads):
    waits = []
    monkeypatch.setattr(resolver, "give_back_pooled", waits.append)
    own = [(f"p{number}", lazy(one, executor=INLINE)) for number in range(3)]
    get_json(client, serve(parts=own))
    assert waits == []
    get_json(client, serve(parts=[*own, ("there", lazy(one, executor=threads, timeout=PATIENCE))]))
    assert len(waits) <= 1


def test_request__that_is_ended_by_a_part_of_its_own_thread_cancels_the_others(
    serve, client, executors, held
):
    executor = executors(max_workers=1)
    busy, queued = held(), held()
    executor.submit(busy)
    busy.wait_until_begun()

    def end(request):
        raise SystemExit

    parts = [("end", lazy(end)), ("queued", lazy(queued, executor=executor))]
    with pytest.raises(SystemExit):
        client.get(serve(parts=parts))
    busy.release()
    wait_until(lambda: not executor.pool.pending)
    assert queued.runs == 0


def test_inline__covers_the_executors_of_parts(serve_placed, client, held, settings):
    settings.DJANGO_PARTSTREAM = {"PART_TIMEOUT": 5}
    url = serve_placed(
        lambda elsewhere, here: [
            ("there", lazy(where, **elsewhere)),
            ("here", lazy(where, **here)),
            ("timed", lazy(where, timeout=1e-9, **elsewhere)),
            ("there_async", lazy(where_async, **elsewhere)),
        ],
        time_budget=1e-9,
    )
    with inline():
        envelope = get_json(client, url)
    found = merged([envelope])
    assert "errors" not in envelope
    assert found["there"] == found["here"] == found["timed"] == get_ident()
    assert found["there_async"] != "partstream-loop"
