"""Timeouts: of parts, and of loaders that are called from Python; in each kind of thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
from threading import Barrier, Event, get_ident

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.test import AsyncClient
from django.utils import translation
from rest_framework import serializers

from partstream import HybridProgressiveView, lazy, safe_call, with_timeout
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_executor
from partstream.exceptions import Misuse, NoCapacity, PartTimeout
from partstream.testing import inline
from tests.example.models import Note
from tests.support.concurrency import (
    PATIENCE,
    SOON,
    HeldCoroutine,
    in_background,
    in_threads,
    passed_on,
    result_of,
    soon,
    wait_until,
)
from tests.support.log_messages import message
from tests.support.marks import timed
from tests.support.walk_client import at, get_json, merged

pytestmark = timed

REQUEST = object()
#: Seconds of a timeout that is meant to come, and enough to begin in.
BRIEF = 0.1

TIMED_OUT = {
    "part": "slow",
    "code": "part_timeout",
    "detail": "This part took too long to load.",
    "retryable": True,
}
NO_CAPACITY = {
    "part": "slow",
    "code": "capacity",
    "detail": "The server is too busy to load this part. Try again in a moment.",
    "retryable": True,
}

postgresql = connection.vendor == "postgresql"
on_postgresql = pytest.mark.skipif(not postgresql, reason="only PostgreSQL ends statements")
elsewhere = pytest.mark.skipif(postgresql, reason="the database ends its statements")
in_autocommit = pytest.mark.django_db(transaction=True)


@pytest.fixture
def executor(executor, settings):
    """Each executor in turn, as that of the process."""
    kind = type(executor)
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": f"{kind.__module__}.{kind.__qualname__}"}
    return warm(get_executor())


def warm(executor):
    """The executor, its loop and a thread begun: a brief timeout is not for their start."""

    async def nothing():
        pass

    result_of(executor.submit_coroutine(nothing, passed_on))
    return executor


@pytest.fixture
def held(settings, held):
    """As in conftest.py; what is held is let go in the end, and waited for."""
    made = []

    def make(*args, **kwargs):
        made.append(held(*args, **kwargs))
        return made[-1]

    yield make
    for loader in made:
        loader.release()
    wait_until(lambda: not get_executor().abandoned)


@pytest.fixture
def small(settings):
    """The process's executor has one thread, and one place for what is abandoned."""

    def small(kind, **options):
        path = f"{kind.__module__}.{kind.__qualname__}"
        options = {"max_workers": 1, "max_queued": 1, "max_abandoned": 1, **options}
        settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": {"BACKEND": path, "OPTIONS": options}}
        return warm(get_executor())

    return small


@pytest.fixture
def errors(caplog):
    """The error records of the package so far, as text."""

    def errors(level=logging.ERROR):
        return [
            message(record)
            for record in caplog.records
            if record.name.startswith("partstream") and record.levelno >= level
        ]

    return errors


@pytest.fixture
def resolve(serve, client, executor):
    """The envelope of a view of these parts; the error of "slow" less its cursor."""

    def resolve(*parts, **attributes):
        url = serve(parts=list(parts), **{"chunk_size": 50, **attributes})
        envelope = get_json(client, url)
        for error in envelope.get("errors", []):
            error.pop("retry_cursor", None)
        return envelope

    return resolve


# From Python


def call(loader, *args):
    """What a loader gives, plain or ``async def``, from sync code."""

    async def awaited():
        return await loader(REQUEST, *args)

    return async_to_sync(awaited)() if loader.is_async else loader(REQUEST, *args)


def in_this_thread(function):
    return function()


def in_another_thread(function):
    with in_background(function) as result:
        return result()


def in_an_event_loop(function):
    async def main():
        return function()

    return asyncio.run(main())


def beside_an_event_loop(function):
    async def main():
        return await sync_to_async(function)()

    return asyncio.run(main())


everywhere = pytest.mark.parametrize(
    "run", [in_this_thread, in_another_thread, in_an_event_loop, beside_an_event_loop]
)


@everywhere
def test_with_timeout__ends_the_wait(executor, held, run):
    slow = held()
    with soon(), pytest.raises(PartTimeout):
        run(lambda: with_timeout(slow, BRIEF)(REQUEST))
    slow.wait_until_begun()
    assert executor.abandoned == 1
    slow.release()
    wait_until(lambda: executor.abandoned == 0)


