"""What every executor has to do. Inherit it in the tests of yours, and write `make`."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Barrier, Event, Semaphore, get_ident
from time import monotonic
from typing import ClassVar

import pytest
from asgiref.local import Local
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation

from partstream.backends.base import Backend
from partstream.backends.executors import base as executors_base
from partstream.backends.executors import pool
from partstream.backends.executors.base import Executor
from partstream.backends.executors.calls import Call, State
from partstream.backends.loader import get_executor
from partstream.current_request import current
from partstream.exceptions import Misuse, NoCapacity, NoThread, ProbeFailed
from partstream.isolation import context
from partstream.testing import close_connections
from tests.example.models import Note
from tests.support.concurrency import (
    PATIENCE,
    Held,
    HeldCoroutine,
    in_threads,
    passed_on,
    result_of,
    soon,
    wait_until,
)
from tests.support.processes import run_python

OPTIONS = ["max_workers", "max_queued", "max_abandoned", "max_coroutines"]

color = ContextVar("color", default="none")
RED = ("red", "de", "Asia/Tokyo", "/deep/")
GREEN = ("green", "fr", "Africa/Cairo", "/other/")

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="threads do not share the tests' SQLite"
)
# In autocommit; of one application only, so that emptying its table is quick.
with_rows = pytest.mark.django_db(transaction=True, available_apps=["tests.example"])


def change_surroundings():
    color.set("green")
    translation.activate("fr")
    timezone.activate("Africa/Cairo")
    set_script_prefix("/other/")


def sessions():
    """How many sessions the database has; one of them is this test's."""
    return run(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    )


