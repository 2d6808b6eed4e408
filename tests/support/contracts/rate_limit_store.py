"""What every rate-limit store has to do. Inherit it in the tests of yours, and write `make`."""

from __future__ import annotations

import logging
from math import ceil
from threading import Barrier, Thread
from typing import ClassVar
from uuid import uuid4

import pytest
from django.core.checks import CheckMessage

from partstream.backends.rate_limits.base import Decision, RateLimitStore, Window
from tests.support.concurrency import PATIENCE


def window(key, limit, seconds, name="rate"):
    """A window of this client."""
    return Window(f"partstream:{name}:{{{key}}}", limit, seconds)


def most_in_any_window(times, length):
    """The most of these ascending times that one window of the length has, wherever it begins."""
    most = first = 0
    for last, moment in enumerate(times):
        while times[first] <= moment - length:
            first += 1
        most = max(most, last - first + 1)
    return most


def in_rounds(count, rounds, function):
    """What the function gives for each round, from threads that begin each of them together."""
    together, results = Barrier(count), [[] for _ in range(rounds)]

    def run():
        try:
            for number in range(rounds):
                together.wait(PATIENCE)
                results[number].append(function(number))
        except BaseException:
            together.abort()
            raise

    threads = [Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)
    assert all(len(given) == count for given in results)
    return results


