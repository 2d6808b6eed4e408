"""Trials of a project's cache for ``manage.py check``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from secrets import token_hex
from typing import Any, Final, TypeVar

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache
from django.core.checks import CheckMessage, Error

from partstream.exceptions import NoThread
from partstream.logs import get_logger

from .executors.daemon_threads import start_daemon
from .faults import Fault, fault_of

logger = get_logger("partstream.stores")

T = TypeVar("T")

#: Seconds that a check waits for a server.
PATIENCE: Final = 1

_BYTES: Final = b"\x00\xff partstream \r\n"
_CLUSTER: Final = "a cluster"
#: Key functions that read the tenant from the thread's database connection.
_KEYS_OF_THREADS: Final = ("django_tenants.cache.make_key", "tenant_schemas.cache.make_key")


class _OnlyPickled:
    """A value that only pickle can serialize."""


def ask(question: Callable[[], T]) -> T | None:
    """What the function returns; None if it raises, or takes longer than a second.

    It runs in its own thread, because some clients wait for a minute by default.
    """
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(question())
        except Exception as error:  # noqa: BLE001 - logged below
            errors.append(error)
        finally:
            caches.close_all()

    try:
        thread = start_daemon(run, name="partstream-check")
    except NoThread:
        return None
    thread.join(PATIENCE)
    if errors:
        logger.debug("A check of a cache got no answer.", exc_info=errors[0])
    return answers[0] if answers else None


def is_redis(kind: type[BaseCache]) -> bool:
    """Whether this is the class of a cache in Redis, from Django or from django-redis."""
    return issubclass(kind, RedisCache) or is_of_django_redis(kind)


def is_of_django_redis(kind: type[BaseCache]) -> bool:
    """Whether this is django-redis' cache class; the package need not be installed."""
    return any(base.__module__ == "django_redis.cache" for base in kind.__mro__)


def is_cluster(client: Any) -> bool:
    """Whether the server of a redis-py client is a node of a Redis Cluster."""
    return str(client.info("cluster").get("cluster_enabled")) == "1"


def check_bytes(alias: str) -> list[CheckMessage]:
    """Errors for a cache that does not return bytes unchanged, or is a Redis Cluster.

    A server that does not answer is not an error. A cache in the database is not tried: a failing
    query would break the transaction around it, and such a cache does return bytes unchanged.
    """
    if isinstance(caches[alias], (DatabaseCache, DummyCache)):
        return []
    found = ask(lambda: _try_bytes(alias))
    if found is None or found == "":
        return []
    return [cluster_error(alias) if found == _CLUSTER else bytes_error(alias, found)]


def check_keys(alias: str) -> list[CheckMessage]:
    """An error for a cache whose keys are known to depend on the current thread."""
    function = caches.settings[alias].get("KEY_FUNCTION")
    if function not in _KEYS_OF_THREADS:
        return []
    return [
        Error(
            f"The KEY_FUNCTION of the cache {alias!r} puts the thread's tenant into each key. "
            "Locks and fragments are also written in threads that have no tenant, and would not be "
            "found again: parts under cached_for() would run each time, and wait for locks.",
            hint="Set the store's alias to a cache without that function: the store's keys have "
            "the host and the identity in them, and IDENTITY can add the tenant.",
            id="partstream.E012",
        )
    ]


def check_cluster(alias: str) -> list[CheckMessage]:
    """An error for a cache in Redis whose server is a node of a Redis Cluster."""
    if is_redis(type(caches[alias])) and ask(lambda: is_cluster(_client_of(caches[alias]))):
        return [cluster_error(alias)]
    return []


def bytes_error(alias: str, reason: str) -> CheckMessage:
    """The error for a cache that does not return bytes unchanged."""
    return Error(
        f"The cache {alias!r} does not return bytes unchanged, so no fragment can be kept in "
        f"it: {reason}",
        hint="Set the store's alias to a cache with the default serializer, or keep fragments "
        "in Redis with partstream.backends.caches.redis.RedisCacheStore, which bypasses the "
        "serializer.",
        id="partstream.E007",
    )


def cluster_error(alias: str) -> CheckMessage:
    """The error for a cache whose server is a node of a Redis Cluster."""
    return Error(
        f"The server of the cache {alias!r} is a node of a Redis Cluster, but the cache's client "
        "does not follow redirects to other nodes: most entries and counters are unreachable.",
        hint="Use RedisCacheStore or RedisRateLimitStore with "
        'OPTIONS = {"cluster_url": "redis://HOST:6379"} instead of "alias".',
        id="partstream.E008",
    )


def reads_pickles(cache: BaseCache) -> bool:
    """Whether a cache may unpickle what it reads. If that is unknown, True."""
    holder: Any = cache
    try:
        if isinstance(cache, PyMemcacheCache):
            serde = holder._options["serde"]
            dump, load = partial(serde.serialize, "key"), partial(_loaded, serde)
        elif is_redis(type(cache)):
            serializer = (
                holder._cache if isinstance(cache, RedisCache) else holder.client
            )._serializer
            dump, load = serializer.dumps, serializer.loads
        else:
            return True
    except (AttributeError, KeyError):
        return True  # Another version of the cache has its serializer elsewhere.
    try:
        carried = load(dump(_OnlyPickled()))
    except Exception:
        logger.debug("A cache's serializer does not accept objects.", exc_info=True)
        return False
    return isinstance(carried, _OnlyPickled)


def _loaded(serde: Any, written: tuple[Any, int]) -> Any:
    return serde.deserialize("key", *written)


def _try_bytes(alias: str) -> str:
    """What is wrong with the cache; empty if it returns bytes unchanged, or may be down."""
    cache = caches[alias]
    if is_redis(type(cache)) and is_cluster(_client_of(cache)):
        return _CLUSTER
    key = f"partstream.check.{token_hex(8)}"
    try:
        cache.set(key, _BYTES, 10)
        found = cache.get(key)
        cache.delete(key)
    except Exception as error:
        if fault_of(error) is not Fault.CALL:
            raise
        return f"{type(error).__name__}: {error}"
    # None: it is configured to ignore errors, or is full.
    if found is None or (type(found) is bytes and found == _BYTES):
        return ""
    return f"it returned {found!r:.80} for {_BYTES!r}."


def _client_of(cache: Any) -> Any:
    """The redis-py client that a cache writes with."""
    holder = cache._cache if isinstance(cache, RedisCache) else cache.client
    return holder.get_client(write=True)
