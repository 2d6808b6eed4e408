"""Connections of the stores to a Redis Cluster."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from django.core.checks import CheckMessage, Error
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    AskError,
    ClusterDownError,
    RedisClusterException,
    TryAgainError,
)
from redis.retry import Retry

from partstream.exceptions import Misuse

from .cache_trials import ask
from .redis_server import DEFAULT_TIMEOUT, TIMEOUTS, Command, Connections, without_cost

#: Seconds after which no further node is asked for the locations of the slots.
_LONGEST_SEARCH = 0.03
#: After these errors another node may have the slots.
_FAILOVERS = (
    ClusterDownError,
    OSError,
    RedisClusterException,
    redis.ConnectionError,
    redis.TimeoutError,
)
_NOT_A_CLUSTER = "Cluster mode is not enabled"


class ClusterConnections(Connections):
    """Connects to a Redis Cluster through redis-py's ``RedisCluster``, which locates the slots.

    The ``RedisCluster`` is made at the first use, since that asks a node, and again after a node
    has failed, since another may have its slots then. Commands are sent to the nodes directly:
    ``RedisCluster`` would ask all nodes for the slots again before it reports a failed one, and
    sleep in between.

    Args:
        store: The store's name in error messages.
        url: The URL of any node, ``redis://`` or ``rediss://``.
        timeout: Seconds that a request waits; None: the timeout in the URL, or 0.25.

    Raises:
        Misuse: When the URL cannot be that of a cluster.
    """

    def __init__(self, store: str, url: str, timeout: float | None = None) -> None:
        self._url = _checked_url(store, url)
        waits = dict.fromkeys(TIMEOUTS, DEFAULT_TIMEOUT if timeout is None else timeout)
        if timeout is None:
            given: Any = parse_url(url)  # type: ignore[no-untyped-call]
            waits.update({name: given[name] for name in TIMEOUTS if name in given})
        else:
            self._url = _without(self._url, TIMEOUTS)
        self._options: dict[str, Any] = {
            **waits,
            **without_cost(),
            "require_full_coverage": True,
            "max_connections": 2**31,
        }
        self._lock = threading.Lock()
        #: A ``RedisCluster``; its methods have no types.
        self._cluster: Any = None
        #: Known addresses of nodes; None: the address in the URL. The first one is asked first.
        self._places: list[tuple[str, int] | None] = [None]
        self._failure: tuple[float, BaseException] | None = None

    def raw_key(self, key: str) -> str:
        """See `Connections.raw_key`."""
        return key

    def execute(self, name: str, *command: Any) -> Any:
        """See `Connections.execute`."""
        cluster = self._get()
        try:
            node = cluster.get_node_from_key(name)
            return cluster.get_redis_connection(node).execute_command(*command)
        except (AskError, TryAgainError):
            return self._redirected(cluster, command)
        except Exception as error:
            self._forget(cluster, error)
            raise

    def execute_many(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """See `Connections.execute_many`."""
        cluster = self._get()
        replies: list[Any] = [None] * len(commands)
        try:
            places: dict[str, list[int]] = {}
            nodes: dict[str, Any] = {}
            for place, (name, _) in enumerate(commands):
                node = cluster.get_node_from_key(name)
                nodes[node.name] = node
                places.setdefault(node.name, []).append(place)
            for node_name, node in nodes.items():
                pipeline = cluster.get_redis_connection(node).pipeline(transaction=False)
                for place in places[node_name]:
                    pipeline.execute_command(*commands[place][1])
                answered = pipeline.execute(raise_on_error=False)
                for place, reply in zip(places[node_name], answered, strict=True):
                    replies[place] = reply
        except Exception as error:
            self._forget(cluster, error)
            raise
        for place, reply in enumerate(replies):
            if isinstance(reply, (AskError, TryAgainError)):
                replies[place] = self._redirected(cluster, commands[place][1])
            elif isinstance(reply, Exception):
                self._forget(cluster, reply)
                raise reply
        return replies

    def read(self, names: Sequence[str]) -> list[Any]:
        """See `Connections.read`."""
        # One MGET per key: keys may be in different slots, and GET fails for keys of other types.
        replies = self.execute_many([(name, ("MGET", name)) for name in names])
        return [value for (value,) in replies]

    def ping(self) -> None:
        """See `Connections.ping`."""
        cluster = self._get()
        try:
            for node in cluster.get_primaries():
                cluster.get_redis_connection(node).execute_command("PING")
        except Exception as error:
            self._forget(cluster, error)
            raise

    def check(self) -> list[CheckMessage]:
        """See `Connections.check`."""
        if not ask(self._is_no_cluster):
            return []
        return [
            Error(
                "cluster_url names a Redis server that is not a node of a cluster: nothing can be "
                "kept or counted there.",
                hint="For a single server, add it to CACHES as a cache of django-redis, and set "
                '"alias" to its name instead of "cluster_url".',
                id="partstream.E008",
            )
        ]

    def _is_no_cluster(self) -> bool:
        try:
            self._get()
        except RedisClusterException as error:
            return _NOT_A_CLUSTER in str(error)
        return False

    # The client

    def _get(self) -> Any:
        """The client, which knows the slots; raises if no node reports them."""
        cluster = self._cluster
        if cluster is not None:
            return cluster
        asked = monotonic()
        with self._lock:
            if self._cluster is None:
                if self._failure is not None and self._failure[0] >= asked:
                    # It failed while this thread was waiting, and would fail again.
                    raise self._failure[1]
                began = monotonic()
                try:
                    self._cluster = self._make()
                    if monotonic() - began > self._options["socket_timeout"]:
                        # One node hangs, and this caller has waited long enough. The next caller
                        # gets the client.
                        raise redis.TimeoutError("A node of the cluster did not answer in time.")
                except Exception as error:
                    self._failure = monotonic(), error
                    raise
                self._failure = None
            return self._cluster

    def _make(self) -> Any:
        """Ask one node after the other, but only while they refuse quickly."""
        began = monotonic()
        while True:
            place = self._places[0]
            try:
                cluster: Any = RedisCluster(
                    url=self._url if place is None else _at(self._url, *place),
                    # It asks one node for the slots, and another one, which may be down, for the
                    # list of commands; one retry lets it ask one more.
                    retry=Retry(NoBackoff(), 1),
                    **self._options,
                )
                cluster.set_retry(Retry(NoBackoff(), 0))
            except Exception:
                # The next attempt, now or later, begins with another address.
                self._places.append(self._places.pop(0))
                if self._places[0] is None or monotonic() - began > _LONGEST_SEARCH:
                    raise
            else:
                found = [(node.host, node.port) for node in cluster.get_nodes()]
                self._places = [None, *found]
                return cluster

    def _forget(self, cluster: Any, error: Exception) -> None:
        """Locate the slots again, if the error may mean that they have moved."""
        if isinstance(error, _FAILOVERS):
            with self._lock:
                if self._cluster is cluster:
                    self._cluster = None

    def _redirected(self, cluster: Any, command: Command) -> Any:
        """The reply of the node that has the slot now, found by following redirects."""
        try:
            return cluster.execute_command(*command)
        except Exception as error:
            self._forget(cluster, error)
            raise


def _checked_url(store: str, url: object) -> str:
    problem = "it is not a string"
    if isinstance(url, str):
        try:
            options: Any = parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError as error:
            problem = str(error)
        else:
            if "path" not in options and options.get("db", 0) == 0 and options.get("host"):
                return url
            problem = "a cluster has hosts, no Unix socket, and only database 0"
    raise Misuse(
        f"The {store}'s cluster_url cannot be used: {problem}. Write the URL of any node of the "
        'cluster, for example "redis://redis-1.example.com:6379".'
    )


def _at(url: str, host: str, port: int) -> str:
    """The same URL with another host and port."""
    parts = urlsplit(url)
    user, sign, _ = parts.netloc.rpartition("@")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return urlunsplit(parts._replace(netloc=f"{user}{sign}{place}"))


def _without(url: str, names: Sequence[str]) -> str:
    """The same URL without these parameters."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in names]
    return urlunsplit(parts._replace(query=urlencode(query)))
