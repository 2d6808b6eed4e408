"""What ``manage.py check`` finds out about caches: bytes that are lost, clusters, pickles."""

from __future__ import annotations

import time
from threading import enumerate as enumerate_threads
from uuid import uuid4

import pytest
from django.core.cache import caches

from partstream.backends import cache_trials
from partstream.backends.cache_trials import ask, check_keys
from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.rate_limits.django_cache import DjangoCacheRateLimitStore
from partstream.keys import KeyRing
from tests.support.concurrency import PATIENCE, Held, wait_until
from tests.support.memcached import needs_pymemcache
from tests.support.redis import needs_redis
from tests.support.stores import patient

DJANGO = "django.core.cache.backends"
DJANGO_REDIS = "django_redis.cache.RedisCache"
JSON = "django_redis.serializers.json.JSONSerializer"


class JSONForDjango:
    """A serializer for Django's own cache in Redis."""

    def dumps(self, value):
        import json

        return json.dumps(value).encode()

    def loads(self, data):
        import json

        return json.loads(data)


class Lossy(JSONForDjango):
    """One that makes a text of bytes, and raises nothing."""

    def dumps(self, value):
        return super().dumps(value.decode("latin1") if isinstance(value, bytes) else value)


class JSONForMemcached:
    """A serializer for pymemcache."""

    def serialize(self, key, value):
        return JSONForDjango().dumps(value), 0

    def deserialize(self, key, value, flags):
        return JSONForDjango().loads(value)


