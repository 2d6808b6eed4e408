from __future__ import annotations

import gc
import json
import pickle
import time
from threading import Event, Thread
from uuid import uuid4

import pytest

from partstream.exceptions import Misuse
from tests.support.concurrency import in_threads, wait_until
from tests.support.contracts.cache_store import BODY, MAX_SIZE, TTL, KeepingCacheStoreContract
from tests.support.processes import run_python
from tests.support.stores import patient

pytest.importorskip("django_redis", reason="the extra redis is not installed")

from django_redis import get_redis_connection
from redis.connection import BlockingConnectionPool, ConnectionPool

from partstream.backends.caches.redis import RedisCacheStore

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
FAILED = "RedisCacheStore failed, and is not used until it answers again; it is tried every"
ANSWERS = "RedisCacheStore answers again."

booms = []


def explode():
    booms.append("boom")


class Bomb:
    """Whoever unpickles it calls `explode`."""

    def __reduce__(self):
        return explode, ()


def django_redis(url, **options):
    """The settings of a cache that uses this server."""
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": options}


class TestRedisCacheStore(KeepingCacheStoreContract):
    shared = True
    atomic_add = True
    #: Whether a test is not about a server that hangs.
    patient = True

    @pytest.fixture(autouse=True)
    def cache(self, settings, redis_url):
        settings.CACHES = {"default": django_redis(redis_url)}

    @pytest.fixture
    def own_server(self, settings, redis_server):
        """A server of this test alone, that the cache uses."""
        settings.CACHES = {"default": django_redis(redis_server.url)}
        return redis_server

    @pytest.fixture
    def failing_server(self, settings, redis_server):
        """The same, and nobody waits for it for long: not for a busy machine either."""
        self.patient = False
        options = {"SOCKET_TIMEOUT": 0.1, "SOCKET_CONNECT_TIMEOUT": 0.1}
        settings.CACHES = {"default": django_redis(redis_server.url, **options)}
        return redis_server

    def make(self, *secrets, max_size=MAX_SIZE, **options):
        store = RedisCacheStore(keys=self.ring(*secrets), max_size=max_size, **options)
        return patient(store) if self.patient else store

    def test_store__closes_its_connections_when_nothing_needs_it(self, key):
        store = self.make()
        assert store.get(key) is None
        [connection] = store._redis.pool._available_connections
        socket = connection._sock
        assert socket.fileno() >= 0
        del store
        gc.collect()
        assert socket.fileno() == -1

    # What is in Redis

    def test_store__goes_by_the_prefix_and_version_of_the_cache(self, settings, own_server, key):
        settings.CACHES["default"].update(KEY_PREFIX="shop", VERSION=3)
        settings.CACHES = dict(settings.CACHES)
        store = self.make()
        store.set_many({key: BODY}, TTL)
        assert store.get(key) == BODY
        assert get_redis_connection().keys("*") == [f"shop:3:{key}".encode()]

    def test_store__keeps_nothing_for_ever(self, own_server, key):
        store = self.make()
        store.set_many({f"{key}:one": BODY, f"{key}:two": BODY}, TTL)
        store.add(f"{key}:lock", b"owner", TTL)
        client = get_redis_connection()
        assert len(client.keys("*")) == 3
        assert all(0 < client.ttl(name) <= TTL for name in client.keys("*"))

    def test_store__passes_serializer_and_compressor_by(self, settings, redis_url, store, key):
        store.set_many({key: BODY}, TTL)
        settings.CACHES = {
            "default": django_redis(
                redis_url,
                SERIALIZER="django_redis.serializers.json.JSONSerializer",
                COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
            )
        }
        assert self.make().get(key) == BODY
        assert self.entry(store, key).endswith(BODY)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle__is_a_miss_and_never_runs(self, store, key, lines, protocol):
        bomb = pickle.dumps(Bomb(), protocol)
        for entry in (bomb, b"psf\x01s" + bomb, b"psf\x01s" + bytes(32) + bomb):
            self.plant(store, key, entry)
            assert self.refuses(store, key, lines)
            assert store.add(key, b"owner", TTL) is False
        assert booms == []
        pickle.loads(bomb)
        assert booms.pop() == "boom"

    def test_stranger__of_another_type_of_redis_is_a_miss(self, store, key):
        name = store._raw_key(key)
        get_redis_connection().rpush(name, "psf")
        try:
            assert store.get(key) is None
        finally:
            get_redis_connection().delete(name)

    # Round trips

    @pytest.fixture
    def cost(self, own_server):
        """How often the server reads from its connections during a call, and its commands."""
        client = get_redis_connection()

        def counts():
            reads = client.info("stats")["total_reads_processed"]
            stats = client.info("commandstats")
            return reads, {
                name.removeprefix("cmdstat_"): entry["calls"]
                for name, entry in stats.items()
                if not name.startswith("cmdstat_info")
            }

        def cost(function):
            function()  # The connection is made, and the client has introduced itself.
            reads, commands = counts()
            function()
            later_reads, later_commands = counts()
            new = {
                name: calls - commands.get(name, 0)
                for name, calls in later_commands.items()
                if calls > commands.get(name, 0)
            }
            # INFO is asked twice between the two figures.
            return later_reads - reads - 2, new

        return cost

    def test_get__is_one_round_trip(self, cost, key):
        store = self.make()
        assert cost(lambda: store.get(key)) == (1, {"mget": 1})

    def test_get_many__is_one_round_trip(self, cost, key):
        store = self.make()
        names = [f"{key}:{number}" for number in range(20)]
        store.set_many(dict.fromkeys(names, BODY), TTL)
        assert cost(lambda: store.get_many(names)) == (1, {"mget": 1})
        assert cost(lambda: store.get_many([])) == (0, {})

    def test_set_many__is_one_round_trip(self, cost, key):
        store = self.make()
        entries = {f"{key}:{number}": BODY for number in range(20)}
        assert cost(lambda: store.set_many(entries, TTL)) == (1, {"set": 20})
        assert cost(lambda: store.set_many({}, TTL)) == (0, {})

    def test_add__touch_and_delete_are_one_round_trip_each(self, cost, key):
        store = self.make()
        assert cost(lambda: store.add(key, b"owner", TTL)) == (1, {"set": 1})
        assert cost(lambda: store.add_and_get(f"{key}:lock", b"owner", TTL, key)) == (
            1,
            {"set": 1, "mget": 1},
        )
        assert cost(lambda: store.touch(key, TTL)) == (1, {"expire": 1})
        assert cost(lambda: store.delete(key)) == (1, {"del": 1})

    # Faults

    def ask_everything(self, store, key):
        """Every use of a store whose server is not there."""
        store.set_many({key: BODY}, TTL)
        assert store.get(key) is None
        assert store.get_many([key, f"{key}:other"]) == {}
        assert store.add(key, b"owner", TTL) is True
        store.touch(key, TTL)
        store.delete(key)

    def wait_until_it_answers(self, store, key):
        deadline = time.monotonic() + 10
        while True:
            store.set_many({key: BODY}, TTL)
            if store.get(key) == BODY:
                return
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @pytest.mark.parametrize("end", ["kill", "stop"])
    def test_fault__a_server_that_is_gone_is_a_miss_until_it_is_back(
        self, failing_server, key, lines, caplog, end
    ):
        store = self.make(retry_after=0.05)
        self.wait_until_it_answers(store, key)
        caplog.clear()
        getattr(failing_server, end)()
        deadline = time.monotonic() + 0.2  # Some trials fail meanwhile.
        while time.monotonic() < deadline:
            self.ask_everything(store, key)
        assert lines() == [f"{FAILED} 0.05 s."]
        failing_server.start()
        self.wait_until_it_answers(store, key)
        # In pairs: a busy machine may have it fail once more.
        assert lines() == [f"{FAILED} 0.05 s.", ANSWERS] * (len(lines()) // 2)

    def test_fault__a_server_that_dies_under_threads_raises_nothing(
        self, failing_server, key, lines
    ):
        store = self.make(retry_after=0.05)
        done, rounds = Event(), [0] * 8

        def use(number):
            own = f"{key}:{number}"
            while not done.is_set():
                store.set_many({own: b"%d" % number}, TTL)
                assert store.get(own) in {None, b"%d" % number}
                store.add(f"{key}:lock", b"owner", TTL)
                rounds[number] += 1

        threads = [Thread(target=use, args=[number]) for number in range(8)]

        def wait_for_rounds(more):
            goals = [count + more for count in rounds]
            while any(map(int.__lt__, rounds, goals)):
                assert all(thread.is_alive() for thread in threads)
                time.sleep(0.001)

        for thread in threads:
            thread.start()
        try:
            wait_for_rounds(10)
            failing_server.kill()
            wait_for_rounds(10)
            failing_server.start()
            wait_for_rounds(10)
        finally:
            done.set()
            for thread in threads:
                thread.join(30)
        self.wait_until_it_answers(store, key)
        assert lines()[-1] == ANSWERS

    def test_fault__a_server_that_hangs_holds_one_call_for_its_timeout(
        self, failing_server, key, lines, caplog
    ):
        store = self.make()
        self.wait_until_it_answers(store, key)
        caplog.clear()
        with failing_server.paused():
            began = time.monotonic()
            assert store.get(key) is None
            assert time.monotonic() - began < 2
            began = time.monotonic()
            for _ in range(100):
                self.ask_everything(store, key)
            # 600 calls: were each to wait for its 0.1 s, they would take a minute.
            assert time.monotonic() - began < 2
        assert lines() == [f"{FAILED} 2 s."]

    def test_fault__what_a_server_answers_too_late_is_nobodys(self, failing_server, key):
        store = self.make(retry_after=1e-9)  # Each call is a trial.
        entries = {f"{key}:{number}": b"%d" % number for number in range(5)}

        def answers():
            store.set_many(entries, TTL)
            return {name: store.get(name) for name in entries} == entries

        wait_until(answers)
        with failing_server.paused():
            for name in entries:
                assert store.get(name) is None
        wait_until(lambda: store.get_many(entries) == entries)

    # Processes

    def test_fork__both_processes_go_on(self, redis_url, key, tmp_path):
        code = """
            import json, os, sys
            import django
            from django.conf import settings
            django.setup()
            settings.CACHES = json.loads(os.environ["CACHES"])
            settings.DJANGO_PARTSTREAM = {
                "CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore"
            }
            from partstream.backends.loader import get_cache_store
            store, key = get_cache_store(), os.environ["KEY"]
            store.set_many({key + ":both": b"both"}, 60)
            child = os.fork()
            name = (key + (":parent" if child else ":child")), (b"parent" if child else b"child")
            good = True
            for _ in range(100):
                store.set_many(dict([name]), 60)
                good &= store.get(name[0]) == name[1] and store.get(key + ":both") == b"both"
            if not child:
                os._exit(0 if good else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), good)
        """
        lines = "\n".join(line[12:] for line in code.splitlines())
        caches = json.dumps({"default": django_redis(redis_url)})
        assert run_python(lines, tmp_path, CACHES=caches, KEY=key) == "0 True"

    # Connections

    @pytest.mark.parametrize("kind", [ConnectionPool, BlockingConnectionPool])
    @pytest.mark.parametrize(
        ("options", "timeouts"),
        [
            ({}, (0.25, 0.25)),
            ({"SOCKET_TIMEOUT": 5}, (5, 0.25)),
            ({"SOCKET_TIMEOUT": 0.1, "SOCKET_CONNECT_TIMEOUT": 0.2}, (0.1, 0.2)),
        ],
        ids=str,
    )
    def test_connections__are_of_the_cache_with_its_timeouts(
        self, settings, kind, options, timeouts
    ):
        self.patient = False
        settings.CACHES = {
            "default": django_redis(
                # django-redis keeps a pool for each URL.
                f"rediss://ada:secret@{uuid4().hex}.example:6380/7?ssl_cert_reqs=none",
                CONNECTION_POOL_CLASS=f"{kind.__module__}.{kind.__name__}",
                CONNECTION_POOL_KWARGS={
                    "max_connections": 1,
                    "retry_on_timeout": True,
                    "decode_responses": True,
                },
                **options,
            )
        }
        store = self.make()
        theirs = get_redis_connection().connection_pool
        assert store._redis.pool is not theirs
        connection = store._redis.pool.make_connection()
        assert type(connection) is theirs.connection_class
        assert (connection.port, connection.db) == (6380, 7)
        assert (connection.username, connection.password) == ("ada", "secret")
        assert (connection.socket_timeout, connection.socket_connect_timeout) == timeouts
        assert connection.retry.get_retries() == 0
        assert connection.encoder.decode_responses is False

    def test_connections__of_more_threads_than_the_cache_may_have(self, settings, redis_url, key):
        settings.CACHES = {
            "default": django_redis(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1})
        }
        store = self.make()
        store.set_many({key: BODY}, TTL)
        asked = in_threads(20, lambda number: [store.get(key) for _ in range(20)])
        assert asked == [[BODY] * 20] * 20
        pool = store._redis.pool
        taken = [pool.get_connection() for _ in range(200)]
        assert store.get(key) == BODY
        for connection in taken:
            pool.release(connection)
        pool.disconnect()

    def test_connections__that_decode_replies_in_the_cache_do_not_here(
        self, settings, redis_url, key
    ):
        settings.CACHES = {
            "default": django_redis(
                f"{redis_url}{'&' if '?' in redis_url else '?'}client_name={key}",
                CONNECTION_POOL_KWARGS={"decode_responses": True},
            )
        }
        store = self.make()
        assert store.set_many({key: BODY}, TTL)
        assert store.get(key) == BODY

    def sentinel(self, settings, key, **kwargs):
        settings.CACHES = {
            "default": django_redis(
                f"redis://{key.replace(':', '-')}/0",
                CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
                CLIENT_CLASS="django_redis.client.SentinelClient",
                SENTINELS=[("127.0.0.1", 1)],
                CONNECTION_POOL_KWARGS=kwargs,
            )
        }
        return self.make()

    def test_connections__of_a_sentinel_are_taken_as_they_are(self, settings, key):
        store = self.sentinel(settings, key)
        assert store._redis.pool is get_redis_connection().connection_pool
        assert store.check() == []

    def test_connections__of_a_sentinel_that_decode_replies_are_an_error(self, settings, key):
        (error,) = self.sentinel(settings, key, decode_responses=True).check()
        assert error.id == "partstream.E007"
        assert "decode_responses" in error.msg

    # Aliases

    @pytest.mark.parametrize(
        "configured",
        [
            LOCMEM,
            {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://127.0.0.1:6379/0",
            },
            django_redis(
                "redis://127.0.0.1:6379/0", CLIENT_CLASS="django_redis.client.ShardClient"
            ),
        ],
        ids=["locmem", "redis", "shards"],
    )
    def test_alias__of_another_cache_is_misuse(self, settings, configured):
        settings.CACHES = {"default": LOCMEM, "fragments": configured}
        with pytest.raises(Misuse) as caught:
            self.make(alias="fragments")
        assert "alias is 'fragments', which is not a cache of django-redis" in str(caught.value)
        assert (
            'Write CACHES = {\'fragments\': {"BACKEND": "django_redis.cache.RedisCache", '
            '"LOCATION": "redis://127.0.0.1:6379/0"}}, or use DjangoCacheStore.'
        ) in str(caught.value)

    def test_alias__that_is_unknown_is_misuse(self):
        with pytest.raises(
            Misuse, match="alias is 'nothing', which is not a cache of django-redis"
        ):
            self.make(alias="nothing")

    def test_alias__of_a_server_that_is_not_there_is_no_misuse(self, settings, tmp_path, key):
        url = f"unix://{tmp_path}/{uuid4().hex[:8]}.sock"
        settings.CACHES = {"fragments": django_redis(url), "default": LOCMEM}
        self.ask_everything(self.make(alias="fragments"), key)