class RateLimitStoreContract:
    """Of all stores. Set the flags."""

    shared: ClassVar[bool]
    exact: ClassVar[bool]
    #: The ids of what `check` and `check_deploy` say.
    check_ids: ClassVar[list[str]] = []
    check_deploy_ids: ClassVar[list[str]] = []
    #: How often the threads race.
    rounds: ClassVar[int] = 100

    def make(self, **options) -> RateLimitStore:
        """A store."""
        raise NotImplementedError

    def pass_time(self, seconds):
        """Let ``seconds``, a whole number, pass by the store's clock."""
        raise NotImplementedError

    @pytest.fixture
    def store(self):
        return self.make()

    @pytest.fixture
    def key(self):
        """A client that no other test has."""
        return uuid4().hex

    @pytest.fixture
    def lines(self, caplog):
        """The messages that were logged until now."""
        caplog.set_level(logging.DEBUG, "partstream")
        return lambda: [record.getMessage() for record in caplog.records]

    def exhaust(self, store, *windows):
        """Take until nothing is left; the decision that denies."""
        for _ in range(max(window.limit for window in windows) + 1):
            decision = store.take(windows)
            if not decision.admitted:
                return decision
        raise AssertionError("there is no limit")

    def test_store__tells_what_it_is(self, store):
        assert (store.shared, store.exact) == (self.shared, self.exact)

    def test_store__checks_itself(self, store):
        for messages, ids in (
            (store.check(), self.check_ids),
            (store.check_deploy(), self.check_deploy_ids),
        ):
            assert [message.id for message in messages] == ids
            assert all(isinstance(message, CheckMessage) and message.hint for message in messages)

    def test_probe__counts_for_no_client(self, store, key, lines):
        windows = [window(key, 9, 60)]
        assert store.take(windows).remaining == (8,)
        for _ in range(3):
            store.probe()
        assert store.take(windows).remaining == (7,)
        assert (store.undecided, lines()) == (0, [])

    # Decisions

    def test_take__admits_up_to_the_limit_and_then_denies(self, store, key, lines):
        windows = [window(key, 3, 60)]
        decisions = [store.take(windows) for _ in range(5)]
        assert [decision.admitted for decision in decisions] == [True] * 3 + [False] * 2
        assert [decision.remaining for decision in decisions] == [(2,), (1,), (0,), (0,), (0,)]
        assert all(type(decision) is Decision for decision in decisions)
        assert store.undecided == 0
        assert lines() == []

    def test_take__tells_when_to_come_again(self, store, key):
        windows = [window(key, 2, 60)]
        for decision in (store.take(windows), store.take(windows)):
            assert decision.retry_after == 0
            assert 0 < decision.resets[0] <= 60
        denied = store.take(windows)
        assert 0 < denied.retry_after <= 60
        assert denied.resets == (denied.retry_after,)

    def test_take__answers_for_each_window_in_the_order_that_was_asked(self, store, key):
        small, large = window(key, 2, 10, "burst"), window(key, 5, 600)
        decision = store.take([small, large])
        assert decision.remaining == (1, 4)
        assert 0 < decision.resets[0] <= 10
        assert decision.resets[0] <= decision.resets[1] <= 600
        assert store.take([large, small]).remaining == (3, 0)
        assert store.take([small, large]).remaining == (0, 3)
        assert store.take([large, small]).remaining == (3, 0)
        assert store.take([large]).remaining == (2,)

    def test_take__of_a_window_that_is_empty_has_nothing_to_reset(self, store, key):
        full, empty = window(key, 1, 60, "burst"), window(key, 1, 60)
        store.take([full])
        for windows in ([full, empty], [empty, full]):
            resets = dict(zip(windows, store.take(windows).resets, strict=True))
            assert resets[empty] == 0
            assert resets[full] > 0

    @pytest.mark.parametrize("turned", [False, True], ids=["first", "last"])
    def test_take__a_denied_request_consumes_nothing(self, store, key, turned):
        full, other = window(key, 1, 60, "burst"), window(key, 5, 60)
        assert store.take([full]).admitted
        windows = [other, full] if turned else [full, other]
        for _ in range(10):
            decision = store.take(windows)
            assert not decision.admitted
            assert sorted(decision.remaining) == [0, 5]
        assert store.take([other]).remaining == (4,)

    def test_take__clients_share_nothing(self, store, key):
        user, address = window(f"user:1:{key}", 1, 60), window(f"ip:1:{key}", 1, 60)
        assert store.take([user]).admitted
        assert not store.take([user]).admitted
        assert store.take([address]).admitted
        assert not store.take([address]).admitted

    def test_take__windows_of_one_client_share_nothing(self, store, key):
        small, large = window(key, 2, 60, "burst"), window(key, 2, 60)
        self.exhaust(store, small)
        assert store.take([large]).remaining == (1,)

    def test_take__a_lowered_limit_holds_at_once(self, store, key):
        for _ in range(5):
            assert store.take([window(key, 9, 1)]).admitted
        lowered = [window(key, 3, 1)]
        denied = store.take(lowered)
        assert (denied.admitted, denied.remaining) == (False, (0,))
        self.pass_time(ceil(denied.retry_after))
        assert store.take(lowered).admitted

    def test_take__a_raised_limit_gives_room_at_once(self, store, key):
        self.exhaust(store, window(key, 2, 60))
        raised = [window(key, 4, 60)]
        assert [store.take(raised).remaining for _ in range(2)] == [(1,), (0,)]
        assert not store.take(raised).admitted

    def test_take__waiting_for_retry_after_admits(self, store, key):
        windows = [window(key, 2, 1)]
        denied = self.exhaust(store, *windows)
        assert ceil(denied.retry_after) == 1
        self.pass_time(1)
        assert [store.take(windows).admitted for _ in range(3)] == [True, True, False]

    def test_take__waiting_for_all_windows_that_are_full_admits(self, store, key):
        short_first = [window(key, 2, 1, "burst"), window(key, 2, 2)]
        long_first = [window(f"{key}:other", 2, 2), window(f"{key}:other", 2, 1, "burst")]
        waits = []
        for windows in (short_first, long_first):
            denied = self.exhaust(store, *windows)
            # Both are full, and the request gets the longer wait.
            assert denied.retry_after == max(denied.resets) > min(denied.resets) > 0
            waits.append(ceil(denied.retry_after))
        self.pass_time(max(waits))
        for windows in (short_first, long_first):
            assert store.take(windows).admitted

    def test_take__takes_great_numbers(self, store, key):
        windows = [window(key, 1_000_000, 1, "burst"), window(key, 10**9, 315_360_000)]
        assert store.take(windows).remaining == (999_999, 10**9 - 1)
        decision = store.take(windows)
        assert decision.remaining == (999_998, 10**9 - 2)
        # Fixed windows end sooner.
        assert 0 < decision.resets[1] <= 315_360_000

    def test_take__takes_long_keys(self, store):
        longest = [Window(f"partstream:rate:{{{uuid4().hex * 6}}}"[:199] + "}", 1, 60)]
        assert [store.take(longest).admitted for _ in range(2)] == [True, False]

    # Threads

    def test_take__of_640_requests_in_64_threads_the_limit_is_admitted(self, store, key, lines):
        def ask(number):
            windows = [
                window(f"{key}:{number}", 10, 60, "burst"),
                window(f"{key}:{number}", 100, 600),
            ]
            return sum(store.take(windows).admitted for _ in range(10))

        admitted = [sum(given) for given in in_rounds(64, self.rounds, ask)]
        assert admitted == [10] * self.rounds
        assert lines() == []

    def test_take__threads_that_are_denied_consume_nothing(self, store, key):
        def ask(number):
            # The second denies; what the first gave comes back.
            windows = [window(key, 40, 600, "burst"), window(key, 3, 600, f"rate{number}")]
            return sum(store.take(windows).admitted for _ in range(5))

        assert [sum(given) for given in in_rounds(8, 5, ask)] == [3] * 5
        assert store.take([window(key, 40, 600, "burst")]).remaining == (40 - 15 - 1,)
