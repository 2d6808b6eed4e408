from __future__ import annotations

import logging

import pytest

from partstream.backends.caches.base import CacheStore
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
