"""What a store over Redis has to bear. Inherit it beside the contract, and write `cache_at`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Barrier, Thread

import pytest

from tests.support import marks
from tests.support.concurrency import PATIENCE, wait_until
from tests.support.proxies import proxy

from .rate_limit_store import window

#: Seconds that a server that is down may add to a request, beyond what a busy machine does to it.
FIRST = 0.3
#: Seconds for which a cache of these tests waits.
TIMEOUT = 0.2
#: Seconds that it may take when the store knows.
LATER = 0.005
#: Seconds after which the store counts again, when the server is back.
RECOVERY = 5


@contextmanager
def admin(server):
    """A connection that lives through what is done with it."""
    redis = pytest.importorskip("redis")
    client = redis.Redis(unix_socket_path=server.socket, single_connection_client=True)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()


@contextmanager
def killed(server, between):
    server.kill()
    yield
    server.start()


@contextmanager
def stopped(server, between):
    with server.paused():
        yield


@contextmanager
def full(server, between):
    with admin(server) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def read_only(server, between):
    """A replica of a primary that is not there."""
    with admin(server) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", 1)
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def locked(server, between):
    """With a password that the project does not know."""
    with admin(server) as client:
        client.config_set("requirepass", "nobody told the project")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


@contextmanager
def cut(server, between):
    between.cut_after = 2
    yield
    between.cut_after = None


@contextmanager
def late(server, between):
    between.delay = 0.5
    yield
    between.delay = 0


class BearsFaultsOfRedis:
    """No exception, no wait, one line, and back again."""

    #: What the log calls the store.
    name: str
    #: Whether a test is not about a server that hangs.
    patient = True
    #: Seconds that the machine took from the threads: it woke them up too late, or another ran.
    delay = 0.0

    def cache_at(self, url):
        """The settings of a cache that uses this server, and waits 0.2 s for it."""
        raise NotImplementedError

    @pytest.fixture
    def between(self, settings, redis_server):
        """A proxy before a server of this test alone, which the cache uses."""
        self.patient = False
        with proxy(redis_server.socket) as between:
            settings.CACHES = {"default": self.cache_at(between.url)}
            yield between

    def timed(self, store, key):
        began = time.monotonic()
        decision = store.take([window(key, 1000, 60, "burst"), window(key, 1000, 600)])
        return decision, time.monotonic() - began

    def timed_in_threads(self, count, store, key):
        """The results of ``count`` threads. As many others sleep, which sets `delay`.

        One computes at a time: what all of them compute, one of them may have to wait for.
        """
        together, results, late = Barrier(2 * count), [], []

        def ask():
            together.wait(PATIENCE)
            results.append(self.timed(store, key))

        def sleep():
            together.wait(PATIENCE)
            began = time.monotonic()
            time.sleep(TIMEOUT)
            late.append(time.monotonic() - began - TIMEOUT)

        threads = [Thread(target=target) for target in (ask, sleep) for _ in range(count)]
        computed = time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(results) == len(late) == count
        self.delay = max(late) + time.process_time() - computed
        return results

    def recovers(self, store, key):
        began = time.monotonic()
        while store.take([window(key, 1000, 60)]) is None:
            assert time.monotonic() - began < RECOVERY
            time.sleep(0.01)
        return True

    @marks.timed
    @pytest.mark.parametrize("fault", [killed, stopped, full, read_only, locked, cut, late])
    def test_fault__decides_nothing_and_delays_no_request_for_long(
        self, redis_server, between, key, lines, caplog, fault
    ):
        store = self.make(retry_after=0.2)
        # Connected, by two connections; 0.2 s may be too short for that on a busy machine.
        wait_until(
            lambda: all(
                decision and decision.admitted
                for decision, _ in self.timed_in_threads(2, store, key)
            )
        )
        caplog.clear()
        with fault(redis_server, between):
            asked = [store]
            for count in (16, 1):
                # A busy machine may hold up a thread, but not each time. Hundreds are too many: a
                # server that hangs refuses connections then, and no thread waits.
                for _ in range(10):
                    began = self.timed_in_threads(count, asked[-1], key)
                    assert [decision for decision, _ in began] == [None] * count
                    assert asked[-1].undecided >= 1
                    asked.append(self.make(retry_after=60))
                    if max(seconds for _, seconds in began) <= FIRST + self.delay:
                        break
                else:
                    pytest.fail(f"the first requests waited: {began}, without {self.delay} s")
            later = [self.timed(store, key) for _ in range(50)]
            assert [decision for decision, _ in later] == [None] * 50
            assert min(seconds for _, seconds in later) <= LATER
            assert sorted(seconds for _, seconds in later)[25] <= LATER
        assert lines()[0].startswith(f"{self.name} failed, and is not used until it answers")
        assert len(lines()) == len(asked) - 1
        assert self.recovers(store, key)
        assert lines()[-1] == f"{self.name} answers again."

    def test_retry_after__is_short_by_default(self):
        assert self.make().retry_after + FIRST < RECOVERY

    def test_fault__a_late_answer_goes_to_no_other_request(self, redis_server, between, key):
        store = self.make(retry_after=1e-9)  # Each call is a trial.
        limits = {f"{key}:{number}": 10 * number + 10 for number in range(5)}
        between.delay = 0.3
        for client, limit in limits.items():
            assert store.take([window(client, limit, 60)]) is None
        between.delay = 0
        assert self.recovers(store, key)
        for client, limit in limits.items():
            asked, decision = 1, store.take([window(client, limit, 60)])
            while decision is None and asked < 100:  # A busy machine is too late as well.
                asked, decision = asked + 1, store.take([window(client, limit, 60)])
            # Some were counted although their answers came too late.
            assert limit - 1 - asked <= decision.remaining[0] < limit
