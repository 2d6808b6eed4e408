"""`RedisRateLimitStore` over a Redis Cluster of three real nodes."""

from __future__ import annotations

import os
import time

import pytest

from partstream.exceptions import Misuse
from tests.support import marks
from tests.support.concurrency import in_threads_with_lateness, wait_until
from tests.support.contracts.rate_limit_store import RateLimitStoreContract, window
from tests.support.stores import connected, patient, probed

pytest.importorskip("django_redis", reason="the extra redis is not installed")

from partstream.backends.rate_limits.redis import RedisRateLimitStore

#: Seconds that a node that is down may add to the first calls.
FIRST = 0.3


class TestRedisRateLimitStoreOverCluster(RateLimitStoreContract):
    shared = True
    exact = True
    # A hundred take ten seconds.
    rounds = 100 if os.environ.get("CI") else 8
    patient = True

    @pytest.fixture(autouse=True)
    def cluster(self, shared_cluster):
        self.url = shared_cluster.url
        return shared_cluster

    @pytest.fixture
    def own(self, own_cluster):
        """A cluster of this test alone."""
        self.url = own_cluster.url
        return own_cluster

    def make(self, **options):
        store = RedisRateLimitStore(**{"cluster_url": self.url, **options})
        return patient(store) if self.patient else store

    def pass_time(self, seconds):
        time.sleep(seconds)

    def clients(self, cluster, key):
        """A client on each of the nodes."""
        found = {}
        for number in range(1000):
            asked = window(f"{key}:{number}", 2, 60)
            found.setdefault(cluster.node_of(asked.key).port, f"{key}:{number}")
        assert len(found) == 3
        return list(found.values())

    def test_take__counts_on_all_nodes(self, cluster, store, key):
        for client in self.clients(cluster, key):
            windows = [window(client, 2, 60, "burst"), window(client, 5, 600)]
            node = cluster.node_of(windows[0].key)
            decisions = [store.take(windows) for _ in range(3)]
            assert [decision.admitted for decision in decisions] == [True, True, False]
            assert [node.ask("LLEN", asked.key) for asked in windows] == [2, 2]

    def test_script__that_a_node_forgot_is_sent_again(self, own, key, lines):
        store = self.make()
        clients = self.clients(own, key)
        for left in (1, 0):
            for client in clients:
                assert store.take([window(client, 2, 60)]).remaining == (left,)
            for node in own.nodes:
                node.ask("SCRIPT", "FLUSH")
        assert store.undecided == 0
        assert lines() == []

    def test_fault__a_cluster_that_is_down_at_first_is_tried_again(self, own, key, lines):
        for node in own.nodes:
            node.kill()
        store = self.make(retry_after=0.05)
        assert store.take([window(key, 9, 60)]) is None
        assert len(lines()) == 1
        for node in own.nodes:
            node.start()
        wait_until(lambda: store.take([window(key, 9, 60)]))
        assert lines()[-1] == "RedisRateLimitStore answers again."

    @marks.timed
    def test_fault__a_node_that_hangs_holds_nobody_for_long(self, own, key):
        self.patient = False
        store = self.make(retry_after=60)
        wait_until(lambda: store.take([window(key, 99, 60)]))

        def timed(number):
            began = time.monotonic()
            assert store.take([window(key, 99, 60)]) is None
            return time.monotonic() - began

        with own.node_of(window(key, 99, 60).key).paused():
            seconds, late = in_threads_with_lateness(8, timed)
            assert max(seconds) <= FIRST + late
            assert sorted(timed(number) for number in range(51))[25] <= 0.005

    def test_probe__fails_each_time_while_one_node_is_down(self, own):
        store = self.make()
        wait_until(lambda: probed(store) is None)
        own.nodes[1].kill()
        # The counter of most probes is on one of the others.
        assert None not in [probed(store) for _ in range(10)]
        own.nodes[1].start()
        wait_until(lambda: probed(store) is None)

    def test_options__alias_and_cluster_url_are_misuse(self):
        with pytest.raises(Misuse, match="has both alias='default' and a cluster_url"):
            self.make(alias="default")

    def test_options__the_timeout_is_that_of_the_store(self, cluster):
        self.patient = False
        store = self.make(cluster_url=f"{cluster.url}?socket_timeout=9", timeout=0.1)
        client = connected(store)
        pool = client.get_redis_connection(client.get_nodes()[0]).connection_pool
        connection = pool.make_connection()
        assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.1, 0.1)
