"""The walk cache: fragments that one walk keeps because it may need them again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property

from partstream.caching.flight import Flight
from partstream.caching.single_flight import SingleFlight, get_single_flight
from partstream.parts.layout import Layout
from partstream.parts.outcome import Outcome, worth_keeping


class WalkCache:
    """The fragments that a walk keeps, under its random id and for its identity only.

    A walk begins with an empty cache, so a new walk sees new data.

    Args:
        get_prefix: Returns the prefix of the keys; called at the first use.
        ttl: Seconds for which fragments are kept.
        reads: Whether the cache may have fragments: the request came with a cursor.
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

    def read(self, names: Iterable[str], *, moves: bool) -> tuple[dict[str, bytes], list[str]]:
        """The cached fragments of these parts, and the parts that an earlier chunk left running.

        It takes one round trip to the store.

        Args:
            names: Names of lazy parts.
            moves: Whether a chunk may leave work running, here or in another process.

        Returns:
            Name -> fragment, and the names of the running parts.
        """
        keys = {name: self.key_of(name) for name in names}
        flights, locks = self._flights, {}
        here = [name for name, key in keys.items() if moves and flights.is_under_way(key)]
        for name in here:
            del keys[name]
        if moves and flights.store.shared:
            locks = {name: Flight(key).lock_key for name, key in keys.items()}
        asked = [*keys.values(), *locks.values()]
        entries = flights.store.get_many(asked) if asked else {}
        kept = {name: entries[key] for name, key in keys.items() if key in entries}
        elsewhere = [name for name, lock in locks.items() if name not in kept and lock in entries]
        return kept, [*here, *elsewhere]

    def keep(
        self,
        outcomes: Iterable[Outcome],
        layout: Layout,
        remaining: Collection[int],
        slower_than: float | None,
    ) -> None:
        """Store what may be read again on this walk, in one round trip.

        Args:
            outcomes: The outcomes of a chunk.
            layout: The declared parts.
            remaining: Positions of the parts still to come.
            slower_than: Seconds; parts that took longer are stored, too. None: they are not.
        """
        entries = {}
        for outcome in outcomes if layout.gated or slower_than is not None else ():
            fragment, name = worth_keeping(outcome), outcome.name
            if fragment is None:
                continue
            is_slow = slower_than is not None and outcome.duration > slower_than
            if is_slow or (
                layout.gated
                and any(
                    position in remaining
                    for position in (layout.index[name], *layout.dependents[name])
                )
            ):
                entries[self.key_of(name)] = fragment
        if entries:
            self._flights.store.set_many(entries, self.ttl)
