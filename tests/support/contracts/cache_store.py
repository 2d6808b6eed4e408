"""What every cache store has to do. Inherit it in the tests of yours, and write `make`."""

from __future__ import annotations

import logging
import pickle
import time
from contextlib import nullcontext
from functools import partial
from threading import Barrier, Thread
from typing import ClassVar
from uuid import uuid4

import pytest
import time_machine
from django.core.checks import CheckMessage

from partstream.backends.caches import base
from partstream.backends.caches.base import CacheStore
from partstream.exceptions import ProbeFailed
from partstream.keys import KeyRing

OLD, NEW = b"the old secret of the ring", b"the new secret of the ring"
MAX_SIZE = 4096
TTL = 60

BODY = b'{"orders":[1,2],"currency":"\xe2\x82\xac"}'
BODIES = [b"", b"null", b"0", BODY, bytes(range(256)), b"\x00" * MAX_SIZE, pickle.dumps([BODY])]


class CacheStoreContract:
    """Of all stores, those that keep nothing too. Set the flags."""

    shared: ClassVar[bool]
    atomic_add: ClassVar[bool]
    keeps: ClassVar[bool] = True
    #: The ids of what `check` and `check_deploy` say.
    check_ids: ClassVar[list[str]] = []
    check_deploy_ids: ClassVar[list[str]] = []

    def make(self, *secrets, max_size=MAX_SIZE, **options) -> CacheStore:
        """A store; those of one test keep their entries in one place."""
        raise NotImplementedError

    def ring(self, *secrets):
        return KeyRing(list(secrets or [NEW]))

    @pytest.fixture
    def store(self):
        return self.make()

    @pytest.fixture
    def key(self):
        """A key that no other test has."""
        return f"partstream:{uuid4().hex}"

    @pytest.fixture
    def lines(self, caplog):
        """The messages that were logged until now."""
        caplog.set_level(logging.DEBUG, "partstream")
        return lambda: [record.getMessage() for record in caplog.records]

    def test_store__tells_what_it_is(self, store):
        assert (store.shared, store.atomic_add, store.keeps) == (
            self.shared,
            self.atomic_add,
            self.keeps,
        )

    def test_store__checks_itself(self, store):
        for messages, ids in (
            (store.check(), self.check_ids),
            (store.check_deploy(), self.check_deploy_ids),
        ):
            assert [message.id for message in messages] == ids
            assert all(isinstance(message, CheckMessage) and message.hint for message in messages)

    def test_get__what_was_never_kept_is_a_miss(self, store, key, lines):
        assert store.get(key) is None
        assert store.get_many([key, f"{key}:other"]) == {}
        assert lines() == []

    def test_get_many__of_no_keys_is_nothing(self, store):
        assert store.get_many([]) == {}
        assert store.get_many(iter([])) == {}

    def test_store__bears_what_is_not_there(self, store, key, lines):
        store.set_many({}, TTL)
        store.touch(key, TTL)
        store.delete(key)
        assert store.get(key) is None
        assert lines() == []

    def test_add__where_nothing_is_wins(self, store, key):
        assert store.add(key, b"owner", TTL) is True

    def test_add_and_get__where_nothing_is_wins_and_finds_nothing(self, store, key, lines):
        assert store.add_and_get(f"{key}.lock", b"owner", TTL, key) == (True, None)
        assert lines() == []

    def test_set_many__what_is_too_long_is_left_out(self, store, key, lines):
        store.set_many({key: b"x" * (MAX_SIZE + 1)}, TTL)
        assert store.get(key) is None
        assert lines() == [f"{key!r} is not kept: it has {MAX_SIZE + 1} bytes."]

    def test_probe__tries_the_store_and_leaves_nothing_behind(self, store, lines, monkeypatch):
        written = []

        def write(entries, ttl):
            written.extend(entries)
            assert 0 < ttl <= TTL
            own_write(entries, ttl)

        own_write = store.write
        monkeypatch.setattr(store, "write", write)
        store.probe()
        assert len(written) == self.keeps
        assert not any(store.read(written).values() if written else ())
        assert lines() == []


