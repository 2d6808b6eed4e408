from __future__ import annotations

import json
import os
import random
import time

import pytest

from partstream.exceptions import Misuse
from tests.support.concurrency import in_threads
from tests.support.contracts.rate_limit_store import RateLimitStoreContract, window
from tests.support.contracts.redis_faults import BearsFaultsOfRedis
from tests.support.processes import run_python
from tests.support.stores import patient

pytest.importorskip("django_redis", reason="the extra redis is not installed")

from django.core.cache import caches
from django_redis import get_redis_connection
from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.crc import key_slot

from partstream.backends.rate_limits.redis import MICROSECONDS, RedisRateLimitStore

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def django_redis(url, **options):
    """The settings of a cache that uses this server."""
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": options}


class TestRedisRateLimitStore(BearsFaultsOfRedis, RateLimitStoreContract):
    shared = True
    exact = True
    # A hundred take ten seconds.
    rounds = 100 if os.environ.get("CI") else 8
    name = "RedisRateLimitStore"

    @pytest.fixture(autouse=True)
    def cache(self, settings, redis_url):
        settings.CACHES = {"default": django_redis(redis_url)}

    @pytest.fixture
    def own_server(self, settings, redis_server):
        """A server of this test alone."""
        settings.CACHES = {"default": django_redis(redis_server.url)}
        return redis_server

    def make(self, **options):
        store = RedisRateLimitStore(**options)
        return patient(store) if self.patient and store._redis.is_own_pool else store

    def cache_at(self, url):
        # The store has timeouts of its own.
        return django_redis(url)

    def pass_time(self, seconds):
        time.sleep(seconds)

    def test_probe__leaves_a_counter_for_a_second(self, own_server):
        self.make().probe()
        client = get_redis_connection()
        [name] = client.keys("*partstream.probe.*") or [None]
        if name is not None:  # A busy machine takes longer than that.
            assert client.pttl(name) <= 1001

    def now(self):
        """The server's time."""
        seconds, microseconds = get_redis_connection().time()
        return seconds * MICROSECONDS + microseconds

    def list_of(self, asked):
        """What the server keeps of a window, the newest first."""
        return [int(at) for at in get_redis_connection().lrange(self.raw(asked), 0, -1)]

    def plant(self, asked, times):
        """Let these be the admissions in a window, the newest first."""
        client = get_redis_connection()
        client.rpush(self.raw(asked), *times)
        client.pexpire(self.raw(asked), 60_000)

    def raw(self, asked):
        return caches["default"].make_key(asked.key)

    # Sliding windows

    def test_take__no_window_has_more_than_its_limit_wherever_it_begins(self, store, key):
        chance = random.Random(0)
        windows = [window(key, 20, 1, "burst"), window(key, 50, 2)]
        admitted = []
        end = time.monotonic() + 2.5
        while (began := time.monotonic()) < end:
            if store.take(windows).admitted:
                admitted.append((began, time.monotonic()))
            if chance.random() < 0.1:
                time.sleep(chance.random() / 10)
        assert len(admitted) >= 40
        for _, limit, seconds in windows:
            # The server took each at some time between the two.
            for (began, _), (_, ended) in zip(admitted, admitted[limit:], strict=False):
                assert ended - began >= seconds

    def test_take__waiting_a_little_less_than_told_denies(self, store, key):
        windows = [window(key, 1, 1)]
        store.take(windows)
        # By the server's own times, as a wait would not be as exact.
        (first,) = self.list_of(windows[0])
        denied = store.take(windows)
        asked = self.now()
        assert not denied.admitted
        assert 1 - (asked - first) / MICROSECONDS <= denied.retry_after <= 1
        decision = denied
        while asked < first + MICROSECONDS:
            decision = store.take(windows)
            asked = self.now()
            assert not decision.admitted or asked >= first + MICROSECONDS
        assert decision.admitted or store.take(windows).admitted
        assert self.list_of(windows[0])[0] >= first + MICROSECONDS

    @pytest.mark.parametrize("seed", range(20))
    def test_take__counts_what_is_in_the_window(self, store, key, seed):
        chance = random.Random(seed)
        asked = window(key, 1000, 60)
        inside = chance.choice([0, 1, 99, 100, 101, chance.randrange(700)])
        outside = chance.choice([0, 1, 99, 100, 101, 200, chance.randrange(700)])
        now = self.now()
        times = [now - 1000 * number for number in range(inside)]
        times += [now - 60 * MICROSECONDS - 1000 * number for number in range(outside)]
        if times:
            self.plant(asked, times)
        decision = store.take([asked])
        assert decision.remaining == (1000 - inside - 1,)
        assert self.list_of(asked)[1:] == times[:inside]
        oldest = times[inside - 1] if inside else self.list_of(asked)[0]
        assert 0 <= oldest / MICROSECONDS + 60 - decision.resets[0] - now / MICROSECONDS < 1

    def test_take__of_a_lowered_limit_waits_for_as_many_as_are_above_it(self, store, key):
        now = self.now()
        self.plant(window(key, 5, 60), [now - number * MICROSECONDS for number in range(1, 6)])
        denied = store.take([window(key, 2, 60)])
        assert not denied.admitted
        # The second of five has to leave.
        assert 57 < denied.retry_after <= 58

    def test_list__is_of_whole_microseconds(self, store, key):
        asked = window(key, 3, 60)
        began = self.now()
        store.take([asked])
        (raw,) = get_redis_connection().lrange(self.raw(asked), 0, -1)
        assert raw.isdigit()
        assert began <= int(raw) <= self.now()

    # A clock that goes back

    def test_clock__that_went_back_by_more_than_the_window_begins_anew(self, store, key):
        asked = window(key, 3, 10)
        ahead = self.now() + 100 * MICROSECONDS
        self.plant(asked, [ahead, ahead - MICROSECONDS, ahead - 2 * MICROSECONDS])
        assert store.take([asked]).remaining == (2,)
        assert len(self.list_of(asked)) == 1

    def test_clock__that_went_back_a_little_goes_on_counting(self, store, key):
        asked = window(key, 3, 10)
        ahead = self.now() + 5 * MICROSECONDS
        self.plant(asked, [ahead, ahead - MICROSECONDS])
        assert store.take([asked]).remaining == (0,)
        denied = store.take([asked])
        assert not denied.admitted
        assert 13 < denied.retry_after <= 14

    # What is in Redis

    def test_keys__are_of_the_cache_and_end_with_their_window(self, settings, own_server, key):
        settings.CACHES["default"].update(KEY_PREFIX="shop", VERSION=3)
        settings.CACHES = dict(settings.CACHES)
        windows = [window(key, 9, 10, "burst"), window(key, 9, 60)]
        self.make().take(windows)
        client = get_redis_connection()
        assert sorted(client.keys("*")) == [f"shop:3:{asked.key}".encode() for asked in windows]
        for asked in windows:
            left = client.pttl(f"shop:3:{asked.key}")
            assert asked.seconds * 1000 - 2000 < left <= asked.seconds * 1000 + 1

    def test_keys__are_kept_on_and_have_their_time_anew(self, store, key):
        asked = window(key, 9, 60)
        store.take([asked])
        client = get_redis_connection()
        client.pexpire(self.raw(asked), 5000)
        store.take([asked])
        assert client.pttl(self.raw(asked)) > 50_000

    def test_keys__of_one_request_are_in_one_slot(self, settings, redis_url, key):
        windows = [window(key, 9, 10, "burst"), window(key, 9, 60)]
        for prefix in ("", "shop", "a}b", "{a}"):
            settings.CACHES = {"default": {**django_redis(redis_url), "KEY_PREFIX": prefix}}
            assert len({key_slot(self.raw(asked).encode()) for asked in windows}) == 1

    def test_keys__are_not_made_for_what_is_denied(self, own_server, key):
        full, other = window(key, 1, 60, "burst"), window(key, 9, 60)
        store = self.make()
        store.take([full])
        store.take([full, other])
        assert len(get_redis_connection().keys("*")) == 1

    # Round trips

    @pytest.fixture
    def counts(self, own_server):
        """How often the server read from its connections, and its commands."""
        client = get_redis_connection()

        def counts():
            reads = client.info("stats")["total_reads_processed"]
            stats = client.info("commandstats")
            return reads, {
                name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()
            }

        return counts

    def test_take__is_one_round_trip(self, counts, key):
        store = self.make()
        windows = [window(key, 9, 10, "burst"), window(key, 9, 60)]
        store.take(windows)
        reads, before = counts()
        store.take(windows)
        later, after = counts()
        assert later - reads == 3  # INFO is asked twice between the two figures.
        assert after["evalsha"] - before["evalsha"] == 1

    def test_connect__asks_nothing_that_is_not_needed(self, counts, key):
        first, second = self.make(), self.make()
        first.take([window(key, 9, 10)])
        reads, before = counts()
        second.take([window(f"{key}:other", 9, 10)])
        later, after = counts()
        # Servers before 7.2 do not count CLIENT SETINFO, which they do not know.
        assert later - reads == 3
        new = {name for name, calls in after.items() if calls > before.get(name, 0)}
        assert new == {"evalsha", "time", "llen", "lpush", "pexpire", "info"}

    def test_script__that_the_server_forgot_costs_one_more_round_trip(self, counts, key, lines):
        store = self.make()
        windows = [window(key, 9, 60)]
        store.take(windows)
        get_redis_connection().script_flush()
        _, before = counts()
        assert store.take(windows).remaining == (7,)
        _, after = counts()
        assert after["evalsha"] - before["evalsha"] == 1
        assert after["eval"] - before["eval"] == 1
        assert store.take(windows).remaining == (6,)
        assert counts()[1]["eval"] == after["eval"]
        assert store.undecided == 0
        assert lines() == []

    # Faults

    def test_fault__the_store_is_back_soon_by_default(self, redis_server, between, key):
        store = self.make()
        redis_server.kill()
        assert self.timed(store, key)[0] is None
        assert self.timed(store, key)[0] is None
        assert store.undecided == 2
        redis_server.start()
        assert self.recovers(store, key)

    def test_fault__a_key_of_another_type_is_one(self, store, key, lines):
        asked = window(key, 9, 60)
        get_redis_connection().set(self.raw(asked), "text", ex=60)
        assert store.take([asked]) is None
        assert len(lines()) == 1

    # Processes

    def test_take__of_640_requests_in_4_processes_the_limit_is_admitted(
        self, redis_url, key, tmp_path
    ):
        code = """
            import json, os
            from threading import Barrier, Thread
            from django.conf import settings
            settings.CACHES = json.loads(os.environ["CACHES"])
            from django_redis import get_redis_connection
            from partstream.backends.rate_limits.base import Window
            from partstream.backends.rate_limits.redis import RedisRateLimitStore
            store, key, admitted = RedisRateLimitStore(), os.environ["KEY"], []
            store._redis.pool.connection_kwargs.update(socket_timeout=60, socket_connect_timeout=60)
            together, client = Barrier(17), get_redis_connection()
            def ask():
                for number in range(5):
                    name = f"partstream:%s:{{{key}:{number}}}"
                    windows = [Window(name % "burst", 10, 60), Window(name % "rate", 100, 600)]
                    together.wait(30)
                    admitted.extend(
                        number for _ in range(10) if store.take(windows).admitted
                    )
                    together.wait(30)
            threads = [Thread(target=ask) for _ in range(16)]
            for thread in threads:
                thread.start()
            for number in range(5):
                # The last of the four processes lets all of them begin.
                ready, begin = f"{key}:ready:{number}", f"{key}:begin:{number}"
                if client.incr(ready) == 4:
                    client.rpush(begin, *range(4))
                    client.expire(ready, 60)
                    client.expire(begin, 60)
                client.blpop(begin, 30)
                together.wait(30)
                together.wait(30)
            for thread in threads:
                thread.join(30)
            print(json.dumps(admitted), store.undecided)
        """
        lines = "\n".join(line[12:] for line in code.splitlines())
        environment = {
            "CACHES": json.dumps({"default": django_redis(redis_url)}),
            "KEY": key,
        }
        printed = in_threads(4, lambda number: run_python(lines, tmp_path, **environment))
        admitted = []
        for line in printed:
            numbers, undecided = line.rsplit(maxsplit=1)
            assert undecided == "0"
            admitted += json.loads(numbers)
        assert [admitted.count(number) for number in range(5)] == [10] * 5

    # Connections

    @pytest.mark.parametrize("timeout", [0, -1, 0.26, 5, float("nan"), None, "0.1", True])
    def test_timeout__that_is_out_of_bounds_is_misuse(self, timeout):
        with pytest.raises(Misuse, match=r"Write seconds above 0, up to 0\.25, for example 0\.2"):
            self.make(timeout=timeout)

    @pytest.mark.parametrize("kind", [ConnectionPool, BlockingConnectionPool])
    def test_connections__are_of_the_cache_but_wait_for_nothing(self, settings, kind):
        self.patient = False
        path = f"{kind.__module__}.{kind.__name__}"
        settings.CACHES = {
            "default": django_redis(
                f"rediss://ada:secret@redis-{kind.__name__.lower()}.example:6380/7?ssl_cert_reqs=none",
                CONNECTION_POOL_CLASS=path,
                CONNECTION_POOL_KWARGS={"retry_on_timeout": True, "health_check_interval": 9},
                SOCKET_TIMEOUT=9,
                SOCKET_CONNECT_TIMEOUT=9,
            )
        }
        store = self.make(timeout=0.2)
        theirs = get_redis_connection().connection_pool
        assert type(theirs) is kind
        assert theirs.connection_kwargs["socket_timeout"] == 9
        connection = store._redis.pool.make_connection()
        assert type(connection) is theirs.connection_class
        assert (connection.host, connection.port, connection.db) == (
            f"redis-{kind.__name__.lower()}.example",
            6380,
            7,
        )
        assert (connection.username, connection.password) == ("ada", "secret")
        assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.2, 0.2)
        assert connection.retry.get_retries() == 0
        assert connection.health_check_interval == 0
        assert store.check() == []

    def test_connections__of_more_threads_than_the_cache_may_have(self, settings, redis_url, key):
        settings.CACHES = {
            "default": django_redis(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1})
        }
        store = self.make()
        asked = window(key, 1000, 60)
        admitted = in_threads(
            20, lambda number: all(store.take([asked]).admitted for _ in range(20))
        )
        assert admitted == [True] * 20

    @pytest.mark.parametrize(
        ("options", "ids"),
        [
            ({}, ["partstream.W010"]),
            ({"SOCKET_TIMEOUT": 0.1}, ["partstream.W010"]),
            ({"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 0.1}, ["partstream.W010"]),
            ({"SOCKET_TIMEOUT": 0.25, "SOCKET_CONNECT_TIMEOUT": 0.1}, []),
        ],
    )
    def test_connections__of_a_sentinel_are_taken_as_they_are(
        self, settings, request, options, ids
    ):
        settings.CACHES = {
            "default": django_redis(
                # django-redis keeps a pool for each URL.
                f"redis://primary{request.node.callspec.indices['ids']}/0",
                CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
                CLIENT_CLASS="django_redis.client.SentinelClient",
                SENTINELS=[("127.0.0.1", 1)],
                **options,
            )
        }
        store = self.make()
        assert store._redis.pool is get_redis_connection().connection_pool
        messages = store.check()
        assert [message.id for message in messages] == ids
        for message in messages:
            assert "come from a SentinelConnectionPool, which is used unchanged" in message.msg

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
        settings.CACHES = {"default": LOCMEM, "limits": configured}
        with pytest.raises(Misuse) as caught:
            self.make(alias="limits")
        assert "alias is 'limits', which is not a cache of django-redis" in str(caught.value)
        assert "Write CACHES = {'limits': {" in str(caught.value)
        assert "or use DjangoCacheRateLimitStore." in str(caught.value)

    def test_alias__that_is_unknown_is_misuse(self):
        with pytest.raises(
            Misuse, match="alias is 'nothing', which is not a cache of django-redis"
        ):
            self.make(alias="nothing")

    def test_alias__of_a_server_that_is_not_there_is_no_misuse(self, settings, tmp_path, key):
        settings.CACHES = {"limits": django_redis(f"unix://{tmp_path}/nobody"), "default": LOCMEM}
        store = self.make(alias="limits")
        assert store.take([window(key, 9, 60)]) is None
        assert store.undecided == 1
