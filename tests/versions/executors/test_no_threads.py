"""The system has no thread to give: at each place that starts one, an answer and no hang."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from contextlib import contextmanager
from threading import Event, get_ident

import pytest
from asgiref.sync import sync_to_async

from partstream import ProgressiveView, cached_for, lazy, safe_call, with_timeout
from partstream.backends.executors.daemon_threads import start_daemon
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.caching.single_flight import get_single_flight
from partstream.exceptions import NoCapacity, NoThread
from tests.support.concurrency import PATIENCE, in_background, passed_on, result_of, wait_until
from tests.support.marks import timed
from tests.support.processes import run_python
from tests.support.walk_client import get_json, merged, walk

PATH = "partstream.backends.executors.inline.InlineExecutor"


class Threads:
    """What the system has: none of a name that begins so, while they ``are_out``."""

    def __init__(self):
        self.are_out = False
        self.name = "partstream-"
        self.refused = []

    @contextmanager
    def out(self, name="partstream-"):
        """Meanwhile none can be started whose name begins so."""
        self.are_out, self.name = True, name
        try:
            yield
        finally:
            self.are_out = False


@pytest.fixture
def system(monkeypatch):
    """The system's threads of ours; those of the test itself can always be had."""
    system, start = Threads(), threading.Thread.start

    def start_or_refuse(thread):
        if system.are_out and thread.name.startswith(system.name):
            system.refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    return system


def thread_of(request, **dependencies):
    return get_ident()


async def thread_of_async(request):
    return await sync_to_async(get_ident)()


async def nothing(request):
    return "nothing"


def capacity(name):
    return {
        "part": name,
        "code": "capacity",
        "detail": "The server is too busy to load this part. Try again in a moment.",
        "retryable": True,
    }


def test_start_daemon__says_that_there_is_none(system):
    with system.out(), pytest.raises(NoThread, match="could not start a thread"):
        start_daemon(print, name="partstream-test")
    assert issubclass(NoThread, NoCapacity)


@pytest.mark.parametrize("kind", [InlineExecutor, ThreadExecutor])
@pytest.mark.parametrize("load", [thread_of, thread_of_async, nothing])
@pytest.mark.parametrize("budget", [None, 3600.0])
def test_part__without_a_timeout_runs_in_the_requests_thread(
    client, serve, executors, system, kind, load, budget, caplog
):
    if budget is not None and kind is InlineExecutor:
        budget = None
    parts = [("first", lazy(load)), ("second", lazy(load))]
    url = serve(parts=parts, executor=executors(kind), time_budget=budget)
    with system.out(), caplog.at_level(logging.ERROR, "partstream"):
        found = merged(walk(client, url))
    expected = "nothing" if load is nothing else get_ident()
    assert found == {"first": expected, "second": expected}


@pytest.mark.parametrize("kind", [InlineExecutor, ThreadExecutor])
@pytest.mark.parametrize("load", [thread_of, thread_of_async])
def test_part__with_a_timeout_fails_with_capacity(client, serve, executors, system, kind, load):
    executor = executors(kind)
    parts = [
        ("timed", lazy(load, timeout=PATIENCE)),
        ("covered", lazy(safe_call(load, fallback="none"), timeout=PATIENCE)),
        ("value", 7),
    ]
    url = serve(parts=parts, executor=executor, chunk_size=9)
    with system.out():
        answer = get_json(client, url)
    error = answer["errors"][0]
    del error["retry_cursor"]
    assert error == capacity("timed")
    assert merged([answer]) == {"covered": "none", "value": 7}
    # And when threads can be had again, nothing is left behind.
    assert merged([get_json(client, url)]).keys() == {"timed", "covered", "value"}
    assert executor.abandoned == 0


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_coroutine__whose_own_thread_cannot_start_gives_its_place_back(
    client, serve, executors, system, timeout
):
    executor = executors(ThreadExecutor, max_coroutines=1)
    # The loop and a worker run already.
    result_of(executor.submit_coroutine(lambda: nothing(None), passed_on))
    url = serve(parts=[("one", lazy(thread_of_async, timeout=timeout))], executor=executor)
    for _ in range(3):
        with system.out("partstream-sync"):
            answer = get_json(client, url)
        if timeout is None:
            assert merged([answer]) == {"one": get_ident()}
        else:
            assert answer["errors"][0]["code"] == "capacity"
    assert system.refused == ["partstream-sync"] * 3
    assert executor.loop.wait_until_idle(PATIENCE)
    assert merged([get_json(client, url)])["one"] != get_ident()