@everywhere
def test_with_timeout__gives_what_the_function_gives(executor, run):
    def load(request, *args, **dependencies):
        return [get_ident(), request, args, dependencies]

    def fail(request):
        raise KeyError("own")

    here, (there, *given) = run(
        lambda: (get_ident(), with_timeout(load, PATIENCE)(REQUEST, 1, a=2))
    )
    assert here != there
    assert given == [REQUEST, (1,), {"a": 2}]
    with pytest.raises(KeyError, match="own"):
        run(lambda: with_timeout(fail, PATIENCE)(REQUEST))
    assert executor.abandoned == 0


def test_with_timeout__a_timeout_of_the_functions_own_is_another(executor):
    async def fail_later(request):
        raise TimeoutError("own")

    def fail(request):
        raise TimeoutError("own")

    for load in (fail, fail_later):
        with pytest.raises(TimeoutError) as caught:
            call(with_timeout(load, PATIENCE))
        assert not isinstance(caught.value, PartTimeout)


def test_with_timeout__the_function_has_the_callers_language(executor):
    with translation.override("de"):
        assert with_timeout(lambda _: translation.get_language(), PATIENCE)(REQUEST) == "de"


@pytest.mark.parametrize("ends", [SystemExit, KeyboardInterrupt])
def test_with_timeout__what_ends_the_process_ends_the_caller(executor, ends):
    def fail(request):
        raise ends

    with pytest.raises(ends):
        with_timeout(fail, PATIENCE)(REQUEST)
    assert with_timeout(lambda _: 7, PATIENCE)(REQUEST) == 7


def test_with_timeout__binds_as_a_method_does(executor, held):
    class View:
        slow = held()
        get_slow = with_timeout("load", BRIEF)

        def load(self, request):
            return self.slow(request)

    with soon(), pytest.raises(PartTimeout):
        View().get_slow(REQUEST)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda slow, fallback: safe_call(with_timeout(slow, BRIEF), fallback),
        lambda slow, fallback: with_timeout(safe_call(slow, fallback), BRIEF),
    ],
    ids=["fallback outside", "timeout outside"],
)
def test_with_timeout__is_covered_by_a_fallback(executor, held_of_each_kind, wrap, errors):
    def told(request, error):
        return [type(error).__name__]

    for fallback, expected in ((None, None), (told, ["PartTimeout"])):
        with soon():
            assert call(wrap(held_of_each_kind(), fallback)) == expected
    assert len(errors(logging.WARNING)) == 2


@everywhere
def test_with_timeout__cancels_a_coroutine(executor, held, run):
    slow = held(kind=HeldCoroutine)

    async def load():
        await with_timeout(slow, BRIEF)(REQUEST)

    if run is in_an_event_loop:  # There, it is awaited.
        with soon(), pytest.raises(PartTimeout):
            asyncio.run(load())
    else:
        with soon(), pytest.raises(PartTimeout):
            run(lambda: async_to_sync(load)())
    assert slow.cancelled.wait(PATIENCE)
    assert executor.abandoned == 0


def test_with_timeout__cancels_a_coroutine_while_others_go_on(executor, held):
    slow, seen = held(kind=HeldCoroutine), []

    async def load():
        task = asyncio.create_task(beside())
        with pytest.raises(PartTimeout):
            await with_timeout(slow, BRIEF)(REQUEST)
        while not slow.cancelled.is_set():  # At the next turn of the loop.
            await asyncio.sleep(0)
        await task

    async def beside():
        while not slow.began.is_set():
            await asyncio.sleep(0)
        seen.append("beside")

    asyncio.run(load())
    assert seen == ["beside"]


def test_with_timeout__without_room_fails_at_once(small, held):
    executor = small(ThreadExecutor)
    slow, never = held(), held()
    with pytest.raises(PartTimeout):
        with_timeout(slow, BRIEF)(REQUEST)
    for _ in range(3):
        with soon(), pytest.raises(NoCapacity):
            with_timeout(never, PATIENCE)(REQUEST)
    assert safe_call(with_timeout(never, PATIENCE), "covered")(REQUEST) == "covered"
    assert never.runs == 0
    slow.release()
    wait_until(lambda: executor.abandoned == 0)
    assert with_timeout(lambda _: 7, PATIENCE)(REQUEST) == 7


