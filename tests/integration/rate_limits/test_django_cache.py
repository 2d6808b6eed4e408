"""`DjangoCacheRateLimitStore` over caches that are servers."""

from __future__ import annotations

import pytest
from django.core.cache import caches

from partstream.backends.rate_limits.django_cache import DjangoCacheRateLimitStore
from tests.support.contracts.rate_limit_store import window
from tests.support.contracts.rate_limit_store_over_django import DJANGO, CountsOverDjango
from tests.support.contracts.redis_faults import BearsFaultsOfRedis
from tests.support.memcached import needs_pymemcache
from tests.support.redis import needs_redis

DJANGO_REDIS = "django_redis.cache.RedisCache"


@needs_redis
class TestRedisCache(BearsFaultsOfRedis, CountsOverDjango):
    """Django's own."""

    shared = True
    check_deploy_ids = ["partstream.W010"]
    # Each request is several round trips.
    rounds = 1
    name = "DjangoCacheRateLimitStore"

    @pytest.fixture
    def configured(self, redis_url):
        return {"BACKEND": f"{DJANGO}.redis.RedisCache", "LOCATION": redis_url}

    def cache_at(self, url):
        timeouts = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
        return {"BACKEND": f"{DJANGO}.redis.RedisCache", "LOCATION": url, "OPTIONS": timeouts}


@needs_redis
class TestDjangoRedisCache(BearsFaultsOfRedis, CountsOverDjango):
    """That of django-redis."""

    shared = True
    check_deploy_ids = ["partstream.W010"]
    rounds = 1
    name = "DjangoCacheRateLimitStore"

    @pytest.fixture
    def configured(self, redis_url):
        return {"BACKEND": DJANGO_REDIS, "LOCATION": redis_url}

    def cache_at(self, url):
        timeouts = {"SOCKET_TIMEOUT": 0.2, "SOCKET_CONNECT_TIMEOUT": 0.2}
        return {"BACKEND": DJANGO_REDIS, "LOCATION": url, "OPTIONS": timeouts}

    def test_fault__that_the_cache_is_told_to_ignore_is_one(self, settings, key, lines, tmp_path):
        settings.CACHES = {
            "default": {
                "BACKEND": DJANGO_REDIS,
                "LOCATION": f"unix://{tmp_path}/nobody.sock",
                "OPTIONS": {"IGNORE_EXCEPTIONS": True},
            }
        }
        store = self.make()
        assert store.take([window(key, 1, 60)]) is None
        assert len(lines()) == 1
        assert "failed, and is not used" in lines()[0]
        assert "ServiceFault: The counter in the cache is None." in self.traceback


class ClosingStore(DjangoCacheRateLimitStore):
    """Closes its connection, as Django does after a request: each thread has one of its own."""

    def consume(self, windows):
        try:
            return super().consume(windows)
        finally:
            caches["default"].close()


@needs_pymemcache
class TestPyMemcacheCache(CountsOverDjango):
    shared = True
    rounds = 1

    @pytest.fixture(autouse=True)
    def closed(self, cache):
        yield
        caches["default"].close()

    def make(self, **options):
        return ClosingStore(**options)

    @pytest.fixture
    def configured(self, memcached_location):
        backend = f"{DJANGO}.memcached.PyMemcacheCache"
        return {"BACKEND": backend, "LOCATION": memcached_location}