# asgiref makes the coroutine before it asks for a thread.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", [InlineExecutor, ThreadExecutor])
@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_coroutine__fails_with_capacity_where_asgiref_can_start_none_either(
    client, serve, executors, system, kind, timeout
):
    parts = [("one", lazy(thread_of_async, timeout=timeout)), ("two", lazy(lambda request: 2))]
    url = serve(parts=parts, executor=executors(kind))
    with system.out(""):
        answer = get_json(client, url)
    assert [error["code"] for error in answer["errors"]] == ["capacity"]
    assert merged([answer]) == {"two": 2}
    gc.collect()  # So that the warnings are this test's.
    assert merged([get_json(client, url)]).keys() == {"one", "two"}


def test_coroutine__that_swallows_it_has_no_outcome_all_the_same(client, serve, executors, system):
    executor = executors(ThreadExecutor)

    async def load(request):
        try:
            return await thread_of_async(request)
        except NoCapacity:
            return "half"

    url = serve(parts=[("one", lazy(load, timeout=PATIENCE))], executor=executor)
    with system.out("partstream-sync"):
        assert get_json(client, url)["errors"][0]["code"] == "capacity"


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_coroutine__that_no_worker_can_finish_is_not_lost(
    client, serve, executors, system, timeout
):
    executor = executors(ThreadExecutor)
    url = serve(parts=[("one", lazy(thread_of_async, timeout=timeout))], executor=executor)
    with system.out("partstream-worker"):
        answer = get_json(client, url)
    if timeout is None:
        assert merged([answer]) == {"one": get_ident()}
    else:
        assert answer["errors"][0]["code"] == "capacity"


@timed
def test_pool__whose_only_worker_hangs_hands_back_what_waits(
    client, serve, held, system, executors
):
    executor = executors(ThreadExecutor, max_workers=1)
    hung = held("hung")
    ours = get_ident()

    def count(request):
        return get_ident() == ours

    parts = [("hung", lazy(hung, timeout=0.05)), ("waits", lazy(count))]
    url = serve(parts=parts, executor=executor, chunk_size=2)
    result_of(executor.submit(lambda: None))  # The one worker has begun.
    with system.out():
        answer = get_json(client, url)
        assert answer["errors"][0]["code"] == "part_timeout"
        # Nobody else would have come to it.
        assert merged([answer]) == {"waits": True}
        # Nor is the next request held up.
        url = serve(parts=[("plain", lazy(count))], executor=executor)
        assert merged([get_json(client, url)]) == {"plain": True}
    hung.release()
    wait_until(lambda: not executor.abandoned)
    assert merged([get_json(client, url)]) == {"plain": False}


def test_pool__whose_workers_are_busy_is_full(executors, held, system):
    executor = executors(ThreadExecutor, max_workers=2)
    busy = held()
    call = executor.submit(busy)
    busy.wait_until_begun()
    with system.out():
        with pytest.raises(NoCapacity, match="all workers are busy") as caught:
            executor.submit(lambda: 7)
        assert not isinstance(caught.value, NoThread)
        # The queue has room, but no thread would come to it.
        woken = Event()
        caught.value.room.call_when_free(woken.set)
        assert not woken.is_set()
    busy.release()
    result_of(call)
    assert woken.wait(PATIENCE)
    wait_until(lambda: not executor.pool._pending)
    # The one that is there serves.
    with system.out():
        assert result_of(executor.submit(lambda: 7)) == 7


