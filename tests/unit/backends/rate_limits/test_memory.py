from __future__ import annotations

import random
import tracemalloc
from collections import defaultdict

import pytest

from partstream.backends.rate_limits import memory
from partstream.backends.rate_limits.base import Window
from partstream.backends.rate_limits.memory import SECOND, SHARED_LOGS, MemoryRateLimitStore
from partstream.exceptions import Misuse
from tests.support.contracts.rate_limit_store import (
    RateLimitStoreContract,
    most_in_any_window,
    window,
)


class TestMemoryRateLimitStore(RateLimitStoreContract):
    shared = False
    exact = True
    check_deploy_ids = ["partstream.W008"]

    now = 5 * SECOND

    def make(self, **options):
        return MemoryRateLimitStore(clock=lambda: self.now, **options)

    def pass_time(self, seconds):
        self.now += seconds * SECOND

    def test_probe__keeps_nothing(self, store):
        store.probe()
        assert store._logs == {}

    def test_clock__is_the_machines(self, key):
        store = MemoryRateLimitStore()
        assert store.take([window(key, 1, 60)]).admitted
        assert 59 < store.take([window(key, 1, 60)]).retry_after < 60

    def test_take__a_nanosecond_before_retry_after_denies(self, store, key):
        windows = [window(key, 1, 10)]
        store.take(windows)
        self.now += 3 * SECOND
        assert store.take(windows).retry_after == 7
        self.now += 7 * SECOND - 1
        assert not store.take(windows).admitted
        self.now += 1
        assert store.take(windows).admitted

    @pytest.mark.parametrize("seed", range(20))
    def test_take__decides_like_a_model_that_keeps_every_request(self, seed):
        chance = random.Random(seed)
        store = self.make()
        admitted = defaultdict(list)
        shapes = [(2, 1), (5, 3), (7, 10)]
        for _ in range(1500):
            self.now += chance.choice([0, 1, chance.randrange(SECOND // 2), SECOND])
            client = chance.choice("ab")
            windows = [
                window(client, limit, seconds, f"window{seconds}")
                for limit, seconds in chance.sample(shapes, chance.randint(1, 3))
            ]
            inside = [
                [at for at in admitted[asked.key] if at > self.now - asked.seconds * SECOND]
                for asked in windows
            ]
            room = all(len(times) < asked.limit for asked, times in zip(windows, inside))  # noqa: B905
            decision = store.take(windows)
            assert decision.admitted is room
            waits = [0.0]
            for asked, times, remaining, reset in zip(
                windows, inside, decision.remaining, decision.resets, strict=True
            ):
                if room:
                    admitted[asked.key].append(self.now)
                    times.append(self.now)
                assert remaining == asked.limit - len(times)
                expected = (times[0] + asked.seconds * SECOND - self.now) / SECOND if times else 0
                assert reset == expected
                if len(times) == asked.limit:
                    waits.append(reset)
            assert decision.retry_after == (0 if room else max(waits))
        for limit, seconds in shapes:
            for client in "ab":
                times = admitted[window(client, limit, seconds, f"window{seconds}").key]
                assert most_in_any_window(times, seconds * SECOND) == limit

    def test_take__of_a_lowered_limit_waits_for_as_many_as_are_above_it(self, store, key):
        for _ in range(5):
            store.take([window(key, 5, 60)])
            self.pass_time(1)
        denied = store.take([window(key, 2, 60)])
        # The fourth of five has to leave, which came two seconds ago.
        assert (denied.admitted, denied.retry_after) == (False, 58)

    # A flood of clients

    def pair(self, client):
        return [window(client, 3, 10, "burst"), window(client, 5, 60)]

    def test_flood__takes_no_more_than_its_bound(self):
        store = self.make(max_keys=100)

        def size_after(clients):
            for client in clients:
                store.take(self.pair(client))
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            # The shared logs are full of what they can have.
            at_first = size_after(range(8_000))
            at_last = size_after(range(8_000, 16_000))
        finally:
            tracemalloc.stop()
        assert at_last < at_first + 20_000
        assert at_last < 1_000_000
        for logs in store._logs.values():
            assert len(logs._own) == 100
            assert len(logs._shared) <= SHARED_LOGS

    def test_flood__takes_no_more_if_it_goes_on_for_long(self):
        store = self.make(max_keys=50)
        for client in range(5_000):
            self.now += SECOND // 20
            store.take(self.pair(client))
            assert all(len(logs._own) <= 50 for logs in store._logs.values())

    def test_flood__an_exhausted_client_stays_limited(self):
        store = self.make(max_keys=20)
        windows = self.pair("victim")
        self.exhaust(store, *windows)
        began = self.now
        for client in range(5_000):
            store.take(self.pair(client))
            self.now = began + client * (10 * SECOND - 1) // 5_000
            assert not store.take(windows).admitted
        self.now = began + 10 * SECOND
        assert [store.take(windows).admitted for _ in range(3)] == [True, True, False]

    def test_flood__newcomers_wait_for_each_other_and_come_back_after_it(self, monkeypatch):
        monkeypatch.setattr(memory, "SHARED_LOGS", 1)
        store = self.make(max_keys=20)
        for client in range(30):
            assert store.take(self.pair(client)).admitted is (client < 23)
        assert not store.take(self.pair("newcomer")).admitted
        self.pass_time(60)
        for client in range(20):
            assert store.take(self.pair(f"after {client}")).remaining == (2, 4)

    def test_flood__a_client_that_never_stops_takes_no_room_from_others(self, monkeypatch):
        monkeypatch.setattr(memory, "SHARED_LOGS", 1)
        store = self.make(max_keys=3)
        steady = [window("steady", 100, 10)]
        for client in range(20):
            for _ in range(11):
                assert store.take(steady).admitted
                self.pass_time(1)
            for other in ("one", "two"):
                assert store.take([window(f"{other} {client}", 1, 10)]).admitted

    @pytest.mark.parametrize("seed", range(10))
    def test_flood__no_client_exceeds_the_limit_at_its_begin_and_end(self, seed):
        chance = random.Random(seed)
        store = self.make(max_keys=chance.choice([1, 5, 20]))
        admitted = defaultdict(list)
        for number in range(6_000):
            # Many clients, then few, and so on.
            client = chance.randrange(200 if number // 500 % 2 else 8)
            self.now += chance.randrange(SECOND // 20)
            if store.take(self.pair(client)).admitted:
                admitted[client].append(self.now)
        assert max(map(len, admitted.values())) >= 10
        for times in admitted.values():
            assert most_in_any_window(times, 10 * SECOND) <= 3
            assert most_in_any_window(times, 60 * SECOND) <= 5

    def test_flood__two_windows_of_one_length_are_both_counted(self, monkeypatch):
        monkeypatch.setattr(memory, "SHARED_LOGS", 1)
        store = self.make(max_keys=1)
        admitted = [
            store.take([Window("one", 5, 10), Window("two", 5, 10)]).admitted for _ in range(8)
        ]
        assert admitted.count(True) <= 5
        self.pass_time(11)
        assert store.take([Window("three", 5, 10), Window("four", 5, 10)]).admitted
        assert store._logs[10]._own.values() != store._logs[10]._shared.values()
        for times in store._logs[10]._own.values():
            assert times is not store._logs[10]._shared[0]

    # Options

    @pytest.mark.parametrize("max_keys", [0, -1, True, 1.5, "10", None])
    def test_max_keys__that_is_no_number_is_misuse(self, max_keys):
        with pytest.raises(Misuse, match="Write a whole number of 1 or more"):
            self.make(max_keys=max_keys)
