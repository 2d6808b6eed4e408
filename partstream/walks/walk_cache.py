"""The walk cache: what one walk keeps, because it may be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from partstream.caching.flight import Flight
from partstream.caching.single_flight import SingleFlight, get_single_flight


class WalkCache:
    """The fragments that a walk keeps, under its random id, for this identity alone.

    A walk begins with nothing, so a new walk sees new data.

    Args:
        get_prefix: Makes the beginning of the keys; called at first need.
        ttl: Seconds that fragments are kept.
        reads: Whether there may be any: the request came with a cursor.
    """

    def __init__(self, get_prefix: Callable[[], str], *, ttl: int, reads: bool) -> None:
        self._get_prefix = get_prefix
        self.ttl = ttl
        self.reads = reads

    @cached_property
    def _prefix(self) -> str:
        return self._get_prefix()

    @cached_property
    def _flights(self) -> SingleFlight:
        return get_single_flight()

    def key_of(self, name: str) -> str:
        """The key of a part in this walk."""
        return self._prefix + name

    def read(self, names: Iterable[str], running: set[str] | None) -> dict[str, bytes]:
        """What is kept of these parts, in one round trip.

        Args:
            names: Names of lazy parts.
            running: Gets the names of those that an earlier chunk left running, here or in another
                process; None: no chunk leaves work.

        Returns:
            Name -> fragment.
        """
        keys = {name: self.key_of(name) for name in names}
        locks: dict[str, str] = {}
        if running is not None:
            running.update(name for name, key in keys.items() if self._flights.is_under_way(key))
            for name in running:
                del keys[name]
            if self._flights.store.shared:
                locks = {name: Flight(key).lock_key for name, key in keys.items()}
        asked = [*keys.values(), *locks.values()]
        entries = self._flights.store.get_many(asked) if asked else {}
        kept = {name: entries[key] for name, key in keys.items() if key in entries}
        if running is not None:
            running.update(
                name for name, lock in locks.items() if name not in kept and lock in entries
            )
        return kept

    def keep(self, fragments: Mapping[str, bytes]) -> None:
        """Keep these, in one round trip."""
        if fragments:
            self._flights.store.set_many(
                {self.key_of(name): fragment for name, fragment in fragments.items()}, self.ttl
            )
