"""Which clients are reported, with a clock that the tests hold."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections import Counter
from threading import Barrier

import pytest
from django.core.exceptions import PermissionDenied
from rest_framework import exceptions as drf

from partstream.exceptions import (
    AddressDenied,
    CursorExpired,
    InvalidCursor,
    InvalidKeys,
    InvalidRequest,
    StaleCursor,
    StoreUnavailable,
    UnknownPart,
)
from partstream.security import suspicion
from partstream.security.audit import FIELDS
from partstream.security.suspicion import REASONS, SECONDS, THRESHOLD, Watch, reason_of
from tests.support.concurrency import in_threads

NAMES = [name for _, name in REASONS]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return Watch(clock=clock)


def refuse(watch, times, client="ada", reason="throttled"):
    """What each of these refusals reports."""
    return [watch.count(client, reason) for _ in range(times)]


# What is counted


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidCursor(), "cursor_invalid"),
        (InvalidRequest(), "request_invalid"),
        (InvalidKeys(), "keys_invalid"),
        (UnknownPart(), "part_unknown"),
        (drf.Throttled(), "throttled"),
        (drf.AuthenticationFailed(), "authentication_failed"),
        (CursorExpired(), None),
        (StaleCursor(), None),
        (AddressDenied(), None),
        (StoreUnavailable(1.0), None),
        (drf.NotAuthenticated(), None),
        (drf.PermissionDenied(), None),
        (PermissionDenied(), None),
        (drf.NotFound(), None),
        (ValueError(), None),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)
def test_reason__is_of_what_an_ordinary_client_does_not_repeat(error, reason):
    assert reason_of(error) == reason


def test_counts__of_all_reasons_fit_into_the_audit_trail():
    assert len(" ".join(f"{name}={10**15}" for name in NAMES)) <= FIELDS["counts"]


# When a client is reported


def test_watch__reports_at_the_threshold_with_the_counts_by_reason(watch):
    assert refuse(watch, 20, reason="cursor_invalid") == [None] * 20
    assert refuse(watch, THRESHOLD - 21) == [None] * (THRESHOLD - 21)
    [counts] = refuse(watch, 1, reason="part_unknown")
    assert counts == {
        "cursor_invalid": 20,
        "part_unknown": 1,
        "throttled": THRESHOLD - 21,
    }


def test_watch__reports_no_client_below_the_threshold(watch, clock):
    """29 refusals in 59.5 seconds, for an hour."""
    for _ in range(60 * (THRESHOLD - 1)):
        assert watch.count("ada", "throttled") is None
        clock.now += 2.125


def test_watch__a_minute_begins_with_any_refusal(watch, clock):
    refuse(watch, 1)
    clock.now += SECONDS - 1
    assert refuse(watch, THRESHOLD - 2) == [None] * (THRESHOLD - 2)
    clock.now += 1
    # The first has left the minute.
    assert refuse(watch, 1) == [None]
    assert refuse(watch, 1) == [{"throttled": THRESHOLD}]


def test_watch__counts_each_client_alone(watch):
    assert refuse(watch, THRESHOLD - 1, "ada") == [None] * (THRESHOLD - 1)
    assert refuse(watch, THRESHOLD - 1, "eve") == [None] * (THRESHOLD - 1)
    assert refuse(watch, 1, "ada") == [{"throttled": THRESHOLD}]


def test_watch__reports_once_a_minute_while_it_goes_on(watch, clock):
    began = clock.now
    reports = []
    for number in range(10 * SECONDS):
        clock.now = began + number / 2
        counts = watch.count("ada", NAMES[number % 2])
        if counts is not None:
            reports.append((number / 2, sum(counts.values())))
    # The first has the minute before it, and each further one what came since the last.
    half = (THRESHOLD - 1) / 2
    assert reports == [
        (half, THRESHOLD),
        *((half + SECONDS * minute, 2 * SECONDS) for minute in range(1, 5)),
    ]


def test_watch__a_client_that_has_calmed_down_is_not_reported_again(watch, clock):
    refuse(watch, THRESHOLD)
    for _ in range(600):
        clock.now += 2.125
        assert refuse(watch, 1) == [None]


def test_watch__after_a_pause_it_begins_anew(watch, clock):
    refuse(watch, THRESHOLD + 100, reason="cursor_invalid")
    clock.now += SECONDS
    assert refuse(watch, THRESHOLD - 1) == [None] * (THRESHOLD - 1)
    assert refuse(watch, 1) == [{"throttled": THRESHOLD}]


@pytest.mark.parametrize("seed", range(20))
def test_watch__agrees_with_a_list_of_all_refusals(seed):
    chance = random.Random(seed)
    clock, threshold = Clock(), chance.choice([2, 5, THRESHOLD])
    watch = Watch(threshold=threshold, clock=clock)
    refusals, reported, since, reports = [], None, Counter(), 0
    for _ in range(3000):
        # Busy for a while, then calm, and pauses.
        busy = chance.random() < 0.9
        clock.now += chance.randrange(2 * SECONDS // threshold + 1) if busy else SECONDS / 2
        reason = chance.choice(NAMES)
        if not refusals or refusals[-1][0] <= clock.now - SECONDS:
            reported = None
        refusals.append((clock.now, reason))
        since[reason] += 1
        inside = Counter(name for time, name in refusals[-200:] if time > clock.now - SECONDS)
        expected = None
        if inside.total() >= threshold:
            if reported is None:
                newest = [name for _, name in refusals[-threshold:]]
                expected = dict(Counter(newest))
            elif clock.now - reported >= SECONDS:
                expected = dict(since)
        if expected is not None:
            reported, since = clock.now, Counter()
            reports += 1
        assert watch.count("ada", reason) == expected
    assert reports > 3


@pytest.fixture
def hasty_threads():
    """Python interrupts a thread as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_watch__is_exact_under_many_threads(watch, clock, hasty_threads):
    threads, each = 64, 2000
    together = Barrier(threads)

    def work(number):
        together.wait()
        found = [watch.count("ada", NAMES[number % 2]) for _ in range(each)]
        found += [watch.count(f"client {number}", "throttled") for _ in range(THRESHOLD)]
        return [counts for counts in found if counts is not None]

    reports = [counts for found in in_threads(threads, work) for counts in found]
    assert reports.count({"throttled": THRESHOLD}) == threads
    [first] = [counts for counts in reports if counts != {"throttled": THRESHOLD}]
    assert sum(first.values()) == THRESHOLD
    clock.now += SECONDS - 1
    refuse(watch, THRESHOLD)
    clock.now += 1
    [rest] = refuse(watch, 1)
    assert rest.pop("throttled") == THRESHOLD + 1
    assert Counter(first) + Counter(rest) == dict.fromkeys(NAMES[:2], threads // 2 * each)


# A flood of clients


def test_flood__a_client_that_is_refused_now_and_then_takes_no_place(clock):
    watch = Watch(max_clients=1, clock=clock)
    for _ in range(5):
        clock.now += SECONDS
        refuse(watch, 1, "slow")
    refuse(watch, 2, "ada")
    for number in range(100):
        watch.count(f"client {number}", "throttled")
    assert refuse(watch, THRESHOLD - 2, "ada")[-1] == {"throttled": THRESHOLD}


def test_flood__evicts_no_client_with_several_refusals(watch, clock):
    refuse(watch, 2, "slow")
    refuse(watch, THRESHOLD - 1, "ada")
    for number in range(100_000):
        watch.count(f"client {number}", "cursor_invalid")
        clock.now += (SECONDS - 1) / 100_000
    assert refuse(watch, 1, "ada") == [{"throttled": THRESHOLD}]
    found = refuse(watch, THRESHOLD - 2, "slow")
    assert found == [None] * (THRESHOLD - 3) + [{"throttled": THRESHOLD}]


def test_flood__of_watched_clients_evicts_none_of_them(clock):
    watch = Watch(max_clients=50, clock=clock)
    for number in range(50):
        refuse(watch, THRESHOLD - 1, number)
    for number in range(50, 5000):
        refuse(watch, 3, number)
    assert [refuse(watch, 1, number) for number in range(50)] == [[{"throttled": THRESHOLD}]] * 50


def test_flood__a_client_that_comes_when_all_places_are_taken_is_reported(clock):
    watch = Watch(max_clients=50, clock=clock)
    for number in range(50):
        refuse(watch, 2, f"watched {number}")
    found = []
    for number in range(THRESHOLD):
        found += refuse(watch, 1, "eve")
        # Fewer than there are places for clients with one refusal.
        for other in range(49):
            watch.count(f"client {number} {other}", "throttled")
    assert found == [None] * (THRESHOLD - 1) + [{"throttled": THRESHOLD}]


def test_flood__places_are_free_again_a_minute_later(clock):
    watch = Watch(max_clients=50, clock=clock)
    for number in range(50):
        refuse(watch, 2, f"before {number}")
    clock.now += SECONDS
    for number in range(50):
        refuse(watch, 2, f"after {number}")
    for number in range(1000):
        watch.count(f"client {number}", "throttled")
    for number in range(50):
        assert refuse(watch, THRESHOLD - 2, f"after {number}")[-1] == {"throttled": THRESHOLD}


def test_flood__a_client_that_never_stops_leaves_the_places_of_others_free(clock):
    watch = Watch(max_clients=3, clock=clock)
    for number in range(20):
        for _ in range(SECONDS):
            refuse(watch, 1, "steady")
            clock.now += 1
        for other in range(2):
            refuse(watch, 2, f"{number} {other}")
        assert len(watch._watched) == 3
        assert f"{number} 1" in watch._watched


def test_flood__fills_no_more_than_its_places(clock):
    watch = Watch(max_clients=100, clock=clock)

    def size_after(clients):
        for client in clients:
            refuse(watch, 3, client)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        at_first, at_last = size_after(range(5_000)), size_after(range(5_000, 20_000))
    finally:
        tracemalloc.stop()
    # As many clients as came would take megabytes. Other threads may take a little meanwhile.
    assert at_last < at_first + 500_000
    assert len(watch._watched) == len(watch._new) == 100


def test_flood__of_one_client_is_kept_in_bounded_memory(watch):
    refuse(watch, 1000)
    tracemalloc.start()
    try:
        refuse(watch, 20_000)
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_watch__of_the_process_has_the_documented_bounds():
    assert (suspicion.watch._threshold, suspicion.watch._max_clients) == (THRESHOLD, 10_000)
