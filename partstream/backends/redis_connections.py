"""The connections to Redis that a store's options ask for."""

from __future__ import annotations

from partstream.exceptions import Misuse

from .redis_cluster import ClusterConnections
from .redis_server import Connections, ServerConnections


def connect(
    store: str,
    alias: str | None,
    cluster_url: str | None,
    *,
    instead: str,
    timeout: float | None = None,
) -> Connections:
    """The connections that a store's options ask for.

    Args:
        store: What errors call the store.
        alias: A name in ``CACHES``; None: ``"default"``, where there is no ``cluster_url``.
        cluster_url: The URL of a node of a Redis Cluster.
        instead: The store for a cache of another kind.
        timeout: Seconds that a request waits; None: as long as the cache or URL says, or 0.25.

    Raises:
        Misuse: When both are given, or the one that is given cannot be used.
    """
    if cluster_url is None:
        return ServerConnections(store, "default" if alias is None else alias, instead, timeout)
    if alias is not None:
        raise Misuse(
            f"The {store} has both alias={alias!r} and a cluster_url. Leave one out: alias names a "
            "cache of django-redis, which is one server; cluster_url is for a Redis Cluster."
        )
    return ClusterConnections(store, cluster_url, timeout)