def test_with_timeout__in_every_worker_at_once_fails_without_a_free_one(small):
    executor = small(ThreadExecutor, max_workers=2, max_queued=9)
    both_run = Barrier(2)

    def load():
        both_run.wait(PATIENCE)
        try:
            return with_timeout(lambda _: 7, PATIENCE)(REQUEST)
        except NoCapacity:
            return "full"

    calls = [executor.submit(load) for _ in range(2)]
    with soon():
        # One of the two may wait for the other, and it is free as soon as that one is refused.
        assert sorted(map(str, map(result_of, calls))) == ["7", "full"]


def test_with_timeout__that_comes_while_it_queues_is_a_lack_of_room(small, held):
    executor = small(ThreadExecutor, max_queued=2)
    busy, never = held(), held()
    running = executor.submit(busy)
    busy.wait_until_begun()
    with soon(), pytest.raises(NoCapacity, match="waited for a thread until its timeout"):
        with_timeout(never, BRIEF)(REQUEST)
    busy.release()
    assert with_timeout(lambda _: 7, PATIENCE)(REQUEST) == 7
    assert (never.runs, executor.abandoned, running.deadline) == (0, 0, None)


def test_with_timeout__of_200_calls_keeps_within_the_pool(small, held):
    executor = small(ThreadExecutor, max_workers=4, max_queued=8, max_abandoned=4)
    slow, most = held(), []

    def use(_):
        ends = []
        for _ in range(20):
            try:
                with_timeout(slow, 0.01)(REQUEST)
            except (PartTimeout, NoCapacity) as error:
                ends.append(type(error))
            most.append(executor.pool.threads)
        return ends

    with soon():
        ends = list(itertools.chain(*in_threads(10, use)))
    assert len(ends) == 200
    # All threads hang: each one's call timed out, and no more did.
    assert ends.count(PartTimeout) == slow.runs == executor.abandoned
    assert 4 <= slow.runs <= 8
    assert max(most) <= 8
    slow.release()
    wait_until(lambda: executor.abandoned == 0)
    assert with_timeout(lambda _: 7, PATIENCE)(REQUEST) == 7


def test_with_timeout__in_a_loader_with_a_timeout(executor, held):
    slow = held()

    def outer(request):
        with pytest.raises(PartTimeout):
            with_timeout(slow, BRIEF)(request)
        return with_timeout(lambda _: 7, PATIENCE)(request)

    with soon():
        assert with_timeout(outer, PATIENCE)(REQUEST) == 7
    assert executor.abandoned == 1


@pytest.mark.parametrize("seconds", [0, -1, None, "1", True, float("nan"), float("inf"), 10**20])
def test_with_timeout__refuses_what_are_no_seconds(seconds):
    with pytest.raises(Misuse, match="a timeout is a number of seconds above zero"):
        with_timeout(lambda _: 7, seconds)
    if seconds is not None:
        with pytest.raises(Misuse, match="a timeout is a number of seconds above zero"):
            lazy(lambda _: 7, timeout=seconds)


def test_with_timeout__refuses_a_second_timeout():
    once = with_timeout(lambda _: 7, 1)
    for twice in (
        lambda: with_timeout(once, 2),
        lambda: lazy(once, timeout=2),
        lambda: lazy(safe_call(once, None), timeout=2),
    ):
        with pytest.raises(Misuse, match="a timeout around a timeout"):
            twice()


def test_with_timeout__refuses_a_second_timeout_of_a_method(serve, client):
    with pytest.raises(Misuse, match="a timeout around a timeout"):
        client.get(
            serve(
                parts=[("slow", lazy("load", timeout=2))], load=with_timeout(lambda self, _: 7, 1)
            )
        )


@pytest.mark.parametrize("func", [None, 7, []])
def test_with_timeout__refuses_what_cannot_be_called(func):
    with pytest.raises(Misuse, match=r"with_timeout\(\) takes a function of \(request\)"):
        with_timeout(func, 1)


def test_with_timeout__does_not_hold_in_tests(held):
    here = []

    async def load_later(request):
        await asyncio.sleep(0.02)
        return 7

    with inline():
        with_timeout(lambda _: here.append(get_ident()), BRIEF)(REQUEST)
        assert call(with_timeout(load_later, 0.001)) == 7
    assert here == [get_ident()]


# As a part

