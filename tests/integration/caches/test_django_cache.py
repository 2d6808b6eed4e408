"""`DjangoCacheStore` over caches that are servers."""

from __future__ import annotations

import pytest
from django.core.cache import caches

from tests.support.contracts.cache_store import TTL
from tests.support.contracts.cache_store_over_django import DJANGO, KeepsOverDjango
from tests.support.memcached import needs_pymemcache
from tests.support.redis import needs_redis


@needs_redis
class TestRedisCache(KeepsOverDjango):
    """Django's own."""

    shared = True
    atomic_add = True
    check_deploy_ids = ["partstream.W004"]

    @pytest.fixture
    def configured(self, redis_url):
        return {"BACKEND": f"{DJANGO}.redis.RedisCache", "LOCATION": redis_url}


@needs_redis
class TestDjangoRedisCache(KeepsOverDjango):
    """That of django-redis."""

    shared = True
    atomic_add = True
    check_deploy_ids = ["partstream.W004"]

    @pytest.fixture
    def configured(self, redis_url):
        return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}

    def test_add__where_the_cache_is_told_to_ignore_faults_wins(self, settings, key, tmp_path):
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"unix://{tmp_path}/nobody.sock",
                "OPTIONS": {"IGNORE_EXCEPTIONS": True},
            }
        }
        assert self.make().add(key, b"owner", TTL) is True


@needs_pymemcache
class TestPyMemcacheCache(KeepsOverDjango):
    shared = True
    atomic_add = True
    check_deploy_ids = ["partstream.W004"]

    @pytest.fixture
    def configured(self, memcached_location):
        backend = f"{DJANGO}.memcached.PyMemcacheCache"
        return {"BACKEND": backend, "LOCATION": memcached_location}

    @pytest.fixture(autouse=True)
    def closed(self, cache):
        yield
        caches["default"].close()

    def in_threads(self, count, function):
        def run(number):
            try:
                return function(number)
            finally:
                caches["default"].close()

        return super().in_threads(count, run)