class KeepingCacheStoreContract(CacheStoreContract):
    """Of all stores that keep something."""

    #: Whether entries end by the clock of this process, which a test can put forward.
    ends_by_our_clock: ClassVar[bool] = False

    #: What else can stand under a key; `plant` puts it there.
    strangers: ClassVar[list[object]] = [
        b"",
        b"null",
        BODY,
        b"psf",
        b"psf\x01",
        b"psf\x01s",
        b"psf\x01c",
        b"psf\x02s" + b"\x00" * 99,
        b"\x00" * 10_000,
        pickle.dumps(BODY),
    ]

    @pytest.mark.parametrize(
        ("written", "says"), [(None, "not found again"), (b"other", "came back changed")]
    )
    def test_probe__that_finds_something_else_fails(self, store, monkeypatch, written, says):
        keys = []

        def write(entries, ttl):
            keys.extend(entries)
            if written is not None:
                own_write(dict.fromkeys(entries, written), ttl)

        own_write = store.write
        monkeypatch.setattr(store, "write", write)
        monkeypatch.setattr(base, "_PROBE_PAUSES", (0,))
        with pytest.raises(ProbeFailed, match=says):
            store.probe()
        assert not any(store.read(keys).values())

    def plant(self, store, key, entry):
        """Put a raw entry there."""
        store.write({key: entry}, TTL)

    def entry(self, store, key):
        """The raw entry that is there."""
        return store.read([key])[key]

    def refuses(self, store, key, lines):
        """That what stands there is a miss, either way, and is logged by its key alone."""
        already = len(lines())
        assert store.get(key) is None
        assert store.get_many([key]) == {}
        logged = lines()[already:]
        assert len(logged) == 2
        for line in logged:
            assert line.startswith(f"The cache's entry {key!r} is not used: ")
            assert "orders" not in line
        return True

    # Keeping

    @pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:16]))
    def test_store__gives_back_what_it_keeps(self, store, key, body, lines):
        store.set_many({key: body}, TTL)
        assert store.get(key) == body
        assert type(store.get(key)) is bytes
        assert lines() == []

    def test_store__keeps_the_last(self, store, key):
        store.set_many({key: b"first"}, TTL)
        store.set_many({key: b"second"}, TTL)
        assert store.get(key) == b"second"

    def test_store__keeps_for_another_instance(self, store, key):
        store.set_many({key: BODY}, TTL)
        assert self.make().get(key) == BODY

    def test_get_many__gives_those_that_are_there(self, store, key):
        entries = {f"{key}:{number}": b"%d" % number for number in range(10)}
        store.set_many(entries, TTL)
        assert store.get_many([*entries, f"{key}:10"]) == entries
        assert store.get_many(iter(entries)) == entries
        assert store.get_many([key]) == {}

    def test_get_many__takes_a_key_twice(self, store, key):
        store.set_many({key: BODY}, TTL)
        assert store.get_many([key, key]) == {key: BODY}

    def test_set_many__keeps_the_others_of_one_that_is_too_long(self, store, key):
        store.set_many({key: b"x" * (MAX_SIZE + 1), f"{key}:other": BODY}, TTL)
        assert store.get_many([key, f"{key}:other"]) == {f"{key}:other": BODY}

    def test_delete__forgets(self, store, key):
        store.set_many({key: BODY}, TTL)
        store.delete(key)
        assert store.get(key) is None

    def test_add__where_something_is_loses(self, store, key):
        assert store.add(key, b"first", TTL) is True
        assert store.add(key, b"second", TTL) is False
        assert store.get(key) == b"first"
        store.delete(key)
        assert store.add(key, b"third", TTL) is True

    def test_add_and_get__reads_only_for_the_caller_that_wins(self, store, key, lines):
        lock = f"{key}.lock"
        store.set_many({key: BODY}, TTL)
        assert store.add_and_get(lock, b"first", TTL, key) == (True, BODY)
        assert store.get(lock) == b"first"
        assert store.add_and_get(lock, b"second", TTL, key) == (False, None)
        assert store.get(lock) == b"first"
        assert lines() == []
        store.delete(lock)
        self.plant(store, key, b"null")
        assert store.add_and_get(lock, b"third", TTL, key) == (True, None)
        assert len(lines()) == 1

    def test_ttl__ends_what_is_not_touched(self, store, key):
        short, shortened, prolonged, lock = (f"{key}:{number}" for number in range(4))
        store.set_many({short: BODY, prolonged: BODY}, 1)
        store.set_many({shortened: BODY}, TTL)
        store.touch(shortened, 1)
        store.touch(prolonged, TTL)
        assert store.add(lock, b"owner", 1) is True
        # The only test with real seconds, for stores with clocks of their own.
        ahead = time_machine.travel(time.time() + 1.5) if self.ends_by_our_clock else nullcontext()
        with ahead:
            deadline = time.monotonic() + 10
            while store.get_many([short, shortened, lock]):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert store.get(prolonged) == BODY
            assert store.add(lock, b"next owner", TTL) is True

    # Threads

    def in_threads(self, count, function):
        """What the function gives for 0, 1, …, each in a thread of its own, begun together."""
        together, results = Barrier(count), [None] * count

        def run(number):
            together.wait(30)
            results[number] = function(number)

        threads = [Thread(target=run, args=[number]) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    def test_add__of_64_threads_one_wins(self, store, key):
        if not store.atomic_add:
            pytest.skip("This store does not promise it.")
        for contested in (f"{key}:{attempt}" for attempt in range(3)):
            won = self.in_threads(64, partial(self.add_own_number, store, contested))
            assert won.count(True) == 1
            assert won.count(False) == 63
            assert store.get(contested) == b"%d" % won.index(True)

    def add_own_number(self, store, key, number):
        return store.add(key, b"%d" % number, TTL)

    def test_store__serves_threads(self, store, key, lines):
        def use(number):
            entries = {f"{key}:{number}:{other}": b"%d,%d" % (number, other) for other in range(5)}
            for _ in range(5):
                store.set_many(entries, TTL)
                if store.get_many(entries) != entries:
                    return False
            return True

        assert self.in_threads(8, use) == [True] * 8
        assert lines() == []

    # Keys

    def test_rotation__old_entries_are_read(self, key, lines):
        self.make(OLD).set_many({key: BODY}, TTL)
        assert self.make(NEW, OLD).get(key) == BODY
        assert lines() == []

    def test_rotation__new_entries_are_under_the_new_key(self, key):
        self.make(NEW, OLD).set_many({key: BODY}, TTL)
        assert self.make(NEW).get(key) == BODY

    def test_rotation__a_secret_that_left_proves_nothing(self, key, lines):
        self.make(OLD).set_many({key: BODY}, TTL)
        if self.shared:
            assert self.refuses(self.make(NEW), key, lines)
        else:
            assert self.make(NEW).get(key) == BODY

    # Strangers

    def test_stranger__is_refused(self, store, key, lines):
        for stranger in self.strangers:
            self.plant(store, key, stranger)
            assert self.refuses(store, key, lines)

    def test_stranger__gives_way_to_what_is_kept(self, store, key):
        self.plant(store, key, b"stranger")
        store.set_many({key: BODY}, TTL)
        assert store.get(key) == BODY

    def test_stranger__spares_the_others(self, store, key):
        store.set_many({key: BODY}, TTL)
        self.plant(store, f"{key}:other", b"stranger")
        assert store.get_many([key, f"{key}:other"]) == {key: BODY}

    def test_stranger__holds_a_lock(self, store, key):
        # As long as the foreign entry exists, no caller gets the key.
        self.plant(store, key, b"stranger")
        assert store.add(key, b"owner", TTL) is False

    def test_entry__cut_short_or_drawn_out_is_refused(self, store, key, lines):
        store.set_many({key: BODY}, TTL)
        entry = self.entry(store, key)
        for altered in (*(entry[:size] for size in range(len(entry))), entry + b"\x00"):
            self.plant(store, key, altered)
            assert self.refuses(store, key, lines)

    def test_entry__altered_is_refused(self, store, key, lines):
        store.set_many({key: BODY}, TTL)
        entry = self.entry(store, key)
        # Nobody else can write into a store that is not shared: its bodies bear no proof.
        for position in range(len(entry) if self.shared else len(entry) - len(BODY)):
            altered = bytearray(entry)
            altered[position] ^= 1
            self.plant(store, key, bytes(altered))
            assert self.refuses(store, key, lines)

    def test_entry__copied_to_another_key_is_refused(self, store, key, lines):
        if not self.shared:
            pytest.skip("Nobody else can write into it.")
        store.set_many({key: BODY}, TTL)
        for other in (f"{key}:other", key[:-1]):
            self.plant(store, other, self.entry(store, key))
            assert self.refuses(store, other, lines)

    def test_entry__with_the_border_of_key_and_body_moved_is_refused(self, store, key, lines):
        if not self.shared:
            pytest.skip("Nobody else can write into it.")
        store.set_many({f"{key}ab": b"cd"}, TTL)
        entry = self.entry(store, f"{key}ab")
        self.plant(store, f"{key}a", entry[:-2] + b"bcd")
        assert self.refuses(store, f"{key}a", lines)

    def test_entry__with_a_length_instead_of_a_code_is_refused(self, store, key, lines):
        if not self.shared:
            pytest.skip("It has lengths.")
        self.plant(store, key, b"psf\x01c" + len(BODY).to_bytes(8, "big") + BODY)
        assert self.refuses(store, key, lines)

    def test_entry__that_is_too_long_is_refused(self, store, key, lines):
        store.set_many({key: BODY}, TTL)
        assert self.make(max_size=len(BODY)).get(key) == BODY
        assert self.refuses(self.make(max_size=len(BODY) - 1), key, lines)
        assert f"it has {len(self.entry(store, key))} bytes" in lines()[-1]