SPELLINGS = {
    "lazy": lambda loader: lazy(loader, timeout=BRIEF),
    "with_timeout": lambda loader: lazy(with_timeout(loader, BRIEF)),
    "setting": lazy,
}


@pytest.fixture(params=SPELLINGS)
def spelt(request, settings, executor):
    """Makes a part with a brief timeout, in each spelling in turn."""
    if request.param == "setting":
        settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_TIMEOUT": BRIEF}
    return SPELLINGS[request.param]


def test_part__that_takes_too_long_fails_alone(resolve, held_of_each_kind, spelt, errors):
    slow = held_of_each_kind()
    with soon():
        envelope = resolve(
            ("before", lazy(lambda _: 1, timeout=PATIENCE)),
            ("slow", spelt(slow)),
            ("after", lazy(lambda _: 2, timeout=PATIENCE)),
        )
    assert envelope["results"] == [{"before": 1}, {"after": 2}]
    assert envelope["errors"] == [TIMED_OUT]
    assert errors() == [
        "Part 'slow' of ServedView: it took longer than its timeout; it fails with part_timeout."
    ]


def test_part__of_a_coroutine_is_cancelled(resolve, held, spelt, executor):
    slow = held(kind=HeldCoroutine)
    assert resolve(("slow", spelt(slow)))["errors"] == [TIMED_OUT]
    assert slow.cancelled.wait(PATIENCE)
    assert executor.abandoned == 0


def test_part__of_a_coroutine_that_waits_for_a_thread_takes_no_longer(resolve):
    gate = Event()

    async def load(request):
        await sync_to_async(gate.wait)(SOON + 1)

    try:
        with soon():
            envelope = resolve(("slow", lazy(load, timeout=BRIEF)), ("after", lazy(lambda _: 2)))
    finally:
        gate.set()
    assert (envelope["results"], envelope["errors"]) == ([{"after": 2}], [TIMED_OUT])


def test_part__several_that_take_too_long(resolve, held_of_each_kind):
    parts = [(f"slow{number}", lazy(held_of_each_kind(), timeout=BRIEF)) for number in range(2)]
    with soon():
        envelope = resolve(*parts, ("after", lazy(lambda _: 2)))
    assert [error["code"] for error in envelope["errors"]] == ["part_timeout"] * 2
    assert envelope["results"] == [{"after": 2}]


def test_part__that_takes_too_long_may_be_tried_again(serve, client, held, executor, settings):
    slow = held("done")
    url = serve(parts=[("slow", lazy(slow))])
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_TIMEOUT": BRIEF}
    (error,) = get_json(client, url)["errors"]
    slow.release()
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_TIMEOUT": PATIENCE}
    assert merged([get_json(client, at(url, error["retry_cursor"]))]) == {"slow": "done"}


def test_part__by_key(serve, client, held, executor):
    url = serve(HybridProgressiveView, parts=[("slow", lazy(held(), timeout=BRIEF)), ("after", 2)])
    with soon():
        envelope = get_json(client, f"{url}parts/?keys=slow,after")
    assert envelope["errors"] == [TIMED_OUT]


