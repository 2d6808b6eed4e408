from __future__ import annotations

from partstream.backends.caches.null import NullCacheStore
from tests.support.contracts.cache_store import BODY, MAX_SIZE, TTL, CacheStoreContract


class TestNullCacheStore(CacheStoreContract):
    shared = False
    atomic_add = False
    keeps = False

    def make(self, *secrets, max_size=MAX_SIZE, **options):
        return NullCacheStore(keys=self.ring(*secrets), max_size=max_size, **options)

    def test_store__keeps_nothing(self, store, key):
        store.set_many({key: BODY}, TTL)
        assert store.get(key) is None
        assert store.get_many([key]) == {}

    def test_add__always_wins(self, store, key):
        assert [store.add(key, b"owner", TTL) for _ in range(3)] == [True, True, True]
