"""What `DjangoCacheRateLimitStore` does over each cache: inherit it, and write `configured`."""

from __future__ import annotations

import time

import pytest
from django.core.cache import caches

from partstream.backends.rate_limits import django_cache
from partstream.backends.rate_limits.django_cache import DjangoCacheRateLimitStore
from partstream.exceptions import ProbeFailed
from tests.support.contracts.rate_limit_store import RateLimitStoreContract, window

DJANGO = "django.core.cache.backends"


#: When a window of each length begins.
BEGIN = 1_800_000_000.0


class OverDjango(RateLimitStoreContract):
    """Makes stores over the cache that `configured` describes, at times that the test holds."""

    exact = False

    @pytest.fixture(autouse=True)
    def cache(self, settings, configured, monkeypatch):
        settings.CACHES = {"default": configured}
        self.now = BEGIN + 0.25
        # The cache's clock is the same; that of Redis is not.
        monkeypatch.setattr(time, "time", lambda: self.now)

    def make(self, **options):
        return DjangoCacheRateLimitStore(**options)

    def pass_time(self, seconds):
        self.now += seconds


class CountsOverDjango(OverDjango):
    def test_probe__deletes_its_counter(self, store, key, monkeypatch):
        monkeypatch.setattr(django_cache, "token_hex", lambda count: key)
        store.probe()
        assert caches["default"].get(f"partstream.probe.{key}") is None

    def test_probe__of_a_cache_that_counts_wrongly_fails(self, store, key, monkeypatch):
        monkeypatch.setattr(django_cache, "token_hex", lambda count: key)
        caches["default"].set(f"partstream.probe.{key}", 5, 10)
        with pytest.raises(ProbeFailed, match="counts wrongly"):
            store.probe()

    def test_take__counts_in_windows_that_stand_still(self, store, key):
        windows = [window(key, 2, 10)]
        self.now = BEGIN + 9.5
        assert store.take(windows).resets == (0.5,)
        assert store.take(windows).resets == (0.5,)
        assert store.take(windows).retry_after == 0.5
        self.now = BEGIN + 10
        # Four in half a second: the bound at the edge.
        assert [store.take(windows).admitted for _ in range(3)] == [True, True, False]
        assert store.take(windows).retry_after == 10

    def test_counters__are_those_of_the_cache_and_end(self, store, key):
        small, large = window(key, 9, 10, "burst"), window(key, 9, 60)
        for _ in range(3):
            store.take([small, large])
        counters = [f"{small.key}:{int(BEGIN) // 10}", f"{large.key}:{int(BEGIN) // 60}"]
        assert caches["default"].get_many(counters) == dict.fromkeys(counters, 3)

    def test_take__a_counter_of_another_type_is_a_fault(self, store, key, lines):
        denied, strange = window(key, 1, 10, "burst"), window(key, 9, 60)
        assert store.take([denied]).admitted
        caches["default"].set(f"{strange.key}:{int(BEGIN) // 60}", ["7"])
        assert store.take([denied, strange]) is None
        assert store.undecided == 1
        assert "TypeError: The counter in the cache is ['7']." in self.traceback
        # The others are counted as before.
        assert store.take([window(f"{key}:other", 9, 60)]).admitted

    @pytest.fixture(autouse=True)
    def keep_log(self, caplog):
        self.caplog = caplog

    @property
    def traceback(self):
        return self.caplog.text
