"""Single flight: of many who want a value one makes it, in a process and across processes."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from rest_framework.request import Request

from partstream import (
    HybridProgressiveView,
    ProgressiveView,
    cached_for,
    lazy,
    safe_call,
    with_timeout,
)
from partstream.backends.loader import get_cache_store
from partstream.caching import lock_renewal, single_flight
from partstream.caching.flight import Flight
from partstream.caching.single_flight import SingleFlight, Turn, get_single_flight
from partstream.exceptions import PartTimeout
from tests.support.concurrency import PATIENCE, in_background, wait_until
from tests.support.module_loaders import of_module
from tests.support.walk_client import get_json, merged

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.usefixtures("empty_cache")

KEY = "partstream.part.example"


def waiting():
    """How many callers wait for a flight of this process."""
    return sum(len(flight._callbacks) for flight in list(get_single_flight()._flights.values()))


def until_all_have_landed():
    """Return when all locks are given back: those who waited have what came of it before."""
    wait_until(lambda: not get_single_flight()._flights)


def request_for(query="", **extra):
    return RequestFactory().get("/flights/" + query, **extra)


class Callers:
    """Many who ask for one part, or call one loader, at the same time."""

    def __init__(self, kind, load, executor=None, **wrapped):
        self.kind = kind
        loader = cached_for(60, shared=True)(of_module(load))
        if "fallback" in wrapped:
            loader = safe_call(loader, wrapped["fallback"])
        if "timeout" in wrapped:
            loader = with_timeout(loader, wrapped["timeout"])
        self.loader = loader
        view = type(
            "AskedView",
            (ProgressiveView,),
            {"authentication_classes": (), "executor": executor, "parts": [("part", lazy(loader))]},
        )
        self.view = view.as_view()
        #: Whether the owner runs the loader itself, and so does not wait for the flight.
        self.own_thread = kind != "threads"

    def ask(self, query=""):
        """The data, or the code of the error."""
        if self.kind == "called":
            return self.loader(Request(request_for(query)))
        envelope = json.loads(self.view(request_for(query)).content)
        return envelope["errors"][0]["code"] if "errors" in envelope else merged([envelope])["part"]

    def start(self, number, background, *, already=0):
        """Start ``number`` callers; return the futures of their data when all of them wait."""
        futures = [background.submit(self.ask) for _ in range(number)]
        wait_until(lambda: waiting() == already + number - self.own_thread)
        return futures


KINDS = ["inline", "threads", "called"]


@pytest.fixture(params=KINDS)
def callers(request, executors):
    """Makes callers of each kind: of a part, of a part in the pool, of a loader."""
    executor = executors() if request.param == "threads" else None
    return partial(Callers, request.param, executor=executor)


@pytest.fixture
def background():
    with ThreadPoolExecutor(64) as pool:
        yield pool


# In one process


def test_process__sixty_four_callers_run_it_once(callers, held, background):
    load = held("data")
    asked = callers(load).start(64, background)
    load.release()
    assert [future.result(PATIENCE) for future in asked] == ["data"] * 64
    assert load.runs == 1


def test_process__where_nothing_is_kept_callers_are_merged_too(callers, held, background, settings):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.backends.caches.null.NullCacheStore"}
    load = held("data")
    asked = callers(load).start(8, background)
    load.release()
    assert [future.result(PATIENCE) for future in asked] == ["data"] * 8
    assert load.runs == 1
    until_all_have_landed()
    assert callers(load).ask() == "data"
    assert load.runs == 2


def test_process__a_caller_that_joins_a_flight_does_not_look(callers, held, background, store):
    load = held("data")
    asked = callers(load)
    first = background.submit(asked.ask)
    load.wait_until_begun()
    assert store.taken() == [("read", 1)] * 2  # The second time as the owner.
    futures = asked.start(8, background, already=1)
    assert store.taken() == []
    load.release()
    assert {future.result(PATIENCE) for future in [first, *futures]} == {"data"}


def test_process__callers_are_notified_before_the_value_is_stored(store):
    """They need not wait for the store; whoever comes meanwhile finds the flight."""
    registry, kept = SingleFlight(store), []
    flight, _ = registry.join(KEY, ttl=60)
    flight.on_end(lambda flight: kept.append((store.get(KEY), registry.join(KEY))))
    registry.end(flight, b"1", value=b"1")
    assert kept == [(None, (flight, False))]
    assert store.get(KEY) == b"1"
    assert not registry.is_under_way(KEY)


def test_process__all_are_notified_if_the_value_cannot_be_kept(store, monkeypatch):
    def fail(*_):
        raise RuntimeError("a store's own fault")

    registry, told = SingleFlight(store), []
    flight, _ = registry.join(KEY, ttl=60)
    flight.on_end(told.append)
    monkeypatch.setattr(store, "set_many", fail)
    with pytest.raises(RuntimeError):
        registry.end(flight, b"1", value=b"1")
    assert told == [flight]


def test_process__different_values_do_not_wait_for_each_other(callers, held, background):
    slow = held("slow")
    asked = callers(lambda request: slow() if "slow" in request.query_params else "quick")
    one = background.submit(asked.ask, "?slow=1")
    slow.wait_until_begun()
    assert asked.ask() == "quick"
    slow.release()
    assert one.result(PATIENCE) == "slow"


def test_process__a_failure_reaches_all_waiting_callers(callers, held, background):
    load = held(error=ValueError("no"))
    asked = callers(load)
    futures = asked.start(16, background)
    load.release()
    if asked.kind == "called":
        assert [future.exception(PATIENCE) for future in futures] == [load.error] * 16
    else:
        assert [future.result(PATIENCE) for future in futures] == ["part_failed"] * 16
    assert load.runs == 1
    until_all_have_landed()
    load.error, load.data = None, "data"
    assert [asked.ask(), asked.ask()] == ["data", "data"]
    assert load.runs == 2


@pytest.mark.parametrize("grouped", [False, True])
def test_process__a_denial_reaches_no_other_caller(callers, held, background, grouped, caplog):
    caplog.set_level(logging.INFO, "partstream")
    denial = PermissionDenied("no")
    load = held(error=ExceptionGroup("in a task group", [denial]) if grouped else denial)
    asked = callers(load, fallback=["fallback"])
    futures = asked.start(4, background)
    load.release()
    if asked.kind == "called":
        assert [future.exception(PATIENCE) for future in futures] == [load.error] * 4
    else:
        assert [future.result(PATIENCE) for future in futures] == ["part_forbidden"] * 4
    assert load.runs == 4
    lines = [] if asked.kind == "called" else [logging.INFO] * 4
    assert [record.levelno for record in caplog.records] == lines


def test_process__a_fallback_covers_all_waiting_callers(callers, held, background):
    load = held(error=ValueError("no"))
    asked = callers(load, fallback=["fallback"])
    futures = asked.start(16, background)
    load.release()
    assert [future.result(PATIENCE) for future in futures] == [["fallback"]] * 16
    assert load.runs == 1
    until_all_have_landed()
    load.error, load.data = None, "data"
    assert [asked.ask(), asked.ask()] == ["data", "data"]
    assert load.runs == 2


def test_process__a_timeout_reaches_all_waiting_callers(callers, held, background):
    load = held("late")
    asked = callers(load, timeout=1.5)
    futures = [background.submit(asked.ask) for _ in range(8)]
    if asked.kind == "called":
        assert all(type(future.exception(PATIENCE)) is PartTimeout for future in futures)
    else:
        assert [future.result(PATIENCE) for future in futures] == ["part_timeout"] * 8
    assert load.runs == 1
    until_all_have_landed()
    load.release()
    assert asked.ask() == "late"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_process__an_owner_that_is_ended_gives_its_place_to_another(
    callers, held, background, error
):
    load = held(error=error)
    second = held("data")

    def turns(request):
        return load() if load.runs == 0 else second()

    futures = callers(turns).start(8, background)
    load.wait_until_begun()
    load.release()
    second.wait_until_begun()
    second.release()
    ended = [future for future in futures if future.exception(PATIENCE) is not None]
    assert [future.exception() for future in ended] == [error]
    assert [future.result() for future in futures if future not in ended] == ["data"] * 7
    assert (load.runs, second.runs) == (1, 1)


def test_process__a_loader_that_asks_for_itself_does_not_wait_for_itself(serve, client):
    depths = itertools.count()

    def load(request):
        return "deep" if next(depths) else get_json(client, url)["results"]

    url = serve(parts=[("part", lazy(cached_for(60, shared=True)(load)))])
    assert get_json(client, url)["results"] == [{"part": [{"part": "deep"}]}]


def test_process__a_cached_loader_may_call_another(callers, held, background):
    inner = held("inner")
    called = cached_for(60, shared=True)(of_module(inner, "second"))
    asked = callers(lambda request: [called(request)])
    outer = [background.submit(asked.ask) for _ in range(4)]
    inner.wait_until_begun()
    more = background.submit(called, Request(request_for()))
    inner.release()
    assert [future.result(PATIENCE) for future in outer] == [["inner"]] * 4
    assert more.result(PATIENCE) == "inner"
    assert inner.runs == 1


def test_process__many_parts_of_many_requests_end_well(executor, background):
    runs = itertools.count()

    def load(request, **dependencies):
        return [next(runs), *dependencies.values()]

    async def load_later(request, **dependencies):
        return load(request, **dependencies)

    shared = cached_for(60, shared=True)
    parts = [("first", lazy(shared(load)))]
    for number in range(8):
        kind = load_later if number % 3 == 1 else load
        parts.append((f"part_{number}", lazy(shared(kind), depends_on=["first"])))
    view = type("ManyView", (ProgressiveView,), {"authentication_classes": (), "parts": parts})
    views = [
        view.as_view(parts=order, chunk_size=9, executor=executor) for order in (parts, parts[::-1])
    ]

    def ask(number):
        return merged([json.loads(views[number % 2](request_for()).content)])

    answers = list(background.map(ask, range(32)))
    assert all(answer == answers[0] for answer in answers)
    assert next(runs) == 9


def test_flights__are_forgotten_when_they_have_ended(callers, held, background):
    load = held("data")
    asked = callers(load).start(8, background)
    load.release()
    for future in asked:
        future.result(PATIENCE)
    until_all_have_landed()
    assert not get_single_flight()._results


# Refresh


class RefreshableView(HybridProgressiveView):
    authentication_classes = ()
    chunk_size = 1

    def get_refresh_allowed(self):
        return "staff" in self.request.headers


NO_CACHE = {"Cache-Control": "no-cache"}


@pytest.fixture
def refreshable(serve, held):
    numbers = itertools.count(1)
    load = held()
    load.release()

    def made(request):
        load()
        return next(numbers)

    url = serve(
        RefreshableView,
        parts=[
            ("first", lazy(cached_for(60, shared=True)(made))),
            ("other", lazy(cached_for(60, shared=True)(made))),
        ],
    )
    return url, load


def made_of(client, url, **headers):
    return merged([get_json(client, url, headers=headers)])


@pytest.mark.parametrize(
    "wish",
    ["no-cache", "No-Cache", "max-age=0, no-cache", "no-store,no-cache "],
)
def test_refresh__makes_a_value_anew_where_it_is_allowed(client, refreshable, wish):
    url, _ = refreshable
    assert made_of(client, url) == {"first": 1}
    assert made_of(client, url, **{"Cache-Control": wish}, staff="1") == {"first": 2}
    assert made_of(client, url) == {"first": 2}


@pytest.mark.parametrize(
    "headers",
    [
        NO_CACHE,
        {"staff": "1"},
        {"staff": "1", "Cache-Control": "max-age=0"},
        {"staff": "1", "Cache-Control": "no-cachex"},
        {"staff": "1", "Cache-Control": "x-no-cache, no-store"},
        {"staff": "1", "Pragma": "no-cache"},
    ],
    ids=itertools.count(),
)
def test_refresh__is_ignored_otherwise(client, refreshable, headers):
    url, _ = refreshable
    assert made_of(client, url) == {"first": 1}
    assert made_of(client, url, **headers) == {"first": 1}


def test_refresh__is_ignored_where_the_view_says_nothing(client, serve, calls):
    url = serve(parts=[("first", lazy(cached_for(60, shared=True)(calls.loader("first", 1))))])
    for _ in range(2):
        made_of(client, url, **NO_CACHE)
    assert calls == ["first"]


def test_refresh__concerns_the_parts_of_its_request(client, refreshable):
    url, _ = refreshable
    both = made_of(client, url + "parts/?keys=first,other")
    assert made_of(client, url, **NO_CACHE, staff="1") == {"first": 3}
    assert made_of(client, url + "parts/?keys=first,other") == {**both, "first": 3}
    refreshed = made_of(client, url + "parts/?keys=first,other", **NO_CACHE, staff="1")
    assert refreshed == {"first": 4, "other": 5}


def test_refresh__those_at_the_same_moment_share_one_run(client, refreshable, background):
    url, load = refreshable
    made_of(client, url)
    load.gate.clear()
    asked = [background.submit(made_of, Client(), url, **NO_CACHE, staff="1") for _ in range(16)]
    wait_until(lambda: waiting() == 15)
    assert made_of(client, url) == {"first": 1}  # Others do not wait.
    load.release()
    assert [future.result(PATIENCE) for future in asked] == [{"first": 2}] * 16
    until_all_have_landed()
    assert made_of(client, url) == {"first": 2}


def test_refresh__that_fails_leaves_what_is_kept(client, refreshable):
    url, load = refreshable
    made_of(client, url)
    load.error = ValueError("no")
    answer = get_json(client, url, headers={**NO_CACHE, "staff": "1"})
    assert answer["errors"][0]["code"] == "part_failed"
    assert made_of(client, url) == {"first": 1}


# Two registries over one store are to each other as two processes


@pytest.fixture
def shared_store(settings, tmp_path, empty_cache):
    """A store that other processes would see; it notes what it is asked."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "cache"),
        }
    }
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "tests.support.stores.NotingStore"}
    return get_cache_store()