def path_of(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A server that a busy machine holds up is none that does not answer."""
    monkeypatch.setattr(cache_trials, "PATIENCE", PATIENCE)


@pytest.fixture
def over(settings):
    """Makes the stores over a cache of this backend, location and options."""

    def over(backend, location, **options):
        configured = {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}
        settings.CACHES = {"default": configured}
        store = DjangoCacheStore(keys=KeyRing([b"the secret of the ring"]), max_size=4096)
        return store, DjangoCacheRateLimitStore()

    yield over
    caches["default"].close()
    # A thread that a test gave up would be a surprise to the next one.
    wait_until(lambda: all(thread.name != "partstream-check" for thread in enumerate_threads()))


def ids(messages):
    return [message.id for message in messages]


def unshared(url):
    """django-redis keeps a pool for each URL."""
    return f"{url}{'&' if '?' in url else '?'}client_name={uuid4().hex}"


# Bytes


@needs_redis
@pytest.mark.parametrize(
    ("backend", "options", "reason"),
    [
        (DJANGO_REDIS, {"SERIALIZER": JSON}, "not JSON serializable"),
        (f"{DJANGO}.redis.RedisCache", {"serializer": path_of(JSONForDjango)}, "not JSON"),
        (f"{DJANGO}.redis.RedisCache", {"serializer": path_of(Lossy)}, "it returned '"),
    ],
    ids=["django-redis", "redis", "lossy"],
)
def test_e007__a_serializer_that_loses_bytes_is_an_error(over, redis_url, backend, options, reason):
    store, _ = over(backend, unshared(redis_url), **options)
    (error,) = store.check()
    assert error.id == "partstream.E007"
    assert error.is_serious()
    assert "The cache 'default' does not return bytes unchanged" in error.msg
    assert reason in error.msg
    assert "RedisCacheStore, which bypasses the serializer" in error.hint
    # Nor does it pickle.
    assert ids(store.check_deploy()) == []


@needs_pymemcache
def test_e007__a_serializer_of_memcached_that_loses_bytes_is_an_error(over, memcached_location):
    backend = f"{DJANGO}.memcached.PyMemcacheCache"
    store, _ = over(backend, memcached_location, serde=JSONForMemcached())
    assert ids(store.check()) == ["partstream.E007"]
    assert ids(store.check_deploy()) == []


@needs_redis
@pytest.mark.parametrize("backend", [DJANGO_REDIS, f"{DJANGO}.redis.RedisCache"])
def test_w004__a_cache_that_pickles_is_a_warning(over, redis_url, backend):
    store, _ = over(backend, unshared(redis_url))
    assert ids(store.check()) == []
    assert ids(store.check_deploy()) == ["partstream.W004"]


@pytest.mark.parametrize(
    ("backend", "location"),
    [
        (DJANGO_REDIS, "unix:///no/such.sock"),
        (DJANGO_REDIS, "redis://127.0.0.1:1/0"),
        (f"{DJANGO}.redis.RedisCache", "unix:///no/such.sock"),
        (f"{DJANGO}.memcached.PyMemcacheCache", "unix:/no/such.sock"),
    ],
)
def test_e007__is_silent_where_the_server_does_not_answer(over, backend, location):
    pytest.importorskip("django_redis")
    pytest.importorskip("pymemcache")
    store, limits = over(backend, location)
    assert "partstream.E007" not in ids([*store.check(), *limits.check()])


@needs_redis
def test_e007__is_silent_where_the_cache_ignores_that_the_server_is_down(over):
    store, _ = over(DJANGO_REDIS, "unix:///no/such.sock?client_name=ignoring")
    store, _ = over(
        DJANGO_REDIS, "unix:///no/such.sock?client_name=ignoring", IGNORE_EXCEPTIONS=True
    )
    assert store.check() == []


@needs_redis
@pytest.mark.parametrize("backend", [DJANGO_REDIS, f"{DJANGO}.redis.RedisCache"])
def test_e007__does_not_wait_for_a_server_that_hangs(over, redis_server, monkeypatch, backend):
    monkeypatch.setattr(cache_trials, "PATIENCE", 0.05)
    store, limits = over(backend, unshared(redis_server.url))
    with redis_server.paused():
        began = time.monotonic()
        assert store.check() == limits.check() == []
        # redis-py would wait for a minute.
        assert time.monotonic() - began < 10


def test_e007__a_cache_that_hangs_holds_no_process(monkeypatch):
    monkeypatch.setattr(cache_trials, "PATIENCE", 0.01)
    held = Held()
    began = time.monotonic()
    assert ask(held) is None
    assert time.monotonic() - began < 10
    held.release()


def test_e007__without_a_thread_nothing_is_said(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    assert ask(lambda: 1) is None


@pytest.mark.django_db
def test_e007__asks_no_database(over, django_assert_num_queries):
    store, _ = over(f"{DJANGO}.db.DatabaseCache", "no_such_table")
    with django_assert_num_queries(0):
        assert store.check() == []


@needs_redis
def test_e007__leaves_nothing_behind(over, redis_server):
    store, _ = over(DJANGO_REDIS, redis_server.url)
    assert store.check() == []
    assert caches["default"].keys("*") == []


# Clusters


@needs_redis
@pytest.mark.parametrize("backend", [DJANGO_REDIS, f"{DJANGO}.redis.RedisCache"])
def test_e008__a_cluster_behind_a_cache_is_an_error(over, shared_cluster, backend):
    for store in over(backend, unshared(shared_cluster.url)):
        (error,) = store.check()
        assert error.id == "partstream.E008"
        assert error.is_serious()
        assert "The server of the cache 'default' is a node of a Redis Cluster" in error.msg
        assert 'OPTIONS = {"cluster_url": "redis://HOST:6379"} instead of "alias"' in error.hint


def redis_stores(**options):
    from partstream.backends.caches.redis import RedisCacheStore
    from partstream.backends.rate_limits.redis import RedisRateLimitStore

    ring = KeyRing([b"the secret of the ring"])
    cache = RedisCacheStore(keys=ring, max_size=4096, **options)
    return [patient(cache), patient(RedisRateLimitStore(**options))]


@needs_redis
def test_e008__a_cluster_behind_the_alias_of_a_store_in_redis_is_an_error(over, shared_cluster):
    over(DJANGO_REDIS, unshared(shared_cluster.url))
    for store in redis_stores(alias="default"):
        (error,) = store.check()
        assert error.id == "partstream.E008"
        assert '"cluster_url"' in error.hint
    for store in redis_stores(cluster_url=shared_cluster.url):
        assert store.check() == []


@needs_redis
def test_e008__a_server_that_is_no_cluster_behind_a_cluster_url_is_an_error():
    from tests.support import redis, redis_cluster

    port = redis_cluster.free_port()
    with redis.server(redis.demand_server(), "--port", str(port), "--bind", "127.0.0.1"):
        for store in redis_stores(cluster_url=f"redis://127.0.0.1:{port}"):
            (error,) = store.check()
            assert error.id == "partstream.E008"
            assert '"alias" to its name instead of "cluster_url"' in error.hint


@needs_redis
def test_e008__is_silent_where_the_server_does_not_answer(over):
    over(DJANGO_REDIS, "redis://127.0.0.1:1/0")
    nobody = "redis://127.0.0.1:1"
    for store in (*redis_stores(alias="default"), *redis_stores(cluster_url=nobody)):
        assert store.check() == []


# Keys


@pytest.mark.parametrize(
    ("function", "ids"),
    [("django_tenants.cache.make_key", ["partstream.E012"]), (None, [])],
)
def test_check__says_that_keys_depend_on_the_thread(monkeypatch, function, ids):
    monkeypatch.setitem(caches.settings["default"], "KEY_FUNCTION", function)
    assert [message.id for message in check_keys("default")] == ids
