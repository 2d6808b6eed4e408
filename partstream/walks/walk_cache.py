"""The walk cache: what one walk keeps, because it may be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from partstream.backends.executors.calls import Call
from partstream.caching.flight import Flight
from partstream.caching.single_flight import Flights, get_flights
from partstream.parts.outcome import worth_keeping


class WalkCache:
    """The fragments that a walk keeps, under its random id, for this identity alone.

    A walk begins with nothing, so a new walk sees new data.

    Args:
        get_prefix: Makes what the keys begin with; called at first need.
        ttl: Seconds that fragments are kept.
        reads: Whether there may be any: the request came with a cursor.
    """

    def __init__(self, get_prefix: Callable[[], str], *, ttl: int, reads: bool) -> None:
        self._get_prefix = get_prefix
        self._ttl = ttl
        self.reads = reads

    @cached_property
    def _prefix(self) -> str:
        return self._get_prefix()

    @cached_property
    def flights(self) -> Flights:
        """The flights of this process."""
        return get_flights()

    def read(
        self, names: Iterable[str], *, running: bool
    ) -> tuple[dict[str, bytes], dict[str, Flight]]:
        """What is kept of these parts, in one round trip, and what still runs for the walk.

        Args:
            names: Names of lazy parts.
            running: Whether an earlier chunk may have left work running.

        Returns:
            Name -> fragment, and name -> flight.
        """
        keys = {name: self._prefix + name for name in names}
        flights = {}
        if running:
            for name, key in keys.items():
                flight = self.flights.find(key)
                if flight is not None:
                    flights[name] = flight
            for name in flights:
                del keys[name]
        store = self.flights.store
        asked = list(keys.values())
        elsewhere = {}
        if running and store.shared:
            elsewhere = {name: Flight(key, claims=False) for name, key in keys.items()}
            asked += [flight.lock_key for flight in elsewhere.values()]
        entries = store.get_many(asked) if asked else {}
        kept = {name: entries[key] for name, key in keys.items() if key in entries}
        flights.update(
            (name, flight)
            for name, flight in elsewhere.items()
            if name not in kept and flight.lock_key in entries
        )
        return kept, flights

    def keep(self, fragments: Mapping[str, bytes]) -> None:
        """Keep these, in one round trip."""
        if fragments:
            self.flights.store.set_many(
                {self._prefix + name: fragment for name, fragment in fragments.items()}, self._ttl
            )

    def leave_running(self, calls: Mapping[str, Call], flights: Mapping[str, Flight]) -> None:
        """Let the next chunk wait for these.

        Args:
            calls: Calls of the walk's own; each returns an `Outcome`.
            flights: Flights of cached parts, whose values are kept by them.
        """
        self.flights.publish(
            {self._prefix + name: call for name, call in calls.items()}, self._ttl, worth_keeping
        )
        for name, flight in flights.items():
            self.flights.follow(self._prefix + name, flight)