def test_part__its_own_timeout_wins_over_the_settings(resolve, held_of_each_kind, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_TIMEOUT": PATIENCE}
    with soon():
        assert resolve(("slow", lazy(held_of_each_kind(), timeout=BRIEF)))["errors"] == [TIMED_OUT]
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_TIMEOUT": BRIEF}
    done = held_of_each_kind("done")
    with in_background(
        resolve, ("slow", lazy(done, timeout=PATIENCE)), ("late", lazy(held_of_each_kind()))
    ) as result:
        done.wait_until_begun()
        done.release()
        envelope = result()
    assert envelope["results"] == [{"slow": "done"}]
    assert [error["part"] for error in envelope["errors"]] == ["late"]


def test_part__the_timeout_covers_the_making_of_its_json(resolve, held):
    class Slow(serializers.BaseSerializer):
        def to_representation(self, instance):
            return instance()

    def rows(request):
        yield 1
        yield slow_rows()

    slow_rows = held()
    with soon():
        envelope = resolve(
            ("rows", lazy(rows, timeout=BRIEF)),
            ("serialized", lazy(lambda _: held(), timeout=BRIEF, serializer_class=Slow)),
            ("after", lazy(lambda _: 2)),
        )
    assert [error["code"] for error in envelope["errors"]] == ["part_timeout"] * 2
    assert envelope["results"] == [{"after": 2}]


def test_part__that_is_quick_is_not_touched(resolve, spelt):
    async def load_later(request):
        await asyncio.sleep(0)
        return 2

    # PART_TIMEOUT and the others are brief: enough for nothing at all.
    parts = [("plain", lazy(lambda _: 1, timeout=PATIENCE))]
    parts.append(("coroutine", lazy(load_later, timeout=PATIENCE)))
    assert merged([resolve(*parts)]) == {"plain": 1, "coroutine": 2}


def test_part__a_timeout_of_the_loaders_own_is_a_failure(resolve):
    def fail(request):
        raise TimeoutError

    async def fail_later(request):
        raise asyncio.TimeoutError

    for load in (fail, fail_later):
        envelope = resolve(("slow", lazy(load, timeout=PATIENCE)))
        assert [error["code"] for error in envelope["errors"]] == ["part_failed"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda slow: lazy(safe_call(slow, "covered"), timeout=BRIEF),
        lambda slow: lazy(safe_call(with_timeout(slow, BRIEF), "covered")),
        lambda slow: lazy(with_timeout(safe_call(slow, "covered"), BRIEF)),
    ],
    ids=["lazy", "fallback outside", "timeout outside"],
)
def test_part__a_fallback_covers_a_timeout(resolve, held_of_each_kind, wrap, errors):
    with soon():
        envelope = resolve(("slow", wrap(held_of_each_kind())), ("after", 2))
    assert envelope["results"] == [{"slow": "covered"}, {"after": 2}]
    assert "errors" not in envelope
    assert errors(logging.WARNING) == [
        "Part 'slow' of ServedView failed; its fallback is delivered."
    ]


def test_part__a_fallback_may_know_of_the_timeout(resolve, held_of_each_kind):
    def told(request, error):
        return [request.method, isinstance(error, PartTimeout), isinstance(error, TimeoutError)]

    envelope = resolve(("slow", lazy(safe_call(held_of_each_kind(), told), timeout=BRIEF)))
    assert envelope["results"] == [{"slow": ["GET", True, True]}]


def test_part__dependents_of_one_that_takes_too_long_are_not_called(
    resolve, held_of_each_kind, calls
):
    envelope = resolve(
        ("slow", lazy(held_of_each_kind(), timeout=BRIEF)),
        ("top", lazy(calls.loader("top"), depends_on=["slow"])),
    )
    assert [error["code"] for error in envelope["errors"]] == ["part_timeout", "dependency_failed"]
    assert calls == []


def test_part__that_fails_after_its_timeout_is_not_logged_again(resolve, held, executor, errors):
    slow, covered = held(error=ValueError("late")), held(error=ValueError("late as well"))
    recovered = []
    envelope = resolve(
        ("slow", lazy(slow, timeout=BRIEF)),
        ("covered", lazy(safe_call(covered, lambda *_: recovered.append(1)), timeout=BRIEF)),
    )
    assert envelope["results"] == [{"covered": None}]
    before = errors(logging.INFO)
    assert len(before) == 2
    slow.release()
    covered.release()
    wait_until(lambda: executor.abandoned == 0)
    assert errors(logging.INFO) == before
    assert recovered == [1]


def test_part__that_queued_and_fails_after_its_timeout_is_not_logged_again(
    serve, client, small, held, errors
):
    executor = small(ThreadExecutor)
    busy, slow = held(), held(error=ValueError("late"))
    recovered = []
    running = executor.submit(busy)
    busy.wait_until_begun()
    url = serve(parts=[("a", lazy(safe_call(slow, lambda *_: recovered.append(1)), timeout=1))])
    with in_background(get_json, client, url) as answer:
        # It has a thread for the second half of its timeout only.
        assert not Event().wait(0.5)
        busy.release()
        slow.wait_until_begun()
        assert merged([answer()]) == {"a": None}
    slow.release()
    wait_until(lambda: executor.abandoned == 0)
    assert running.error is None
    assert recovered == [1]
    assert len(errors(logging.INFO)) == 1