def test_pool__that_gets_threads_again_has_room_in_its_queue(executors, held, system):
    executor = executors(ThreadExecutor, max_workers=2, max_queued=1)
    busy, woken = held(), []
    calls = [executor.submit(busy)]
    busy.wait_until_begun()
    with system.out(), pytest.raises(NoCapacity) as caught:
        executor.submit(busy)
    calls.append(executor.submit(busy))
    caught.value.room.call_when_free(lambda: woken.append("now"))
    assert woken == ["now"]
    busy.release()
    for call in calls:
        result_of(call)


def test_pool__without_a_thread_has_no_room_to_wait_for(executors, system):
    executor = executors(ThreadExecutor)
    with system.out():
        with pytest.raises(NoThread) as caught:
            executor.submit(lambda: 7)
        assert caught.value.room is None
        with pytest.raises(NoThread) as caught:
            executor.submit_coroutine(lambda: nothing(None), passed_on)
        assert caught.value.room is None


def test_pool__whose_only_worker_hangs_wakes_who_waits_for_room(executors, held, system):
    executor = executors(ThreadExecutor, max_workers=1, max_queued=1)
    hung, woken = held(), Event()
    call = executor.submit(hung, timeout=PATIENCE)
    hung.wait_until_begun()
    waiting = executor.submit(hung)
    executor.pool.room.call_when_free(woken.set)
    with system.out():
        call.give_up()
        # They are refused, and told that there is no thread.
        assert woken.is_set()
        with pytest.raises(NoThread):
            result_of(waiting)
    hung.release()
    wait_until(lambda: not executor.abandoned)


def test_pool__that_is_full_for_want_of_threads_is_waited_for_under_a_budget(
    client, serve, held, system, executors
):
    executor = executors(ThreadExecutor, max_workers=2)
    busy = held()
    call = executor.submit(busy)
    busy.wait_until_begun()
    url = serve(
        ProgressiveView, parts=[("one", lazy(thread_of))], executor=executor, time_budget=3600.0
    )
    with system.out(), in_background(get_json, client, url) as answer:
        wait_until(lambda: system.refused)
        busy.release()
        result_of(call)
        assert merged([answer()])["one"] != get_ident()


def test_with_timeout__called_from_python_fails_with_no_capacity(system, settings):
    settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": {"BACKEND": PATH, "OPTIONS": {}}}
    with system.out():
        with pytest.raises(NoCapacity):
            with_timeout(thread_of, PATIENCE)(None)
        assert safe_call(with_timeout(thread_of, PATIENCE), fallback=7)(None) == 7


def test_flight__whose_lock_is_not_renewed_still_ends(
    client, serve, settings, empty_cache, system, caplog, tmp_path
):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": tmp_path,
        }
    }
    assert get_single_flight().store.shared
    runs = []
    load = cached_for(60, shared=True)(lambda request: runs.append(1) or len(runs))
    url = serve(parts=[("one", lazy(load))])
    with system.out("partstream-locks"), caplog.at_level(logging.WARNING, "partstream"):
        for _ in range(2):
            assert merged([get_json(client, url)]) == {"one": 1}
    assert system.refused == ["partstream-locks"]
    assert any("could not be started" in record.getMessage() for record in caplog.records)


REAL_LIMIT = """
import resource, threading
import django
django.setup()
from django.test import RequestFactory
from partstream import ProgressiveView, lazy

class View(ProgressiveView):
    executor = "partstream.backends.executors.threads.ThreadExecutor"
    authentication_classes = ()
    chunk_size = 9
    parts = [
        ("plain", lazy(lambda request: 1)),
        ("timed", lazy(lambda request: 1, timeout=60)),
    ]

# Each thread asks for more memory than the process may have: the system refuses for real.
threading.stack_size(1 << 34)
resource.setrlimit(resource.RLIMIT_AS, (1 << 33, resource.RLIM_INFINITY))
answer = View.as_view()(RequestFactory().get("/")).data
print(answer["results"], [error["code"] for error in answer["errors"]])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
threading.stack_size(0)
print(View.as_view()(RequestFactory().get("/")).data["results"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit memory otherwise")
def test_process__at_a_real_limit_answers_and_recovers(tmp_path):
    printed = run_python(REAL_LIMIT, tmp_path).splitlines()
    assert printed == ["[{'plain': 1}] ['capacity']", "[{'plain': 1}, {'timed': 1}]"]
