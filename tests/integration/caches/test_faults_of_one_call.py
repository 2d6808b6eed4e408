"""A call that fails by its own fault opens no breaker, and the next entry is cached."""

from __future__ import annotations

import json
from threading import Barrier, Event, Thread
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.test import RequestFactory

from partstream import ProgressiveView, cached_for, lazy
from partstream.backends import breakers
from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.loader import get_cache_store
from partstream.keys import KeyRing
from tests.support.concurrency import PATIENCE, in_threads
from tests.support.contracts.cache_store import BODY, NEW, TTL
from tests.support.memcached import needs_pymemcache
from tests.support.redis import needs_redis
from tests.support.walk_client import merged

DJANGO = "django.core.cache.backends"
DJANGO_REDIS = "django_redis.cache.RedisCache"
REDIS_STORE = "partstream.backends.caches.redis.RedisCacheStore"
#: More than memcached takes, and less than the store does.
TOO_LARGE = b"x" * 2_000_000


def make():
    return DjangoCacheStore(keys=KeyRing([NEW]), max_size=4_000_000)


@pytest.fixture
def key():
    return f"partstream:{uuid4().hex}"


@pytest.fixture
def lines(caplog):
    caplog.set_level("INFO", "partstream")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def memcached(settings, memcached_location):
    backend = f"{DJANGO}.memcached.PyMemcacheCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": memcached_location}}
    yield
    caches["default"].close()


def through_redis(settings, url, **options):
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO_REDIS,
            # django-redis keeps a pool for each URL.
            "LOCATION": f"{url}{'&' if '?' in url else '?'}client_name={uuid4().hex}",
            "OPTIONS": options,
        }
    }
    return make()


def works(store, key):
    """Whether another entry can be kept, and the store is still used."""
    return store.set_many({key: BODY}, TTL) and store.get(key) == BODY


def tells_of_one_call(lines, kind=""):
    (line,) = lines
    begins = (
        "One call of DjangoCacheStore failed through its own fault, and the store stays in use; "
        "further "
    )
    return line.startswith(f"{begins}{kind}") and line.endswith("s are not logged for 60 s.")


@needs_pymemcache
def test_memcached__a_value_that_is_too_large_is_not_kept(memcached, key, lines):
    store = make()
    assert store.set_many({key: TOO_LARGE}, TTL) is False
    assert works(store, f"{key}:next")
    assert store.add(f"{key}:lock", TOO_LARGE, TTL) is True
    assert works(store, f"{key}:other")
    assert store.get(key) is None
    assert tells_of_one_call(lines(), "MemcacheServerError")


@needs_pymemcache
def test_memcached__what_is_written_beside_a_value_that_is_too_large_is_kept(memcached, key):
    store = make()
    others = {f"{key}:{number}": BODY for number in range(5)}
    first, *rest = others
    entries = {first: BODY, key: TOO_LARGE, **dict.fromkeys(rest, BODY)}
    assert store.set_many(entries, TTL) is False
    assert store.get_many(entries) == others


class SilentCache(LocMemCache):
    """Tells, and does not raise, what it could not keep, as a client of Memcached may."""

    def set_many(self, data, timeout=DEFAULT_TIMEOUT, version=None):
        return [key for key in data if "refused" in key] + super().set_many(
            {key: value for key, value in data.items() if "refused" not in key}, timeout, version
        )


def test_cache__what_it_says_it_did_not_take_is_not_kept(settings, key, lines):
    backend = f"{SilentCache.__module__}.{SilentCache.__qualname__}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": key}}
    store = make()
    assert store.set_many({f"{key}:refused": BODY, key: BODY}, TTL) is False
    assert store.get(key) == BODY
    assert works(store, f"{key}:next")
    assert tells_of_one_call(lines(), "CallFault")


@needs_redis
def test_redis__a_serializer_that_cannot_hold_bytes_is_no_outage(settings, redis_url, key, lines):
    store = through_redis(
        settings, redis_url, SERIALIZER="django_redis.serializers.json.JSONSerializer"
    )
    for _ in range(3):
        assert store.set_many({key: BODY}, TTL) is False
        assert store.get(key) is None
        assert store.add(f"{key}:lock", b"owner", TTL) is True
    assert tells_of_one_call(lines(), "TypeError")
    assert store._breaker._retry_at is None