def run(sql):
    """The first value of a statement's result."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


class ExecutorContract:
    """Of all executors. Write `make`, and set the flags."""

    concurrent: ClassVar[bool]
    watches_time: ClassVar[bool] = True

    def make(self, **options) -> Executor:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _tidy(self, monkeypatch):
        """The threads of a test do not outlive it for long, nor does what it holds."""
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0.5)
        self._held, self._made = [], []
        yield
        for function in self._held:
            function.release()
        for executor in self._made:
            wait_until(lambda executor=executor: not executor.abandoned)

    def held(self, data=None, *, kind=Held):
        """A function that waits until it is let go, at the latest when the test ends."""
        self._held.append(kind(data))
        return self._held[-1]

    @pytest.fixture
    def executor(self):
        return self.made()

    def made(self, **options):
        self._made.append(self.make(**options))
        return self._made[-1]

    def abandon(self, executor, function):
        """Have a function abandoned."""
        call = executor.submit(function, timeout=PATIENCE)
        function.wait_until_begun()
        assert call.give_up() is State.ABANDONED
        return call

    # What it is

    def test_executor__tells_what_it_is(self, executor):
        assert isinstance(executor, Backend)
        assert (executor.concurrent, executor.watches_time) == (self.concurrent, self.watches_time)
        assert executor.abandoned == 0
        assert executor.check() == executor.check_deploy() == []

    @pytest.mark.parametrize("value", [0, -1, 1.5, "2", None, True, float("nan")], ids=repr)
    @pytest.mark.parametrize("option", OPTIONS)
    def test_option__that_is_no_number_is_refused_by_its_name(self, option, value):
        with pytest.raises(Misuse) as caught:
            self.make(**{option: value})
        assert f"({option}={value!r}): write a whole number of 1 or more." in str(caught.value)

    @pytest.mark.parametrize("option", OPTIONS)
    def test_option__may_be_one(self, option):
        assert result_of(self.made(**{option: 1}).submit(lambda: 7, timeout=PATIENCE)) == 7

    def test_executor__is_made_of_a_setting(self, settings):
        kind = type(self.make())
        path = f"{kind.__module__}.{kind.__qualname__}"
        settings.DJANGO_PARTSTREAM = {
            "PART_EXECUTOR": {"BACKEND": path, "OPTIONS": {"max_workers": 3}}
        }
        executor = get_executor()
        assert type(executor) is kind
        assert executor.pool.max_workers == 3
        assert get_executor() is executor
        for options, says in (({"max_workers": 0}, "max_workers=0"), ({"x": 1}, "['x']")):
            settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": {"BACKEND": path, "OPTIONS": options}}
            with pytest.raises(Misuse) as caught:
                get_executor()
            assert says in str(caught.value)

    # Submitting

    @pytest.mark.parametrize("timeout", [None, PATIENCE])
    @pytest.mark.parametrize("data", [None, 0, [1], KeyError("not raised")], ids=repr)
    def test_submit__gives_what_the_function_returns(self, executor, timeout, data):
        outcome = executor.submit(lambda: data, timeout=timeout)
        assert isinstance(outcome, Call) is (self.concurrent or timeout is not None)
        assert result_of(outcome) is data

    @pytest.mark.parametrize("timeout", [None, PATIENCE])
    @pytest.mark.parametrize(
        "error", [ValueError, StopIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt]
    )
    def test_submit__gives_what_the_function_raises(self, executor, timeout, error):
        def fail():
            raise error("no")

        with pytest.raises(error, match="no"):
            result_of(executor.submit(fail, timeout=timeout))
        # It goes on after whatever that was.
        assert result_of(executor.submit(lambda: 7, timeout=timeout)) == 7
        assert executor.abandoned == 0

    def test_submit__runs_elsewhere_with_a_timeout(self, executor):
        assert result_of(executor.submit(get_ident, timeout=PATIENCE)) != get_ident()
        alone = result_of(executor.submit(get_ident))
        assert (alone == get_ident()) is not self.concurrent

    def test_submit__knows_the_deadline(self, executor):
        before = monotonic()
        call = executor.submit(lambda: 7, timeout=PATIENCE)
        assert before + PATIENCE <= call.deadline <= monotonic() + PATIENCE
        result_of(call)

    # Context variables

    def test_context__is_that_of_the_caller(self, executor):
        with self.surrounded():
            call = executor.submit(self.surroundings, timeout=PATIENCE)
        assert result_of(call) == RED

    def test_context__is_that_of_the_caller_however_asgiref_keeps_it(self, executor, monkeypatch):
        monkeypatch.setattr(context, "Storage", None)
        with self.surrounded():
            call = executor.submit(self.surroundings, timeout=PATIENCE)
        assert result_of(call) == RED

    def test_context__has_what_a_library_keeps_in_asgirefs_local(self, executor):
        local = Local()
        local.tenant = "red"
        assert result_of(executor.submit(lambda: local.tenant, timeout=PATIENCE)) == "red"

        async def start():
            return local.tenant, await sync_to_async(lambda: local.tenant)()

        call = executor.submit_coroutine(start, lambda *end: (passed_on(*end), local.tenant))
        assert result_of(call) == (("red", "red"), "red")

    def test_context__has_nothing_that_is_not_the_callers_own(self, executor):
        local = Local()

        def context():
            local.tenant = "red"
            return copy_context()

        with ThreadPoolExecutor(1) as other:
            inherited = other.submit(context).result()
            # As in a thread that has inherited the context of the one that started it.
            call = inherited.run(
                executor.submit, lambda: hasattr(local, "tenant"), timeout=PATIENCE
            )
            assert result_of(call) is inherited.run(hasattr, local, "tenant")

    def surroundings(self):
        zone = timezone.get_current_timezone_name()
        return color.get(), translation.get_language(), zone, get_script_prefix()

    @contextmanager
    def surrounded(self):
        """A request's own language, time zone and script prefix, and a variable that is red."""
        token, prefix = color.set("red"), get_script_prefix()
        set_script_prefix("/deep/")
        try:
            with translation.override("de"), timezone.override("Asia/Tokyo"):
                yield
        finally:
            set_script_prefix(prefix)
            color.reset(token)

    def test_context__a_change_affects_no_other_call(self):
        executor, before = self.made(max_workers=1), self.surroundings()

        def change():
            change_surroundings()
            return self.surroundings()

        assert result_of(executor.submit(change, timeout=PATIENCE)) == GREEN
        assert self.surroundings() == before
        assert result_of(executor.submit(self.surroundings, timeout=PATIENCE)) == before

    # Capacity

    def test_queue__that_is_full_refuses(self):
        executor = self.made(max_workers=1, max_queued=2)
        first, second, third = (self.held(number) for number in range(3))
        calls = [executor.submit(first, timeout=PATIENCE)]
        first.wait_until_begun()
        calls += [executor.submit(function, timeout=PATIENCE) for function in (second, third)]
        for _ in range(3):
            with pytest.raises(NoCapacity, match="2 calls wait for a thread"):
                executor.submit(lambda: 7, timeout=PATIENCE)
        for function in (first, second, third):
            function.release()
        assert [result_of(call) for call in calls] == [0, 1, 2]
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7

    def test_queue__what_is_cancelled_in_it_never_runs(self):
        executor = self.made(max_workers=1)
        first, second = self.held(), self.held()
        running = executor.submit(first, timeout=PATIENCE)
        first.wait_until_begun()
        waiting = executor.submit(second, timeout=PATIENCE)
        assert not running.cancel()
        assert waiting.cancel()
        assert waiting.give_up() is State.CANCELLED
        first.release()
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7
        assert second.runs == 0
        assert executor.abandoned == 0

    def test_queue__serves_requests_in_turn(self):
        executor = self.made(max_workers=1)
        hung, ran = self.held(), []
        executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        calls = [
            self.submitted_for(request, executor, partial(ran.append, request))
            for request in ("a", "a", "a", "b")
        ]
        hung.release()
        for call in calls:
            result_of(call)
        assert ran == ["a", "b", "a", "a"]

    def test_queue__serves_the_rest_of_coroutines_in_turn(self):
        executor = self.made(max_workers=1)
        hung, ran = self.held(), []

        async def start():
            return 7

        def submit(request):
            return executor.submit_coroutine(start, lambda *end: ran.append(request))

        executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        calls = []
        for number, request in enumerate(("a", "a", "a", "b"), start=2):
            calls.append(self.with_id(request, submit, request))
            wait_until(lambda number=number: executor.pool.pending == number)
        hung.release()
        for call in calls:
            result_of(call)
        assert ran == ["a", "b", "a", "a"]

    def with_id(self, request_id, function, *args):
        """What the function returns within a request of this id."""
        token = current.set(request_id)
        try:
            return function(*args)
        finally:
            current.reset(token)

    def submitted_for(self, request_id, executor, function):
        return self.with_id(request_id, partial(executor.submit, function, timeout=PATIENCE))

    # Room

    def test_room__is_announced_when_a_call_ends(self):
        executor = self.made(max_workers=1, max_queued=1)
        functions, woken = [self.held() for _ in range(2)], [Event() for _ in range(3)]
        for function in functions:
            executor.submit(function, timeout=PATIENCE)
        with pytest.raises(NoCapacity) as caught:
            executor.submit(lambda: 7, timeout=PATIENCE)
        assert caught.value.room is executor.pool.room
        for event in woken:
            caught.value.room.call_when_free(event.set)
        assert not any(event.is_set() for event in woken)
        functions[0].release()
        assert woken[0].wait(PATIENCE)
        functions[1].wait_until_begun()
        assert not woken[1].is_set()
        # It takes no place; nothing else will end after the other one.
        functions[1].release()
        for event in woken:
            assert event.wait(PATIENCE)
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7

    def test_room__made_between_refusal_and_registration_is_not_lost(self):
        executor = self.made(max_workers=1, max_queued=1)
        functions = [self.held() for _ in range(2)]
        for function in functions:
            executor.submit(function, timeout=PATIENCE)
        with pytest.raises(NoCapacity) as caught:
            executor.submit(lambda: 7, timeout=PATIENCE)
        functions[0].release()
        wait_until(lambda: executor.pool.pending == 1)
        woken = []
        caught.value.room.call_when_free(lambda: woken.append(get_ident()))
        assert woken == [get_ident()]

    def test_room__is_announced_when_what_was_cancelled_leaves_the_queue(self):
        executor = self.made(max_workers=1, max_queued=2)
        first, third = self.held(), self.held()
        executor.submit(first, timeout=PATIENCE)
        first.wait_until_begun()
        cancelled = executor.submit(self.held(), timeout=PATIENCE)
        executor.submit(third, timeout=PATIENCE)
        assert cancelled.cancel()
        woken = [Event() for _ in range(3)]
        for event in woken:
            executor.pool.room.call_when_free(event.set)
        first.release()
        # Two places were freed; whoever was woken first has not taken its own yet.
        assert all(event.wait(PATIENCE) for event in woken)

    def test_room__is_announced_when_another_thread_replaces_a_call(self):
        executor = self.made(max_workers=1, max_queued=1)
        hung, waiting, woken = self.held(), self.held(), Event()
        call = executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        executor.submit(waiting, timeout=PATIENCE)
        executor.pool.room.call_when_free(woken.set)
        assert call.give_up() is State.ABANDONED
        assert woken.is_set()
        waiting.wait_until_begun()

    def test_room__is_announced_when_a_coroutine_ends(self):
        executor = self.made(max_coroutines=2)
        coroutines = [self.held(kind=HeldCoroutine) for _ in range(2)]
        for coroutine in coroutines:
            executor.submit_coroutine(coroutine, passed_on)
        with pytest.raises(NoCapacity) as caught:
            executor.submit_coroutine(self.held(kind=HeldCoroutine), passed_on)
        assert caught.value.room is executor.loop.room
        # More than the ends have places for: when no coroutine is left, nobody is left either.
        woken = [Event() for _ in range(5)]
        for event in woken:
            caught.value.room.call_when_free(event.set)
        assert not woken[0].is_set()
        coroutines[0].release()
        assert woken[0].wait(PATIENCE)
        assert not woken[1].is_set()
        coroutines[1].release()
        assert all(event.wait(PATIENCE) for event in woken)

    def test_room__is_announced_when_the_pool_is_closed(self):
        executor = self.made(max_workers=1, max_queued=1)
        hung, woken = self.held(), Event()
        for _ in range(2):
            executor.submit(hung, timeout=PATIENCE)
        executor.pool.room.call_when_free(woken.set)
        assert not executor.pool.close(0)
        assert woken.is_set()
        # The calls of the old queue make no room in the new one.
        hung.release()
        assert executor.pool.pending == 0

    def test_room__does_not_help_where_too_many_calls_are_abandoned(self):
        executor = self.made(max_abandoned=1)
        self.abandon(executor, self.held())
        with pytest.raises(NoCapacity) as caught:
            executor.submit(lambda: 7, timeout=PATIENCE)
        assert caught.value.room is None

    def test_room__is_enough_to_wait_for(self):
        """Callers that wait for nothing else all come to their turn."""
        executor = self.made(max_workers=2, max_queued=1)

        def use(number):
            woken, results = Semaphore(0), []
            while len(results) < 50:
                try:
                    call = executor.submit_to_worker(lambda: number, timeout=PATIENCE)
                except NoCapacity as error:
                    error.room.call_when_free(woken.release)
                    assert woken.acquire(timeout=PATIENCE)
                else:
                    results.append(result_of(call))
            return results

        assert in_threads(8, use) == [[number] * 50 for number in range(8)]

    # In a worker

    @pytest.mark.parametrize("timeout", [None, PATIENCE])
    def test_submit_to_worker__runs_elsewhere(self, executor, timeout):
        with self.surrounded():
            call = executor.submit_to_worker(
                lambda: (get_ident(), self.surroundings()), timeout=timeout
            )
        assert isinstance(call, Call)
        assert (call.deadline is None) is (timeout is None)
        ident, surroundings = result_of(call)
        assert ident != get_ident()
        assert surroundings == RED

    def test_submit_to_worker__gives_what_the_function_raises(self, executor):
        def fail():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            result_of(executor.submit_to_worker(fail))

    def test_submit_to_worker__in_a_full_pool_refuses(self):
        executor = self.made(max_workers=1, max_queued=1)
        for _ in range(2):
            executor.submit_to_worker(self.held())
        with pytest.raises(NoCapacity, match="1 calls wait for a thread") as caught:
            executor.submit_to_worker(lambda: 7)
        assert caught.value.room is executor.pool.room

    def test_max_in_flight__is_the_number_of_workers_or_less(self, monkeypatch):
        executor = self.made(max_workers=3)
        assert executor.max_in_flight == 3
        for limit, most in ((2, 2), (4, 3)):
            monkeypatch.setattr(executor, "max_per_request", limit)
            assert executor.max_in_flight == most

    # Probes

    def test_probe__runs_a_call(self, executor, monkeypatch):
        ran = Event()
        monkeypatch.setattr(executors_base, "_nothing", ran.set)
        executor.probe()
        assert ran.is_set()

    def test_probe__passes_a_pool_that_is_busy_and_takes_no_place_in_its_queue(self):
        executor = self.made(max_workers=2, max_queued=2)
        running = [self.held() for _ in range(2)]
        for function in running:
            executor.submit(function, timeout=PATIENCE)
            function.wait_until_begun()
        executor.submit(self.held(), timeout=PATIENCE)
        for _ in range(3):
            executor.probe()
        assert executor.pool.waiting == 1
        executor.submit(self.held(), timeout=PATIENCE)
        with pytest.raises(ProbeFailed, match=r"2 calls wait for a thread \(max_queued\)"):
            executor.probe()

    def test_probe__says_that_too_many_calls_are_abandoned(self):
        executor = self.made(max_abandoned=2)
        hung = [self.held() for _ in range(2)]
        for function in hung:
            executor.probe()
            self.abandon(executor, function)
        with pytest.raises(ProbeFailed, match="2 calls that timed out still run"):
            executor.probe()
        hung[0].release()
        wait_until(lambda: executor.abandoned == 1)
        executor.probe()

    def test_probe__says_that_its_call_does_not_end(self, executor, monkeypatch):
        held, own_submit = self.held(), executor.submit

        def submit(function, *, timeout):
            call = own_submit(held, timeout=timeout)
            held.wait_until_begun()
            return call

        monkeypatch.setattr(executor, "submit", submit)
        monkeypatch.setattr(executors_base, "_PROBE_TIMEOUT", 0.01)
        with pytest.raises(ProbeFailed, match="did not end"):
            executor.probe()
        # It was not abandoned: that would take a place away.
        assert executor.abandoned == 0

    def test_probe__passes_workers_that_have_just_become_busy(self, executor, monkeypatch):
        call = Call(lambda: None)  # Nobody begins it.
        monkeypatch.setattr(executor, "submit", lambda function, timeout: call)
        monkeypatch.setattr(executors_base, "_PROBE_TIMEOUT", 0.01)
        executor.probe()
        assert call.state is State.CANCELLED

    def test_probe__raises_what_its_call_raises(self, executor, monkeypatch):
        call = Call(lambda: None)
        call.refuse(NoThread("the only worker hangs"))
        monkeypatch.setattr(executor, "submit", lambda function, timeout: call)
        with pytest.raises(NoThread):
            executor.probe()

    def test_probe__raises_that_there_is_no_thread(self, executor, monkeypatch):
        def start(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("threading.Thread.start", start)
        with pytest.raises(NoThread):
            executor.probe()

    def test_abandoned__are_counted_while_they_run(self, executor):
        functions = [self.held() for _ in range(3)]
        for number, function in enumerate(functions, start=1):
            self.abandon(executor, function)
            assert executor.abandoned == number
        functions[0].release()
        wait_until(lambda: executor.abandoned == 2)
        for function in functions:
            function.release()
        wait_until(lambda: executor.abandoned == 0)

    def test_abandoned__leave_their_place_to_another_thread(self):
        executor = self.made(max_workers=1)
        self.abandon(executor, self.held())
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7

    def test_abandoned__what_waits_comes_to_its_turn(self):
        executor = self.made(max_workers=1)
        hung, waiting = self.held(), self.held(7)
        waiting.release()
        running = executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        call = executor.submit(waiting, timeout=PATIENCE)
        assert running.give_up() is State.ABANDONED
        assert result_of(call) == 7

    def test_abandoned__have_a_cap(self):
        executor = self.made(max_workers=2, max_abandoned=2)
        hung = [self.held() for _ in range(2)]
        for function in hung:
            self.abandon(executor, function)
        with pytest.raises(NoCapacity, match="2 calls that timed out still run"):
            executor.submit(lambda: 7, timeout=PATIENCE)
        assert result_of(executor.submit(lambda: 7)) == 7  # It can not be abandoned.
        hung[0].release()
        wait_until(lambda: executor.abandoned == 1)
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7

    def test_abandoned__end_without_a_callback(self, executor):
        told = []
        function = self.held(7)
        call = self.abandon(executor, function)
        call.on_done(told.append)
        function.release()
        wait_until(lambda: executor.abandoned == 0)
        assert (told, call.result, call.state) == ([], None, State.ABANDONED)
        assert call.give_up() is State.ABANDONED

    def test_call__that_is_done_cannot_be_given_up(self, executor):
        call = executor.submit(lambda: 7, timeout=PATIENCE)
        result_of(call)
        assert call.give_up() is State.DONE
        assert not call.cancel()
        assert (call.result, executor.abandoned) == (7, 0)

    def test_threads__have_a_bound(self):
        executor = self.made(max_workers=3, max_queued=2, max_abandoned=2)
        hung = [self.held() for _ in range(5)]
        already = set(threading.enumerate())
        # Three run, two wait. Two are abandoned: their places go to those that waited.
        calls = []
        for function in hung:
            calls.append(executor.submit(function, timeout=PATIENCE))
            if len(calls) <= 3:
                function.wait_until_begun()
        assert executor.pool.threads == 3
        assert {call.give_up() for call in calls[:2]} == {State.ABANDONED}
        for function in hung[3:]:
            function.wait_until_begun()
        assert executor.pool.threads == 5
        assert len(set(threading.enumerate()) - already) == 5
        # The queue still takes what can not be abandoned.
        if self.concurrent:
            waiting = [executor.submit(lambda: 7) for _ in range(2)]
            with pytest.raises(NoCapacity, match="2 calls wait for a thread"):
                executor.submit(lambda: 7)
        # They time out as well: counted, and not replaced.
        assert {call.give_up() for call in calls[2:]} == {State.ABANDONED}
        assert (executor.abandoned, executor.pool.threads) == (5, 5)
        with pytest.raises(NoCapacity, match="5 calls that timed out still run"):
            executor.submit(lambda: 7, timeout=PATIENCE)
        for function in hung:
            function.release()
        wait_until(lambda: executor.abandoned == 0)
        if self.concurrent:
            assert [result_of(call) for call in waiting] == [7, 7]
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7
        assert executor.pool.threads <= 3

    def test_threads__never_exceed_the_workers(self, monkeypatch):
        monkeypatch.setattr(pool, "IDLE_SECONDS", PATIENCE)
        executor, barrier = self.made(max_workers=4, max_queued=100), Barrier(4)
        idents = set()

        def run():
            idents.add(get_ident())
            barrier.wait(PATIENCE)

        for call in [executor.submit(run, timeout=PATIENCE) for _ in range(40)]:
            result_of(call)
        assert len(idents) == executor.pool.threads == 4

    def test_threads__of_many_callers(self):
        executor = self.made(max_workers=2, max_queued=1000)

        def use(number):
            return [
                result_of(executor.submit(lambda turn=turn: (number, turn), timeout=PATIENCE))
                for turn in range(20)
            ]

        assert in_threads(8, use) == [[(number, turn) for turn in range(20)] for number in range(8)]
        assert executor.pool.threads <= 2

    def test_threads__end_when_they_are_idle(self, monkeypatch):
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0.01)
        executor = self.made()
        worker = result_of(executor.submit(threading.current_thread, timeout=PATIENCE))
        worker.join(PATIENCE)
        assert not worker.is_alive()
        assert executor.pool.threads == 0
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7

    # Processes

    def code(self, body):
        kind = type(self.make())
        return (
            f"import os, threading, time\nfrom {kind.__module__} import {kind.__name__}\n"
            "from tests.support.concurrency import passed_on, result_of\n"
            f"executor = {kind.__name__}()\n{body}"
        )

    def test_process__may_fork_and_is_not_held_up_when_it_ends(self, tmp_path):
        code = self.code("""
import asyncio

def hang():
    begun.release()
    threading.Event().wait()

async def hang_in_loop():
    begun.release()
    await asyncio.Event().wait()

async def where():
    return threading.get_ident()

begun, woken = threading.Semaphore(0), []
assert result_of(executor.submit(lambda: 7, timeout=30)) == 7
loop_thread = result_of(executor.submit_coroutine(where, passed_on))
call = executor.submit(hang, timeout=30)
begun.acquire()
assert call.give_up().name == "ABANDONED"
rooms = executor.pool.room, executor.loop.room
for room in rooms:
    # No call is under way, but what it waits for is in the parent.
    room._waiting[lambda: woken.append("parent")] = None
    room.lock.acquire()
child = os.fork()
if not child:
    try:
        assert (executor.abandoned, executor.pool.threads) == (0, 0)
        assert result_of(executor.submit(lambda: 8, timeout=30)) == 8
        result_of(executor.submit_coroutine(where, passed_on))
        # A worker that is slow to say that it is free is given a second one beside it.
        assert (executor.abandoned, executor.pool.threads in (1, 2)) == (0, True)
        for room in rooms:
            room.call_when_free(threading.Event().set)
        assert (executor.pool.room, executor.loop.room, woken) == (*rooms, [])
        os._exit(0)
    finally:
        os._exit(1)
for room in rooms:
    room._waiting.clear()
    room.lock.release()
assert os.waitpid(child, 0)[1] == 0
assert executor.abandoned == 1
assert result_of(executor.submit(lambda: 9, timeout=30)) == 9
assert result_of(executor.submit_coroutine(where, passed_on)) == loop_thread
# A worker, an abandoned worker and the loop: all wait for ever, and the process ends.
executor.submit(hang, timeout=30)
executor.submit_coroutine(hang_in_loop, passed_on)
begun.acquire(), begun.acquire()
print("hung")
""")
        with soon():
            assert run_python(code, tmp_path) == "hung"

    def test_process__is_not_held_up_by_the_threads_of_coroutines(self, tmp_path):
        code = self.code("""
from asgiref.local import Local
from asgiref.sync import sync_to_async

def hang():
    begun.set()
    time.sleep(15)

begun = threading.Event()
call = executor.submit_coroutine(sync_to_async(hang), passed_on, timeout=0.1)
begun.wait()
call.give_up()
print("hung")
""")
        with soon():
            assert run_python(code, tmp_path) == "hung"

    # Coroutines

    def test_coroutine__runs_in_the_loop_and_is_finished_by_a_worker(self, executor):
        async def start():
            return get_ident(), threading.current_thread().name

        call = executor.submit_coroutine(start, lambda result, error: (result, error, get_ident()))
        (loop_ident, name), error, worker = result_of(call)
        assert len({loop_ident, worker, get_ident()}) == 3
        assert (name, error) == ("partstream-loop", None)
        again = result_of(executor.submit_coroutine(start, lambda result, error: result))
        assert again == (loop_ident, name)

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
    def test_coroutine__that_fails_is_finished(self, executor, error):
        async def start():
            raise error("no")

        finished = []

        def finish(result, raised):
            finished.append((result, type(raised)))
            return 7

        assert result_of(executor.submit_coroutine(start, finish)) == 7
        assert finished == [(None, error)]
        with pytest.raises(error):
            result_of(executor.submit_coroutine(start, passed_on))

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_coroutine__that_would_end_the_process_leaves_the_loop_alone(self, executor, error):
        async def start():
            raise error("no")

        async def good():
            return 7

        with pytest.raises(error):
            result_of(executor.submit_coroutine(start, passed_on))
        assert result_of(executor.submit_coroutine(good, passed_on)) == 7

    def test_coroutine__runs_beside_others(self, executor):
        here, there = [], []

        async def meet(mine, yours):
            mine.append(asyncio.Event())
            while not yours:
                await asyncio.sleep(0)
            yours[0].set()
            await asyncio.wait_for(mine[0].wait(), PATIENCE)
            return 7

        calls = [
            executor.submit_coroutine(lambda: meet(here, there), passed_on),
            executor.submit_coroutine(lambda: meet(there, here), passed_on),
        ]
        assert [result_of(call) for call in calls] == [7, 7]

    def test_coroutine__has_a_thread_of_its_own_for_what_would_block(self, executor):
        barrier = Barrier(2)

        @sync_to_async
        def together():
            barrier.wait(PATIENCE)
            return get_ident()

        async def twice():
            return await together(), await sync_to_async(get_ident)()

        calls = [executor.submit_coroutine(twice, passed_on) for _ in range(2)]
        (first, also_first), (second, also_second) = (result_of(call) for call in calls)
        assert (first, second) == (also_first, also_second)
        assert first != second

    def test_coroutine__has_the_callers_context_and_affects_no_other(self, executor):
        before = self.surroundings()

        async def change():
            seen = self.surroundings()
            change_surroundings()
            return seen, await sync_to_async(self.surroundings)()

        async def look():
            return self.surroundings()

        with self.surrounded():
            call = executor.submit_coroutine(
                change, lambda result, error: (*passed_on(result, error), self.surroundings())
            )
        assert result_of(call) == (RED, GREEN, RED)
        assert self.surroundings() == before
        assert result_of(executor.submit_coroutine(look, passed_on)) == before

    def test_coroutine__is_cancelled_when_it_is_given_up(self):
        executor = self.made(max_coroutines=1)
        coroutine, told = self.held(kind=HeldCoroutine), []
        call = executor.submit_coroutine(coroutine, lambda *end: told.append(end), timeout=PATIENCE)
        call.on_done(told.append)
        coroutine.wait_until_begun()
        assert call.give_up() is State.ABANDONED
        assert coroutine.cancelled.wait(PATIENCE)
        assert executor.abandoned == 0
        self.has_room(executor)
        assert told == []

    def test_coroutine__given_up_before_it_began_never_does(self, executor):
        begun, gate, ran = Event(), Event(), []

        async def block_the_loop():
            begun.set()
            gate.wait(PATIENCE)

        async def late():
            ran.append("late")

        blocking = executor.submit_coroutine(block_the_loop, passed_on)
        assert begun.wait(PATIENCE)
        call = executor.submit_coroutine(late, passed_on, timeout=PATIENCE)
        assert call.give_up() is State.CANCELLED
        gate.set()
        result_of(blocking)
        self.has_room(executor)
        assert ran == []

    def test_coroutines__have_a_bound(self):
        executor = self.made(max_coroutines=3)
        held = [self.held(number, kind=HeldCoroutine) for number in range(3)]
        calls = [executor.submit_coroutine(coroutine, passed_on) for coroutine in held]
        for _ in range(2):
            with pytest.raises(NoCapacity, match="3 coroutines run"):
                executor.submit_coroutine(self.held(kind=HeldCoroutine), passed_on)
        for coroutine in held:
            coroutine.release()
        assert [result_of(call) for call in calls] == [0, 1, 2]
        self.has_room(executor)

    def has_room(self, executor):
        """A coroutine finds its way."""

        async def start():
            return 7

        def submit():
            try:
                return executor.submit_coroutine(start, passed_on)
            except NoCapacity:
                return None

        calls = []
        wait_until(lambda: calls.append(submit()) or calls[-1])
        assert result_of(calls[-1]) == 7

    def test_coroutines__share_one_loop_from_the_first(self):
        async def start():
            return get_ident()

        for _ in range(5):
            executor, barrier = self.made(), Barrier(8)

            def use(_, executor=executor, barrier=barrier):
                barrier.wait(PATIENCE)
                return result_of(executor.submit_coroutine(start, passed_on))

            assert len(set(in_threads(8, use))) == 1

    def test_coroutine__may_fill_the_queue_beyond_its_bound(self):
        # What has begun is finished.
        executor = self.made(max_workers=1, max_queued=1)
        hung = self.held()
        executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()

        async def start():
            return 7

        calls = [executor.submit_coroutine(start, passed_on) for _ in range(5)]
        hung.release()
        assert [result_of(call) for call in calls] == [7] * 5

    # Database connections

    @on_postgresql
    @with_rows
    @pytest.mark.parametrize("age", [0, None])
    def test_connections__are_given_back(self, monkeypatch, age):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
        executor = self.made(max_workers=4)
        wait_until(lambda: sessions() == 1)
        barrier = Barrier(4)

        def count():
            barrier.wait(PATIENCE)
            return Note.objects.count()

        calls = [executor.submit(count, timeout=PATIENCE) for _ in range(20)]
        assert [result_of(call) for call in calls] == [0] * 20
        wait_until(lambda: sessions() == 1)

    @on_postgresql
    @with_rows
    def test_connections__that_age_while_a_worker_is_idle_are_not_used(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
        executor = self.made(max_workers=1)

        def session():
            return run("SELECT pg_backend_pid()"), connections["default"]

        pid, its = result_of(executor.submit(session, timeout=PATIENCE))
        wait_until(lambda: not executor.pool._pending)
        assert result_of(executor.submit(session, timeout=PATIENCE)) == (pid, its)
        wait_until(lambda: not executor.pool._pending)
        its.close_at = 0
        assert result_of(executor.submit(session, timeout=PATIENCE))[0] != pid

    @on_postgresql
    @with_rows
    def test_connections__of_an_idle_worker_are_closed_and_it_lives_on(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
        monkeypatch.setattr(pool, "CLOSE_SECONDS", 0.05)
        monkeypatch.setattr(pool, "IDLE_SECONDS", PATIENCE)
        executor = self.made(max_workers=1)
        wait_until(lambda: sessions() == 1)

        def count():
            return Note.objects.count(), threading.current_thread()

        for _ in range(2):
            _, worker = result_of(executor.submit(count, timeout=PATIENCE))
            wait_until(lambda: sessions() == 1)
            assert worker.is_alive()
        assert executor.pool.threads == 1

    @on_postgresql
    @with_rows
    def test_connections__of_a_session_that_was_killed_are_opened_anew(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
        executor = self.made(max_workers=1)

        def session():
            return run("SELECT pg_backend_pid()")

        pid = result_of(executor.submit(session, timeout=PATIENCE))
        run(f"SELECT pg_terminate_backend({pid})")
        wait_until(lambda: sessions() == 1)
        # The first that meets it fails, as the first request does; the next one has a new one.
        with suppress(DatabaseError):
            result_of(executor.submit(session, timeout=PATIENCE))
        assert result_of(executor.submit(session, timeout=PATIENCE)) != pid

    @on_postgresql
    @with_rows
    def test_connections__of_workers_keep_no_log_of_queries(self, monkeypatch, settings):
        settings.DEBUG = True
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
        executor = self.made(max_workers=1)

        def logged():
            before = len(connection.queries_log)
            run("SELECT 1")
            return before, len(connection.queries_log)

        for _ in range(3):
            assert result_of(executor.submit(logged, timeout=PATIENCE)) == (0, 1)
            wait_until(lambda: not executor.pool._pending)

    @on_postgresql
    @with_rows
    def test_close_connections__closes_those_of_idle_and_of_running_workers(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
        monkeypatch.setattr(pool, "CLOSE_SECONDS", PATIENCE)
        wait_until(lambda: sessions() == 1)
        executor, barrier = self.made(max_workers=3), Barrier(3)

        def count():
            barrier.wait(PATIENCE)
            return Note.objects.count()

        for call in [executor.submit(count, timeout=PATIENCE) for _ in range(3)]:
            result_of(call)
        assert sessions() == 4
        held = self.held()

        async def later():
            await Note.objects.acount()

        executor.submit(lambda: (Note.objects.count(), held()), timeout=PATIENCE)
        executor.submit_coroutine(later, passed_on)
        held.wait_until_begun()
        with pytest.raises(AssertionError, match="still runs"):
            close_connections(timeout=0.05)
        held.release()
        wait_until(lambda: sessions() == 1)
        # A coroutine that ends later gets a new thread, which is idle then.
        wait_until(lambda: executor.pool.threads == 0)
        assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7
        close_connections()
        assert sessions() == 1

    def test_close_connections__leaves_the_counts_of_hung_calls_right(self):
        executor = self.made(max_workers=1, max_abandoned=1)
        hung = self.held()
        call = executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        with pytest.raises(AssertionError):
            close_connections(timeout=0.05)
        assert call.give_up() is State.ABANDONED
        assert (executor.abandoned, executor.pool.threads) == (1, 0)
        hung.release()
        wait_until(lambda: not executor.abandoned)
        for _ in range(3):
            assert result_of(executor.submit(lambda: 7, timeout=PATIENCE)) == 7
        assert executor.pool.threads == 1

    def test_close_connections__strands_no_call_that_waits(self):
        executor = self.made(max_workers=1, max_abandoned=1)
        hung = self.held()
        call = executor.submit(hung, timeout=PATIENCE)
        hung.wait_until_begun()
        waiting = executor.submit(lambda: 7, timeout=PATIENCE)
        with pytest.raises(AssertionError):
            close_connections(timeout=0.05)
        assert call.give_up() is State.ABANDONED
        hung.release()
        assert result_of(waiting) == 7
        wait_until(lambda: not executor.abandoned)

    @on_postgresql
    @with_rows
    def test_connections__of_abandoned_calls_are_given_back(self):
        executor = self.made()
        wait_until(lambda: sessions() == 1)

        def count():
            Note.objects.count()
            function()

        for _ in range(5):
            function = self.held()
            call = executor.submit(count, timeout=PATIENCE)
            function.wait_until_begun()
            assert call.give_up() is State.ABANDONED
        assert sessions() == 6
        for function in self._held:
            function.release()
        wait_until(lambda: sessions() == 1)

    @on_postgresql
    @with_rows
    @pytest.mark.parametrize("fails", [False, True])
    def test_connections__of_coroutines_are_given_back(self, executor, fails):
        wait_until(lambda: sessions() == 1)

        async def count():
            await Note.objects.acount()
            if fails:
                raise ValueError
            return await Note.objects.acount()

        calls = [
            executor.submit_coroutine(count, lambda result, error: (result, type(error)))
            for _ in range(5)
        ]
        expected = (None, ValueError) if fails else (0, type(None))
        assert [result_of(call) for call in calls] == [expected] * 5
        wait_until(lambda: sessions() == 1)

    @on_postgresql
    @with_rows
    def test_connections__of_cancelled_coroutines_are_given_back(self, executor):
        wait_until(lambda: sessions() == 1)
        held = self.held(kind=HeldCoroutine)

        async def count():
            await Note.objects.acount()
            await held()

        call = executor.submit_coroutine(count, passed_on, timeout=PATIENCE)
        held.wait_until_begun()
        assert sessions() == 2
        assert call.give_up() is State.ABANDONED
        wait_until(lambda: sessions() == 1)

    @on_postgresql
    @with_rows
    @pytest.mark.parametrize("spoil", ["close", "autocommit", "terminate", "aborted", "atomic"])
    def test_connections__that_were_spoilt_are_not_used(self, monkeypatch, spoil):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
        executor = self.made(max_workers=1)

        def spoilt():
            Note.objects.count()
            if spoil == "close":
                connection.close()
            elif spoil == "autocommit":
                connection.set_autocommit(False)
            elif spoil == "terminate":
                run("SELECT pg_terminate_backend(pg_backend_pid())")
            elif spoil == "aborted":
                run("BEGIN")
                run("nonsense")
            else:
                transaction.atomic().__enter__()

        with suppress(DatabaseError):
            result_of(executor.submit(spoilt, timeout=PATIENCE))
        good = executor.submit(lambda: Note.objects.create(text="good").text, timeout=PATIENCE)
        assert result_of(good) == "good"
        assert list(Note.objects.values_list("text", flat=True)) == ["good"]