class Elsewhere(SingleFlight):
    """Another process, that is about to make what some callers will ask for."""

    def claim_for(self, asked, load):
        """Take the lock of what these callers ask for, before any of them does."""
        load.release()
        asked.ask()
        until_all_have_landed()
        (key,) = self.store.keys()
        self.store.delete(key)
        load.runs = 0
        self.flight, _ = self.join(key, ttl=60)
        assert self.claim(self.flight) is Turn.RUN


@pytest.fixture
def elsewhere(shared_store):
    other = Elsewhere(shared_store)
    yield other
    other.reset()


@pytest.fixture
def asking(callers, held, background, elsewhere):
    """Eight callers who wait for the value that another process makes, and their loader."""
    load = held("made here")
    asked = callers(load)
    elsewhere.claim_for(asked, load)
    futures = [background.submit(asked.ask) for _ in range(8)]
    wait_until(lambda: waiting() == 8)
    return [load, futures]


def test_elsewhere__a_value_is_waited_for_and_not_made(asking, elsewhere):
    load, futures = asking
    elsewhere.end(elsewhere.flight, None, value=b'"made there"')
    assert [future.result(PATIENCE) for future in futures] == ["made there"] * 8
    assert load.runs == 0
    wait_until(lambda: elsewhere.store.get(elsewhere.flight.lock_key) is None)


