"""What `DjangoCacheStore` does over each cache: inherit it, and write `configured`."""

from __future__ import annotations

import pytest

from partstream.backends.caches.django_cache import DjangoCacheStore
from tests.support.contracts.cache_store import BODY, MAX_SIZE, TTL, KeepingCacheStoreContract

DJANGO = "django.core.cache.backends"


class OverDjango:
    """Makes stores over the cache that `configured` describes."""

    @pytest.fixture(autouse=True)
    def cache(self, settings, configured):
        settings.CACHES = {"default": configured}

    def make(self, *secrets, max_size=MAX_SIZE, **options):
        return DjangoCacheStore(keys=self.ring(*secrets), max_size=max_size, **options)


class KeepsOverDjango(OverDjango, KeepingCacheStoreContract):
    strangers = [
        *KeepingCacheStoreContract.strangers,
        "text",
        7,
        ["psf"],
        {"a": 1},
        bytearray(BODY),
    ]

    def test_entry__that_is_like_bytes_is_refused(self, store, key, lines):
        store.set_many({key: BODY}, TTL)
        self.plant(store, key, bytearray(self.entry(store, key)))
        assert self.refuses(store, key, lines)
