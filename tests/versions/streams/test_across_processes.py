"""Streams that another process resumes: each test acts for both, with flights of their own."""

from __future__ import annotations

import pytest

from partstream import cached_for, lazy
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_cache_store
from partstream.caching.single_flight import SingleFlight, get_single_flight
from tests.support.concurrency import wait_until
from tests.support.streams import opened, stream
from tests.support.walk_client import at, merged, names

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
EXECUTORS = pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])


@pytest.fixture(autouse=True)
def store(settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": False,
        "CACHE_MIN_DURATION": 0.0,
        "STREAM_HEARTBEAT": 0.1,
        "CACHE_STORE": "tests.support.stores.SharedNotingStore",
    }
    return get_cache_store()


class AnotherProcess:
    """Within it, requests are answered by a process that shares nothing but the store."""

    def __init__(self):
        self._flights = SingleFlight(get_cache_store())

    def _switch(self, *_):
        kept = get_single_flight.__self__
        self._flights, kept._value = kept.get(), self._flights

    __enter__ = __exit__ = _switch


def parts(*loaders):
    return [("now", 0), *((f"p{number}", lazy(loader)) for number, loader in enumerate(loaders))]


def locks(store):
    return [key for operation, key, *_ in store.trips if operation == "reserve"]


@EXECUTORS
def test_join__what_another_process_runs(serve, client, held, executor):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
        with AnotherProcess(), opened(client, at(url, token)) as other:
            assert next(other)["results"] == []
            other.go_on()
            slow.release()
            assert merged(other) == {"p0": "slow"}
    assert slow.runs == 1


@EXECUTORS
def test_join__what_another_process_has_left(serve, client, held, executor):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    with AnotherProcess(), opened(client, at(url, token)) as other:
        next(other)
        other.go_on()
        slow.release()
        assert merged(other) == {"p0": "slow"}
    assert slow.runs == 1


def test_join__what_another_process_has_left_is_kept_however_quick(serve, client, held, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "CACHE_MIN_DURATION": 3600.0}
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    slow.release()
    wait_until(lambda: not get_single_flight()._flights)
    with AnotherProcess():
        assert merged(stream(client, at(url, token))) == {"p0": "slow"}
    assert slow.runs == 1


def test_join__where_the_other_process_fails_it_runs_here(serve, client, held):
    slow = held("slow", error=ValueError("no"))
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
        with AnotherProcess(), opened(client, at(url, token)) as other:
            next(other)
            other.go_on()
            slow.release()
            (last,) = other
    assert [error["code"] for error in last["errors"]] == ["part_failed"]
    assert slow.runs == 2


def test_join__where_the_other_process_dies_it_runs_here(serve, client, held, store):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
        (lock,) = set(locks(store))
        with AnotherProcess(), opened(client, at(url, token)) as other:
            next(other)
            other.go_on()
            store.delete(lock)  # As its time does.
            while slow.runs < 2:
                other.go_on()
            slow.release()
            assert merged(other) == {"p0": "slow"}


def test_begin__looks_whether_another_process_has_made_it_meanwhile(serve, client, held, executors):
    """What waits for a thread here may have been run there."""
    first, second = held("first"), held("second")
    elsewhere = AnotherProcess()
    there, here = (executors(ThreadExecutor, max_workers=1) for _ in range(2))
    url = serve(parts=parts(first, second), executor=there)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        first.wait_until_begun()
        # Here, the only thread has other work: both parts wait for it.
        busy = held("busy")
        here.pool.submit(busy)
        busy.wait_until_begun()
        url = serve(parts=parts(first, second), executor=here)
        with opened(client, at(url, token)) as other:
            with elsewhere:
                next(other)
                other.go_on()
            first.release()
            second.release()
            assert merged(found) == {"p0": "first", "p1": "second"}
            with elsewhere:
                busy.release()
                assert merged(other) == {"p0": "first", "p1": "second"}
    assert (first.runs, second.runs) == (1, 1)


def test_begin__asks_no_store_before_the_first_record(serve, client, store, calls):
    kept = cached_for(60, shared=True)(calls.loader("kept"))
    url = serve(parts=[*parts(calls.loader("p0")), ("kept", lazy(kept))], executor=THREADS)
    store.taken()
    with opened(client, url) as found:
        token = next(found)["cursor"]
        assert store.taken() == []
        assert calls == []
        assert merged(found).keys() == {"p0", "kept"}
    taken = locks(store)
    # Parts are delivered before they are kept.
    wait_until(lambda: all(store.get(lock) is None for lock in taken))
    store.taken()
    with opened(client, at(url, token)) as found:
        next(found)
        assert store.taken() == []


def test_keep__only_what_was_slow_or_is_needed(serve, client, settings, store, calls):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "CACHE_MIN_DURATION": 3600.0}
    store = get_cache_store()
    needed = [
        ("first", lazy(calls.loader("first", 1))),
        ("then", lazy(lambda request, first: first, depends_on=["first"])),
        ("alone", lazy(calls.loader("alone"))),
    ]
    stream(client, serve(parts=needed, executor=THREADS))
    wait_until(lambda: len([trip for trip in store.trips if trip[0] == "remove"]) == 3)
    (key,) = store.keys()
    assert key.endswith(".first")


@EXECUTORS
def test_locks__are_given_back(serve, client, store, executor, calls):
    stream(client, serve(parts=parts(calls.loader("p0"), calls.loader("p1")), executor=executor))
    taken = locks(store)
    assert len(taken) == 2
    wait_until(lambda: all(store.get(lock) is None for lock in taken))
    wait_until(lambda: not get_single_flight()._flights)


async def coroutine(request):
    return "coroutine"


@EXECUTORS
def test_coroutine__takes_its_lock_too(serve, client, store, executor):
    url = serve(parts=[("now", 0), ("p0", lazy(coroutine))], executor=executor)
    assert [names(record) for record in stream(client, url)] == [["now"], ["p0"]]
    assert len(locks(store)) == 1