def test_elsewhere__a_failure_has_this_process_run_once(asking, elsewhere):
    load, futures = asking
    elsewhere.end(elsewhere.flight, ValueError("no"), failed=True)
    assert [future.result(PATIENCE) for future in futures] == ["made here"] * 8
    assert load.runs == 1


def test_elsewhere__where_the_lock_is_gone_this_process_takes_it(asking, elsewhere):
    load, futures = asking
    load.gate.clear()
    assert load.runs == 0
    load.began.clear()
    elsewhere._renewal.unwatch(elsewhere.flight)
    elsewhere.store.delete(elsewhere.flight.lock_key)  # As its time does.
    load.wait_until_begun()
    late, _ = SingleFlight(elsewhere.store).join(elsewhere.flight.key)
    assert elsewhere.claim(late) is Turn.WAIT
    load.release()
    assert [future.result(PATIENCE) for future in futures] == ["made here"] * 8
    assert load.runs == 1
    wait_until(lambda: elsewhere.store.get(late.lock_key) is None)
    elsewhere.look_for([late])
    assert late.result == b'"made here"'


def test_elsewhere__a_value_that_came_before_the_lock_is_taken(shared_store):
    registry = SingleFlight(shared_store)
    flight, _ = registry.join(KEY)
    shared_store.set_many({KEY: b"1"}, 60)
    assert registry.claim(flight) == b"1"
    registry.end(flight, b"1")
    assert shared_store.get(flight.lock_key) is None