@needs_redis
@pytest.mark.parametrize(
    "options",
    [
        {"CONNECTION_POOL_KWARGS": {"max_connections": 1}},
        {
            "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
            "CONNECTION_POOL_KWARGS": {"max_connections": 1, "timeout": 0.01},
        },
    ],
    ids=["pool", "blocking"],
)
def test_redis__a_pool_without_a_free_connection_is_no_outage(
    settings, redis_url, key, lines, options
):
    store = through_redis(settings, redis_url, **options)
    pool = caches["default"].client.get_client().connection_pool
    taken = pool.get_connection()
    assert store.set_many({key: BODY}, TTL) is False
    assert store.get(key) is None
    assert store.add(f"{key}:lock", b"owner", TTL) is True
    pool.release(taken)
    assert works(store, key)
    assert tells_of_one_call(lines())


@needs_redis
def test_redis__a_connection_that_is_free_soon_is_waited_for(
    settings, redis_url, key, lines, monkeypatch
):
    monkeypatch.setattr(breakers, "LONGEST_WAIT", PATIENCE)
    store = through_redis(settings, redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1})
    pool = caches["default"].client.get_client().connection_pool
    taken, kept, refused = pool.get_connection(), [], Event()
    get_connection = pool.get_connection

    def noting(*args, **kwargs):
        try:
            return get_connection(*args, **kwargs)
        except Exception:
            refused.set()
            raise

    monkeypatch.setattr(pool, "get_connection", noting)
    writer = Thread(target=lambda: kept.append(store.set_many({key: BODY}, TTL)))
    writer.start()
    assert refused.wait(PATIENCE)
    pool.release(taken)
    writer.join(PATIENCE)
    assert kept == [True]
    assert store.get(key) == BODY
    assert lines() == []


# Many callers


@pytest.fixture(
    params=[
        pytest.param("memcached", marks=needs_pymemcache),
        pytest.param("pool", marks=needs_redis),
        pytest.param("redis", marks=needs_redis),
    ]
)
def spoil(request, settings, monkeypatch):
    """A function that makes one call of the project's store fail by its own fault."""
    monkeypatch.setattr(breakers, "LONGEST_WAIT", PATIENCE)
    if request.param == "memcached":
        request.getfixturevalue("memcached")
        settings.DJANGO_PARTSTREAM = {"MAX_FRAGMENT_SIZE": 4_000_000}
        yield lambda: get_cache_store().set_many({uuid4().hex: TOO_LARGE}, TTL)
        return
    through_redis(
        settings,
        request.getfixturevalue("redis_url"),
        CONNECTION_POOL_KWARGS={"max_connections": 2},
        # A server that a busy machine holds up is none that hangs.
        SOCKET_TIMEOUT=PATIENCE,
        SOCKET_CONNECT_TIMEOUT=PATIENCE,
    )
    if request.param == "redis":
        settings.DJANGO_PARTSTREAM = {"CACHE_STORE": REDIS_STORE}

        def add_to_another_type():
            store, name = get_cache_store(), uuid4().hex
            store._redis.execute(name, "RPUSH", store._raw_key(name), "stranger")
            store._breaker.call(
                store._redis.execute, name, "INCR", store._raw_key(name), otherwise=None
            )
            store.delete(name)

        yield add_to_another_type
    else:
        # The callers themselves have too few connections.
        yield lambda: None


def test_hammered__a_cached_part_is_made_once(spoil, lines):
    runs, together = [], Barrier(65)

    @cached_for(60, shared=True)
    def load(request):
        runs.append(1)
        return {"name": name}

    name = f"part_{uuid4().hex}"
    view = type(
        "HammeredView",
        (ProgressiveView,),
        {"authentication_classes": (), "parts": [(name, lazy(load))]},
    ).as_view()

    def ask(number):
        try:
            together.wait(PATIENCE)
            if number == 64:
                return [spoil() for _ in range(20)]
            for _ in range(20):
                envelope = json.loads(view(RequestFactory().get("/hammered/")).content)
                assert merged([envelope]) == {name: {"name": name}}
        finally:
            caches.close_all()

    in_threads(65, ask)
    assert len(runs) == 1
    assert not any("is not used until" in line for line in lines())
