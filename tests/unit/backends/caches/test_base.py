from __future__ import annotations

import logging

import pytest

from partstream.backends.caches import base
from partstream.backends.caches.base import CacheStore
from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.exceptions import Misuse
from partstream.keys import KeyRing


class FaultyCacheStore(CacheStore):
    """Every call to what is behind it raises."""

    shared = True
    atomic_add = True

    def __init__(self, **options):
        super().__init__(keys=KeyRing([b"the secret of the ring"]), max_size=4096, **options)
        self.calls = 0

    def read(self, keys):
        self.calls += 1
        raise OSError("gone")

    def write(self, entries, ttl):
        self.read([])

    def reserve(self, key, entry, ttl):
        self.read([])

    def extend(self, key, ttl):
        self.read([])

    def remove(self, key):
        self.read([])


USES = {
    "get": (lambda store: store.get("key"), None),
    "get_many": (lambda store: store.get_many(["key", "other"]), {}),
    "set_many": (lambda store: store.set_many({"key": b"body"}, 60), False),
    "add": (lambda store: store.add("key", b"owner", 60), True),
    "add_and_get": (lambda store: store.add_and_get("key", b"owner", 60, "other"), (True, None)),
    "touch": (lambda store: store.touch("key", 60), None),
    "delete": (lambda store: store.delete("key"), None),
}


@pytest.mark.parametrize("use", USES)
def test_fault__is_a_miss_and_one_line_in_the_log(use, caplog):
    caplog.set_level(logging.DEBUG, "partstream")
    store = FaultyCacheStore()
    function, answer = USES[use]
    for _ in range(3):
        assert function(store) == answer
    assert store.calls == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("FaultyCacheStore failed, and is not used")
    assert str(record.exc_info[1]) == "gone"


def test_fault__of_one_use_leaves_the_store_alone_for_all():
    store = FaultyCacheStore()
    for function, answer in USES.values():
        assert function(store) == answer
    assert store.calls == 1


def test_set_many__of_nothing_that_fits_does_not_ask_the_store():
    store = FaultyCacheStore()
    assert not store.set_many({"key": b"x" * 4097}, 60)
    assert store.set_many({}, 60)
    store.get_many([])
    assert store.calls == 0


def test_retry_after__has_to_be_a_time():
    with pytest.raises(Misuse, match="retry_after is 0"):
        FaultyCacheStore(retry_after=0)


# Probes


def test_probe__raises_what_the_store_raises_and_opens_no_breaker(caplog):
    store = FaultyCacheStore()
    for number in (1, 2):
        with pytest.raises(OSError, match="gone"):
            store.probe()
        assert store.calls == number
    assert caplog.records == []
    assert store.get("key") is None
    # It asked.
    assert store.calls == 3


def test_probe__asks_although_the_breaker_is_open_and_leaves_it_open():
    store = FaultyCacheStore()
    store.get("key")
    store.write = lambda entries, ttl: store.entries.update(entries)
    store.read = lambda keys: {key: store.entries[key] for key in keys}
    store.remove = lambda key: store.entries.pop(key)
    store.entries = {"key": b"a raw entry"}
    store.probe()
    assert store.entries == {"key": b"a raw entry"}
    # Requests find out by themselves.
    assert store.get_many(["key"]) == {}
    assert store.calls == 1


class Replicated(DjangoCacheStore):
    """It reads from a replica, which has an entry only when it is asked for the third time."""

    reads = 0

    def read(self, keys):
        self.reads += 1
        return super().read(keys) if self.reads > 2 else {}


def test_probe__gives_a_replica_time(monkeypatch):
    slept = []
    monkeypatch.setattr(base.time, "sleep", slept.append)
    store = Replicated(keys=KeyRing([b"the secret of the ring"]), max_size=4096)
    store.probe()
    assert slept == list(base._PROBE_PAUSES[:2])
