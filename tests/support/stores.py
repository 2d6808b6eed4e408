"""Stores that tests name in the settings: real ones, over the project's cache."""

from __future__ import annotations

from partstream.backends.caches.django_cache import DjangoCacheStore
from tests.support.concurrency import PATIENCE, wait_until


class NotingStore(DjangoCacheStore):
    """Notes each round trip, as the operation and its keys."""

    def __init__(self, **options):
        super().__init__(**options)
        self.trips = []

    def read(self, keys):
        """See `CacheStore.read`."""
        self.trips.append(("read", *keys))
        return super().read(keys)

    def write(self, entries, ttl):
        """See `CacheStore.write`."""
        self.trips.append(("write", *entries))
        super().write(entries, ttl)

    def reserve(self, key, entry, ttl):
        """See `CacheStore.reserve`."""
        self.trips.append(("reserve", key))
        return super().reserve(key, entry, ttl)

    def extend(self, key, ttl):
        """See `CacheStore.extend`."""
        self.trips.append(("extend", key))
        super().extend(key, ttl)

    def remove(self, key):
        """See `CacheStore.remove`."""
        self.trips.append(("remove", key))
        super().remove(key)

    def taken(self):
        """The operations since the last time, each with the number of its keys."""
        trips, self.trips = self.trips, []
        return [(operation, len(keys)) for operation, *keys in trips]

    def keys(self):
        """The keys that were ever written."""
        return {key for operation, *keys in self.trips if operation == "write" for key in keys}


class SharedNotingStore(NotingStore):
    """One that says it is shared: tests act for the other processes, with flights of their own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.shared = True


def probed(backend):
    """What a backend's probe raises; None if it works."""
    try:
        backend.probe()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
    return None


def patient(store):
    """This store in Redis, which now waits for a server that a busy machine holds up."""
    connections = store._redis
    cluster = hasattr(connections, "_options")
    options = connections._options if cluster else connections.pool.connection_kwargs
    options.update(dict.fromkeys(("socket_timeout", "socket_connect_timeout"), PATIENCE))
    return store


def connected(store):
    """The client of a store over a cluster that has timeouts of its own.

    Where a busy machine needs longer than those, a later call gets the client.
    """
    import redis

    def client():
        try:
            return store._redis._get()
        except redis.TimeoutError:
            return None

    return wait_until(client)
