"""Makes a store's connections to Redis from its options."""

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
    """The connections to Redis for a store's options.

    Args:
        store: The store's name in error messages.
        alias: A name in ``CACHES``; None: ``"default"``, unless there is a ``cluster_url``.
        cluster_url: The URL of a node of a Redis Cluster.
        instead: The store to use for other kinds of caches.
        timeout: Seconds that a request waits; None: the timeout of the cache or URL, or 0.25.

    Raises:
        Misuse: When both are given, or the given one cannot be used.
    """
    if cluster_url is None:
        return ServerConnections(store, "default" if alias is None else alias, instead, timeout)
    if alias is not None:
        raise Misuse(
            f"The {store} has both alias={alias!r} and a cluster_url. Remove one: alias names a "
            "cache of django-redis on a single server; cluster_url is for a Redis Cluster."
        )
    return ClusterConnections(store, cluster_url, timeout)