def test_elsewhere__a_refresh_waits_for_the_newer_value(shared_store):
    here, there = SingleFlight(shared_store), SingleFlight(shared_store)
    shared_store.set_many({KEY: b"old"}, 60)
    flight, _ = there.join(KEY, ttl=60, fresh=True)
    assert there.claim(flight) is Turn.RUN
    fresh, _ = here.join(KEY, fresh=True)
    assert here.claim(fresh) is Turn.WAIT
    here.look_for([fresh])
    assert not fresh.has_ended
    there.end(flight, None, value=b"new")
    here.look_for([fresh])
    assert fresh.result == b"new"


def test_elsewhere__a_caller_that_leaves_is_replaced_by_another(
    held, background, elsewhere, executors
):
    load = held("made here")
    loader = cached_for(60, shared=True)(load)

    class LeavingView(ProgressiveView):
        authentication_classes = ()
        executor = executors()
        parts = [("quick", 1), ("slow", lazy(loader))]

    patient, leaving = LeavingView.as_view(), LeavingView.as_view(time_budget=0.2)
    asked = Callers("inline", load)
    asked.ask = lambda: patient(request_for())
    elsewhere.claim_for(asked, load)
    first = background.submit(leaving, request_for())
    wait_until(lambda: waiting() == 1 or first.done())
    others = [background.submit(patient, request_for()) for _ in range(4)]
    left = json.loads(first.result(PATIENCE).content)
    assert (left["results"], left["meta"]["pending"]) == ([{"quick": 1}], ["slow"])
    wait_until(lambda: waiting() == 4)  # One of them looks into the store now.
    elsewhere.end(elsewhere.flight, None, value=b'"made there"')
    for other in others:
        envelope = json.loads(other.result(PATIENCE).content)
        assert merged([envelope]) == {"quick": 1, "slow": "made there"}
    assert load.runs == 0


