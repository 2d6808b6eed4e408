"""What once waited for itself, or for somebody who had left, does so no longer."""

from __future__ import annotations

import asyncio
from threading import Thread

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.test import AsyncClient, RequestFactory

from partstream import ProgressiveView, cached_for, lazy, safe_call
from partstream.backends.caches.base import CacheStore
from partstream.caching.flight import FAILED, LOST
from partstream.caching.single_flight import SingleFlight, Turn, get_single_flight
from partstream.keys import get_key_ring
from tests.support.concurrency import PATIENCE, wait_until
from tests.support.walk_client import get_json, merged

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
SMALL = {"BACKEND": THREADS, "OPTIONS": {"max_workers": 1, "max_queued": 1}}


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()


def test_coroutine__may_call_sync_code_under_asgi(serve):
    async def load(request):
        return await sync_to_async(lambda: "from a thread of its own")()

    url = serve(parts=[("part", lazy(load))], executor=THREADS, authentication_classes=[])

    async def ask():
        return await asyncio.wait_for(AsyncClient().get(url), PATIENCE)

    answers = []
    # A loop of its own, and no async_to_sync() around it: as a server runs it.
    thread = Thread(target=lambda: answers.append(asyncio.run(ask())), daemon=True)
    thread.start()
    thread.join(PATIENCE + 5)
    assert merged([answers[0].json()]) == {"part": "from a thread of its own"}


def test_worker__may_resolve_another_view(serve, client):
    """The inner parts would queue behind the only worker, which waits for them."""

    class Inner(ProgressiveView):
        authentication_classes = permission_classes = ()
        executor = SMALL
        parts = [("one", lazy(lambda request: 1)), ("two", lazy(lambda request: 2))]

    def load(request):
        request = RequestFactory().get("/", headers={"host": "testserver"})
        return merged([Inner.as_view()(request).data])

    url = serve(parts=[("outer", lazy(load))], executor=SMALL)
    assert merged([get_json(client, url)]) == {"outer": {"one": 1, "two": 2}}


class SharedStore(CacheStore):
    """A dictionary that says it is shared."""

    shared = atomic_add = True

    def __init__(self, **given):
        super().__init__(**given)
        self.entries = {}

    def read(self, keys):
        return {key: self.entries[key] for key in keys if key in self.entries}

    def write(self, entries, ttl):
        self.entries |= entries

    def reserve(self, key, entry, ttl):
        return self.entries.setdefault(key, entry) is entry

    def extend(self, key, ttl):
        pass

    def remove(self, key):
        self.entries.pop(key, None)


@pytest.fixture
def flights():
    return SingleFlight(SharedStore(keys=get_key_ring(), max_size=1000))


def test_lock__of_a_foreign_writer_delays_no_caller(flights):
    flight, own = flights.join("value")
    flights.store.entries[flight.lock_key] = b"foreign"
    assert own
    assert flights.claim(flight) is Turn.WAIT
    for _ in range(10):
        flights.look_for([flight])
    assert flight.result is FAILED


def test_lock__that_comes_when_its_owner_has_left_is_given_back(flights):
    flight, _ = flights.join("value")
    flights.end(flight, LOST, failed=True)
    flights.claim(flight)
    assert flight.lock_key not in flights.store.entries
    assert not flights._renewal._watched


def test_leave__what_has_ended_is_the_callers(flights):
    flight, _ = flights.join("value")
    told = []
    flight.on_end(told.append)
    flight.end("result")  # As far as `end` comes before the store has answered.
    assert flights.leave([(flight, told.append)], 60) == [flight]
    assert told == [flight]
    assert flight.lock_key not in flights.store.entries
    assert not flights._renewal._watched


@pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])
def test_joined__a_failure_of_another_is_recovered_from_with_ones_own_request(
    executor,
):
    """Two who share a value: what is made for the one is not handed to the other."""

    def who(request):
        return request.headers["X-Who"]

    def fail(request):
        wait_until(lambda: len(waiting()) == 1)
        raise ValueError

    def deny(request):
        if who(request) == owner[0]:
            wait_until(lambda: len(waiting()) == 1)
            raise PermissionDenied
        return "allowed"

    def waiting():
        flying = list(get_single_flight()._flights.values())
        return [flight for flight in flying if len(flight._callbacks) > (executor is not None)]

    for loader, wanted in [
        (safe_call(fail, lambda request, error: who(request)), {"ada": "ada", "bob": "bob"}),
        (deny, {"ada": None, "bob": "allowed"}),
    ]:
        cached = cached_for(60, shared=True)(loader)
        view = type(
            "SharedView",
            (ProgressiveView,),
            {
                "parts": [("part", lazy(cached))],
                "executor": executor,
                "authentication_classes": (),
                "permission_classes": (),
            },
        )
        owner, answers = ["ada"], {}

        def ask(name, view=view, answers=answers):
            request = RequestFactory().get("/", headers={"host": "testserver", "x-who": name})
            answers[name] = merged([view.as_view()(request).data]).get("part")

        first = Thread(target=ask, args=("ada",), daemon=True)
        first.start()
        wait_until(lambda: get_single_flight()._flights)
        second = Thread(target=ask, args=("bob",), daemon=True)
        second.start()
        for thread in (first, second):
            thread.join(PATIENCE)
        assert answers == wanted