@pytest.mark.parametrize("kind", [InlineExecutor, ThreadExecutor])
def test_part__without_room_fails_at_once(serve, client, small, held, kind):
    executor = small(kind, max_queued=4)
    slow, never = held(), held()
    url = serve(parts=[("slow", lazy(slow, timeout=BRIEF))])
    assert get_json(client, url)["errors"][0]["code"] == "part_timeout"
    url = serve(
        parts=[
            ("slow", lazy(never, timeout=PATIENCE)),
            ("after", lazy(lambda _: 2)),
            ("covered", lazy(safe_call(never, "covered"), timeout=PATIENCE)),
        ],
        chunk_size=3,
    )
    with soon():
        envelope = get_json(client, url)
    assert envelope["errors"][0].pop("retry_cursor")
    assert envelope["errors"] == [NO_CAPACITY]
    assert envelope["results"] == [{"after": 2}, {"covered": "covered"}]
    assert never.runs == 0
    slow.release()
    never.release()
    wait_until(lambda: executor.abandoned == 0)
    assert merged([get_json(client, url)]) == {"slow": None, "after": 2, "covered": None}


def test_part__without_room_in_the_loop_fails_at_once(serve, client, small, held):
    executor = small(ThreadExecutor, max_coroutines=1)
    slow = held(kind=HeldCoroutine)
    call = executor.submit_coroutine(slow, lambda result, error: result)
    url = serve(parts=[("slow", lazy(held(kind=HeldCoroutine), timeout=PATIENCE)), ("after", 2)])
    with soon():
        envelope = get_json(client, url)
    assert envelope["errors"][0]["code"] == "capacity"
    slow.release()
    done = Event()
    call.on_done(lambda _: done.set())
    assert done.wait(PATIENCE)


def test_part__runs_in_the_requests_language(serve, client, executor):
    with translation.override("de"):
        url = serve(parts=[("slow", lazy(lambda _: translation.get_language(), timeout=PATIENCE))])
        assert get_json(client, url)["results"] == [{"slow": "de"}]


# Under ASGI


def asgi(url):
    """One answer of Django's ASGI handler."""

    async def main():
        return (await AsyncClient().get(url)).json()

    return asyncio.run(main())


def test_asgi__a_part_that_takes_too_long(serve, held_of_each_kind, executor):
    url = serve(
        parts=[("slow", lazy(held_of_each_kind(), timeout=BRIEF)), ("after", lazy(lambda _: 2))]
    )
    with soon():
        envelope = asgi(url)
    envelope["errors"][0].pop("retry_cursor")
    assert (envelope["results"], envelope["errors"]) == ([{"after": 2}], [TIMED_OUT])


def test_asgi__a_loader_that_calls_another_with_a_timeout(serve, held, executor):
    slow = held()

    def load(request):
        return with_timeout(safe_call(slow, "covered"), BRIEF)(request)

    async def load_later(request):
        return await sync_to_async(load)(request)

    url = serve(parts=[("plain", lazy(load)), ("coroutine", lazy(load_later))])
    with soon():
        assert merged([asgi(url)]) == {"plain": "covered", "coroutine": "covered"}


# In an atomic block


@pytest.fixture
def inline_executor(settings):
    path = "partstream.backends.executors.inline.InlineExecutor"
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": path}
    return get_executor()


@pytest.fixture
def in_transaction(db, inline_executor):
    """A transaction with a row that no other session sees."""
    Note.objects.create(text="uncommitted")


ROWS = ["uncommitted"]


def texts(request):
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


@elsewhere
@pytest.mark.parametrize("covered", [False, True])
def test_atomic__where_no_statement_can_be_ended_it_runs_on(
    serve, client, in_transaction, errors, covered
):
    threads = []

    def load(request):
        threads.append(get_ident())
        return texts(request)

    loader = safe_call(load, None) if covered else load
    url = serve(parts=[("slow", lazy(loader, timeout=0.001)), ("after", lazy(texts))])
    assert merged([get_json(client, url)]) == {"slow": ROWS, "after": ROWS}
    assert with_timeout(load, 0.001)(REQUEST) == ROWS
    assert threads == [get_ident()] * 2
    said = (
        "has a timeout that cannot be kept: in an atomic block it stays in the request's "
        "thread, and this database cannot end a statement by itself."
    )
    assert errors(logging.WARNING) == [
        f"Part 'slow' of ServedView {said}",
        f"{load.__module__}.{load.__qualname__} {said}",
    ]