# Lock renewal


def renewal_threads():
    return {thread for thread in threading.enumerate() if thread.name == "partstream-locks"}


def test_lock_renewal__renews_the_lock_and_ends_without_flights(shared_store, monkeypatch):
    monkeypatch.setattr(single_flight, "LOCK_TTL", 1)
    monkeypatch.setattr(lock_renewal, "IDLE_SECONDS", 0)
    before = renewal_threads()
    registry = SingleFlight(shared_store)
    one, _ = registry.join(KEY)
    other, _ = registry.join(f"{KEY}.other")
    for flight in (one, other):
        registry.claim(flight)
    (renewal,) = renewal_threads() - before
    renewals = ("extend", one.lock_key), ("extend", other.lock_key)
    wait_until(lambda: all(shared_store.trips.count(renewal) >= 2 for renewal in renewals))
    registry.end(one, None)
    known = shared_store.trips.count(renewals[0])
    wait_until(lambda: shared_store.trips.count(renewals[1]) >= 4)
    assert shared_store.trips.count(renewals[0]) <= known + 1  # One may have been in progress.
    assert renewal.is_alive()
    registry.end(other, None)
    renewal.join(PATIENCE)
    assert not renewal.is_alive()
    # And it begins again.
    again, _ = registry.join(KEY)
    registry.claim(again)
    assert len(renewal_threads() - before) == 1
    registry.end(again, None)


class Tending:
    """Notes the flights that it tends. The thread ends with it, so a test has to hold it."""

    def __init__(self):
        self.tended = []

    def tend(self, flight):
        self.tended.append(flight)


