"""`RedisCacheStore` over a Redis Cluster of three real nodes."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from partstream.exceptions import Misuse
from tests.support import marks
from tests.support.concurrency import in_threads_with_lateness, wait_until
from tests.support.contracts.cache_store import BODY, MAX_SIZE, TTL, KeepingCacheStoreContract
from tests.support.redis_cluster import NODES, SLOTS
from tests.support.stores import connected, patient, probed

pytest.importorskip("django_redis", reason="the extra redis is not installed")

from partstream.backends.caches.redis import RedisCacheStore

#: Seconds that a node that is down may add to the first calls.
FIRST = 0.3


class TestRedisCacheStoreOverCluster(KeepingCacheStoreContract):
    shared = True
    atomic_add = True
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

    def make(self, *secrets, max_size=MAX_SIZE, **options):
        options = {"cluster_url": self.url, **options}
        store = RedisCacheStore(keys=self.ring(*secrets), max_size=max_size, **options)
        return patient(store) if self.patient else store

    def spread(self, cluster, key):
        """A key on each of the nodes."""
        names = {}
        for number in range(1000):
            names.setdefault(cluster.node_of(f"{key}:{number}").port, f"{key}:{number}")
        assert len(names) == 3
        return [names[node.port] for node in cluster.nodes]

    def wait_until_it_keeps(self, store, names):
        wait_until(
            lambda: (
                store.set_many(dict.fromkeys(names, BODY), TTL)
                and store.get_many(names) == dict.fromkeys(names, BODY)
            )
        )

    # Slots

    def test_store__keeps_on_all_nodes_at_once(self, cluster, store, key):
        names = self.spread(cluster, key)
        entries = {name: name.encode() for name in names}
        assert store.set_many(entries, TTL) is True
        assert store.get_many([*names, f"{key}:none"]) == entries
        for name, node in zip(names, cluster.nodes, strict=True):
            assert node.ask("GET", name).endswith(name.encode())
            assert 0 < node.ask("TTL", name) <= TTL

    def test_get_many__is_one_round_trip_a_node(self, own, key):
        store = self.make()
        entries = {f"{key}:{number}": BODY for number in range(60)}
        self.wait_until_it_keeps(store, entries)

        def reads():
            return [node.ask("INFO", "stats")["total_reads_processed"] for node in own.nodes]

        idle = [later - before for before, later in zip(reads(), reads(), strict=True)]
        before = reads()
        assert store.get_many(entries) == entries
        assert [
            later - earlier - alone
            for earlier, later, alone in zip(before, reads(), idle, strict=True)
        ] == [1, 1, 1]

    def test_stranger__of_another_type_of_redis_is_a_miss(self, cluster, store, key):
        names = self.spread(cluster, key)
        cluster.nodes[0].ask("RPUSH", names[0], "psf")
        others = dict.fromkeys(names[1:], BODY)
        store.set_many(others, TTL)
        try:
            assert store.get(names[0]) is None
            assert store.get_many(names) == others
        finally:
            cluster.nodes[0].ask("DEL", names[0])

    def move(self, cluster, name):
        """Let the slot of this key be another node's, as when a cluster is resized."""
        old = cluster.node_of(name)
        new = next(node for node in cluster.nodes if node is not old)
        self.give(name, new, [new, old, *cluster.nodes])
        return new

    def give(self, name, owner, nodes):
        """Tell these nodes that the slot of this key is that one's."""
        from redis.crc import key_slot

        slot, identifier = key_slot(name.encode()), owner.ask("CLUSTER", "MYID").decode()
        for node in nodes:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", identifier)

    def test_slot__that_has_moved_is_followed(self, own, key, lines):
        store = self.make()
        names = self.spread(own, key)
        # Known to the store, and empty: a slot with keys in it cannot be given away at once.
        assert store.get_many(names) == {}
        new = self.move(own, names[0])
        assert store.set_many(dict.fromkeys(names, BODY), TTL) is True
        assert new.ask("EXISTS", names[0]) == 1
        assert store.get_many(names) == dict.fromkeys(names, BODY)
        store.delete(names[1])
        self.move(own, names[1])
        assert store.get(names[1]) is None
        assert store.add(names[1], b"owner", TTL) is True
        assert store.get(names[1]) == b"owner"
        store.delete(names[1])
        assert store.get(names[1]) is None
        assert lines() == []

    # Faults

    def ask_everything(self, store, names):
        store.set_many(dict.fromkeys(names, BODY), TTL)
        assert store.get_many(names) == {}
        assert store.get(names[0]) is None
        assert store.add(names[0], b"owner", TTL) is True
        store.touch(names[0], TTL)
        store.delete(names[0])

    def test_fault__a_cluster_that_is_down_at_first_is_tried_again(self, own, key, lines):
        for node in own.nodes:
            node.kill()
        store = self.make(retry_after=0.05)
        names = self.spread(own, key)
        self.ask_everything(store, names)
        assert len(lines()) == 1
        assert lines()[0].startswith("RedisCacheStore failed, and is not used")
        for node in own.nodes:
            node.start()
        self.wait_until_it_keeps(store, names)
        assert lines()[-1] == "RedisCacheStore answers again."

    def test_fault__a_cluster_is_found_by_another_node_than_that_of_the_url(self, own, key, lines):
        store = self.make(retry_after=0.05)
        first, second, third = self.spread(own, key)
        self.wait_until_it_keeps(store, [first, second, third])
        own.nodes[0].kill()
        wait_until(lambda: store.get(first) is None)
        # What the others have is there, though the URL leads nowhere.
        self.wait_until_it_keeps(store, [second, third])
        own.nodes[0].start()
        self.wait_until_it_keeps(store, [first, second, third])

    def test_fault__another_node_that_has_the_slots_of_a_dead_one_is_found(self, own, key):
        store = self.make(retry_after=0.05)
        names = self.spread(own, key)
        self.wait_until_it_keeps(store, names)
        dead, heir, other = own.nodes
        dead.kill()
        wait_until(lambda: store.get(names[0]) is None)
        self.give(names[0], heir, [heir, other])
        self.wait_until_it_keeps(store, names)
        assert heir.ask("EXISTS", names[0]) == 1

    @marks.timed
    @pytest.mark.parametrize("hanging", [1, 3])
    def test_fault__nodes_that_hang_hold_nobody_for_long(self, own, key, hanging):
        self.patient = False
        store = self.make(retry_after=60)
        names = self.spread(own, key)
        self.wait_until_it_keeps(store, names)

        def timed(number):
            began = time.monotonic()
            store.get_many(names)
            return time.monotonic() - began

        with ExitStack() as stack:
            for node in own.nodes[:hanging]:
                stack.enter_context(node.paused())
            seconds, late = in_threads_with_lateness(8, timed)
            assert max(seconds) <= FIRST + late
            assert sorted(timed(number) for number in range(51))[25] <= 0.005
            store = self.make(retry_after=60)  # Not connected yet.
            seconds, late = in_threads_with_lateness(8, timed)
            assert max(seconds) <= FIRST + late

    def test_probe__fails_each_time_while_one_node_is_down(self, own):
        store = self.make()
        wait_until(lambda: probed(store) is None)
        own.nodes[1].kill()
        # The entry of most probes is on one of the others.
        assert None not in [probed(store) for _ in range(10)]
        own.nodes[1].start()
        wait_until(lambda: probed(store) is None)

    def test_probe__forgets_a_node_whose_slots_another_has_now(self, own):
        store = self.make()
        wait_until(lambda: probed(store) is None)
        first, dead, heir = own.nodes
        dead.kill()
        slots = range(SLOTS // NODES, SLOTS * 2 // NODES)
        for node in (first, heir):
            node.ask("CLUSTER", "DELSLOTS", *slots)
        heir.ask("CLUSTER", "ADDSLOTS", *slots)
        wait_until(lambda: own.is_known_to(first) and own.is_known_to(heir))
        wait_until(lambda: probed(store) is None)

    # Options

    def test_options__alias_and_cluster_url_are_misuse(self):
        with pytest.raises(Misuse, match="has both alias='default' and a cluster_url"):
            self.make(alias="default")

    @pytest.mark.parametrize(
        "url",
        [
            "127.0.0.1:7000",
            "http://127.0.0.1:7000",
            "unix:///tmp/redis.sock",
            "redis://127.0.0.1:7000/3",
            "redis://",
            7000,
            ["redis://127.0.0.1:7000"],
        ],
    )
    def test_options__a_url_of_no_cluster_is_misuse(self, url):
        with pytest.raises(Misuse, match="cache store's cluster_url cannot be used"):
            self.make(cluster_url=url)

    @pytest.mark.parametrize(
        ("query", "timeouts"),
        [("", (0.25, 0.25)), ("?socket_timeout=0.5", (0.5, 0.25))],
    )
    def test_options__timeouts_are_those_of_the_url(self, cluster, query, timeouts):
        self.patient = False
        store = self.make(cluster_url=f"{cluster.url}{query}")
        client = connected(store)
        connection = client.get_redis_connection(
            client.get_nodes()[0]
        ).connection_pool.make_connection()
        assert (connection.socket_timeout, connection.socket_connect_timeout) == timeouts

    def test_options__another_node_has_the_same_user_and_parameters(self):
        from partstream.backends.redis_cluster import _at

        url = "rediss://ada:se%40cret@first.example:7000?ssl_cert_reqs=none"
        for host, place in (("10.0.0.7", "10.0.0.7"), ("::1", "[::1]")):
            assert _at(url, host, 7001) == (
                f"rediss://ada:se%40cret@{place}:7001?ssl_cert_reqs=none"
            )