def test_atomic__a_coroutine_is_cancelled_in_its_transaction(
    serve, client, in_transaction, held, errors
):
    slow = held(kind=HeldCoroutine)

    async def load(request):
        await Note.objects.acreate(text="half")
        await slow()

    async def count(request):
        return await Note.objects.acount()

    url = serve(parts=[("slow", lazy(load, timeout=0.3)), ("count", lazy(count, timeout=PATIENCE))])
    with soon():
        envelope = get_json(client, url)
    assert envelope["errors"][0]["code"] == "part_timeout"
    assert envelope["results"] == [{"count": 1}]  # What it did by half is undone.
    assert texts(None) == ROWS
    assert slow.cancelled.wait(PATIENCE)
    assert errors(logging.WARNING) == [
        "Part 'slow' of ServedView: it took longer than its timeout; it fails with part_timeout."
    ]


def test_atomic__a_timeout_of_the_loaders_own_is_a_failure(serve, client, in_transaction):
    def fail(request):
        raise TimeoutError

    url = serve(parts=[("slow", lazy(fail, timeout=PATIENCE))])
    assert [error["code"] for error in get_json(client, url)["errors"]] == ["part_failed"]


def sleep(request=None):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(12)")


async def sleep_later(request=None):
    await sync_to_async(sleep)()


async def sleep_in_a_queryset(request=None):
    rows = Note.objects.raw("SELECT id, pg_sleep(12)::text AS text FROM example_note")
    return [note.text async for note in rows]


def write_and_sleep(request):
    Note.objects.create(text="half")
    sleep()


def texts_instead(request, error):
    assert isinstance(error, PartTimeout)
    return texts(request)


@on_postgresql
@pytest.mark.parametrize(
    "load", [sleep, write_and_sleep, sleep_later, sleep_in_a_queryset], ids=lambda f: f.__name__
)
def test_atomic__the_database_ends_the_statement(serve, client, in_transaction, load, errors):
    url = serve(
        parts=[
            ("before", lazy(texts)),
            ("slow", lazy(load, timeout=0.2)),
            ("after", lazy(texts)),
            ("covered", lazy(safe_call(load, texts_instead), timeout=0.2)),
        ],
        chunk_size=4,
    )
    with soon():
        envelope = get_json(client, url)
    assert merged([envelope]) == {"before": ROWS, "after": ROWS, "covered": ROWS}
    assert [error["code"] for error in envelope["errors"]] == ["part_timeout"]
    assert texts(None) == ROWS
    assert not connection.needs_rollback
    assert len(errors(logging.WARNING)) == 2


@on_postgresql
def test_atomic__a_loader_that_is_called_has_its_statement_ended(in_transaction):
    with soon(), pytest.raises(PartTimeout), transaction.atomic():
        with_timeout(sleep, 0.2)(REQUEST)
    assert with_timeout(texts, PATIENCE)(REQUEST) == ROWS


@on_postgresql
@in_autocommit
def test_statement__outside_of_an_atomic_block_is_ended_as_well(resolve, executor):
    Note.objects.create(text="there")
    with soon():
        envelope = resolve(("slow", lazy(sleep, timeout=0.2)), ("after", lazy(texts)))
        # Nobody waits for it; the database ends it soon after.
        wait_until(lambda: not executor.abandoned)
    assert envelope["errors"] == [TIMED_OUT]
    assert envelope["results"] == [{"after": ["there"]}]


@on_postgresql
@in_autocommit
@pytest.mark.parametrize("age", [0, None])
def test_connections__of_many_that_timed_out_are_given_back(settings, executors, monkeypatch, age):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    settings.DJANGO_PARTSTREAM = {
        "PART_EXECUTOR": "partstream.backends.executors.threads.ThreadExecutor"
    }
    executor = get_executor()

    def sessions():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend'"
            )
            return cursor.fetchone()[0]

    def load(request):
        Note.objects.count()
        most.append(executor.pool.threads)
        gate.wait(PATIENCE)

    before, timed_out, most = sessions(), 0, []
    while timed_out < 1_000:
        gate = Event()
        ends = list(in_threads(8, lambda _: outcome_of(with_timeout(load, 0.02))))
        timed_out += ends.count(PartTimeout)
        gate.set()
        wait_until(lambda: executor.abandoned == 0)
    assert max(most) <= executor.pool.max_workers + executor.pool.max_abandoned
    wait_until(lambda: sessions() <= before)


def outcome_of(loader):
    """The class of what a loader raises."""
    try:
        loader(REQUEST)
    except (PartTimeout, NoCapacity) as error:
        return type(error)