class Rounds(set):
    """Flights that are watched; counts how often the thread has looked at them."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


def test_lock_renewal__keeps_its_thread_for_the_next_flight(monkeypatch):
    tending = Tending()
    renewal, tended = lock_renewal.LockRenewal(tending.tend, 0.01), tending.tended
    rounds = renewal._watched = Rounds()
    before = renewal_threads()
    first, second = Flight("first"), Flight("second")
    renewal.watch(first)
    (thread,) = renewal_threads() - before
    wait_until(lambda: first in tended)
    renewal.unwatch(first)
    looked = rounds.count
    wait_until(lambda: rounds.count >= looked + 3)
    renewal.watch(second)
    assert renewal_threads() - before == {thread}
    wait_until(lambda: second in tended)
    renewal.unwatch(second)
    monkeypatch.setattr(lock_renewal, "IDLE_SECONDS", 0)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_lock_renewal__is_not_needed_without_a_shared_store(store):
    before = renewal_threads()
    registry = SingleFlight(store)
    flight, _ = registry.join(KEY)
    assert registry.claim(flight) is Turn.RUN
    assert renewal_threads() == before
    assert store.taken() == [("read", 1)]


# Results that wait for the next chunk


def left_running(registry, key):
    """A flight that a walk has left running, and what lets it come to its end."""
    flight, own = registry.join(key)
    assert own
    assert registry.leave([(flight, lambda flight: None)], 60) == []
    return lambda: registry.end(flight, key)


def test_result__that_is_not_kept_waits_for_one_caller(store):
    registry = SingleFlight(store)
    left_running(registry, KEY)()
    flight, own = registry.join(KEY)
    assert (flight.result, own) == (KEY, False)
    assert registry.join(KEY)[1]


def test_result__that_waits_is_one_of_a_bounded_number(store):
    registry = SingleFlight(store)
    for number in range(single_flight._MOST_RESULTS + 10):
        left_running(registry, f"{KEY}.{number}")()
    assert len(registry._results) == single_flight._MOST_RESULTS
    assert not registry.is_under_way(f"{KEY}.9")
    assert registry.join(f"{KEY}.10")[0].result == f"{KEY}.10"
    assert registry._flights == {}


def test_result__that_waits_is_forgotten_in_time(store, monkeypatch):
    registry = SingleFlight(store)
    for name in ("one", "other"):
        left_running(registry, f"{KEY}.{name}")()
    now = time.monotonic()
    monkeypatch.setattr(single_flight, "monotonic", lambda: now + single_flight._RESULT_SECONDS - 1)
    assert registry.join(f"{KEY}.one")[0].result == f"{KEY}.one"
    monkeypatch.setattr(single_flight, "monotonic", lambda: now + single_flight._RESULT_SECONDS + 1)
    assert registry.join(f"{KEY}.other")[1]


# Walks that leave work running, in this process


@pytest.fixture
def moving(executors):
    """Makes a view of a quick part and a slow one, that moves on."""

    def make(load, **attributes):
        attributes = {
            "authentication_classes": (),
            "chunk_size": 2,
            "time_budget": 0.05,
            "executor": executors(),
            "parts": [("quick", 1), ("slow", lazy(load))],
            **attributes,
        }
        return type("MovingView", (ProgressiveView,), attributes).as_view()

    return make


def chunk(view, token=None):
    return json.loads(view(request_for(f"?cursor={token}" if token else "")).content)


def test_moved__work_is_joined_and_kept(moving, held, background):
    load = held("slow")
    view = moving(load)
    first = chunk(view)
    assert first["results"] == [{"quick": 1}]
    nexts = [background.submit(chunk, view, first["cursor"]) for _ in range(3)]
    wait_until(lambda: waiting() == 3)
    load.release()
    for answer in (*(future.result(PATIENCE) for future in nexts), chunk(view, first["cursor"])):
        assert answer["results"] == [{"slow": "slow"}]
        assert answer["cursor"] is None
    assert load.runs == 1


def test_moved__work_that_ended_in_between_is_kept(moving, held):
    load = held("slow")
    view = moving(load)
    token = chunk(view)["cursor"]
    load.release()
    until_all_have_landed()
    assert [chunk(view, token)["results"] for _ in range(2)] == [[{"slow": "slow"}]] * 2
    assert load.runs == 1


def test_moved__work_that_failed_is_said_by_the_next_chunk(moving, held):
    load = held(error=ValueError("no"))
    view = moving(load)
    token = chunk(view)["cursor"]
    load.release()
    until_all_have_landed()
    answer = chunk(view, token)
    assert [error["code"] for error in answer["errors"]] == ["part_failed"]
    assert load.runs == 1


def test_moved__work_that_is_too_long_to_be_kept_is_delivered(moving, held, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_FRAGMENT_SIZE": 1024}
    load = held("x" * 2000)
    view = moving(load)
    token = chunk(view)["cursor"]
    load.release()
    until_all_have_landed()
    assert chunk(view, token)["results"] == [{"slow": "x" * 2000}]
    assert load.runs == 1


def test_moved__work_of_a_cached_part_is_joined(moving, held):
    load = held("slow")
    view = moving(cached_for(60, shared=True)(load))
    token = chunk(view)["cursor"]
    with in_background(chunk, view, token) as following:
        load.release()
        assert following()["results"] == [{"slow": "slow"}]
    assert load.runs == 1
    assert chunk(view)["results"] == [{"quick": 1}, {"slow": "slow"}]


def test_moved__a_cached_part_that_failed_is_reported_by_the_next_chunk(moving, held):
    load = held(error=ValueError("no"))
    view = moving(cached_for(60, shared=True)(load))
    token = chunk(view)["cursor"]
    load.release()
    until_all_have_landed()
    assert [error["code"] for error in chunk(view, token)["errors"]] == ["part_failed"]
    assert load.runs == 1


def test_moved__a_refreshed_part_does_not_run_again(moving, held):
    load = held("slow")
    view = moving(cached_for(60, shared=True)(load), get_refresh_allowed=lambda self: True)

    def refresh(query=""):
        request = request_for(query, HTTP_CACHE_CONTROL="no-cache")
        return json.loads(view(request).content)

    token = refresh()["cursor"]
    load.release()
    until_all_have_landed()
    assert refresh(f"?cursor={token}")["results"] == [{"slow": "slow"}]
    assert load.runs == 1


def test_moved__a_cached_part_no_longer_needs_its_dependencies(moving, held, calls):
    def base(request):
        calls.append("base")
        raise ValueError

    load = held("slow")
    parts = [
        ("base", lazy(safe_call(base, fallback="base"))),
        ("slow", lazy(cached_for(60, shared=True)(load), depends_on=["base"])),
    ]
    view = moving(load, parts=parts)
    first = chunk(view)
    assert first["results"] == [{"base": "base"}]
    load.release()
    assert chunk(view, first["cursor"])["results"] == [{"slow": {"base": "base", "data": "slow"}}]
    assert (calls, load.runs) == (["base"], 1)


def test_moved__a_part_denied_to_another_caller_is_joined(moving, held, background):
    denied, load, other = held(error=PermissionDenied("no")), held("slow"), held("other")
    loads = iter([denied, load])
    slow = cached_for(60, shared=True)(lambda request: next(loads)())
    view = moving(slow, parts=[("slow", lazy(slow)), ("other", lazy(other))])
    first, second = (background.submit(chunk, view) for _ in range(2))
    # Each waits for its own part, and for the one that both want.
    wait_until(lambda: waiting() == 4)
    denied.release()
    load.wait_until_begun()
    other.release()
    results = [future.result(PATIENCE) for future in (first, second)]
    assert [answer["results"] for answer in results if "errors" not in answer] == [
        [{"other": "other"}]
    ]
    token = next(answer["cursor"] for answer in results if "errors" not in answer)
    load.release()
    until_all_have_landed()
    assert chunk(view, token)["results"] == [{"slow": "slow"}]
    assert load.runs == 1
    wait_until(lambda: not get_single_flight()._renewal._watched)


def test_moved__a_walk_sees_nothing_that_another_left_running(moving, held, background):
    load = held("slow")
    view = moving(load)
    tokens = [chunk(view)["cursor"] for _ in range(2)]
    load.release()
    assert [chunk(view, token)["results"] for token in tokens] == [[{"slow": "slow"}]] * 2
    assert load.runs == 2


def test_end__that_fails_leaves_no_flight(monkeypatch, store):
    flights = SingleFlight(store)
    flight, _ = flights.join(KEY, ttl=60)
    flight.locked = True

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(flights.store, "set_many", fail)
    with pytest.raises(MemoryError):
        flights.end(flight, "outcome", value=b"1")
    assert flight.result == "outcome"
    assert not flights.is_under_way(KEY)
