"""The measurements of all workers: each worker publishes its own in the cache store.

A worker has a slot, a number that it claims in the store. Under it, the store has the slot's totals
and, for each `SLICE_SECONDS`, what was measured in that time. A worker publishes once a second at
most, in the thread of a request that has been answered. It keeps the claim as long as it publishes
within `CLAIM_SECONDS`; then another worker may take the slot, and continues its totals. So the
totals of all slots together do not decrease when workers end. A worker that has just started keeps
its claim for a shorter time: workers that end after a few requests must not take all slots.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from time import monotonic, time
from typing import Final

from partstream.backends.breakers import count_outages
from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.pool import count_calls
from partstream.backends.loader import get_cache_store
from partstream.isolation.connections import closing_new_connections
from partstream.logs import get_logger
from partstream.per_process import reset_after_fork

from .entries import (
    SLICE_SECONDS,
    claim_key,
    decode_slice,
    decode_totals,
    encode_slice,
    encode_totals,
    slice_key,
    slice_number,
    totals_key,
)
from .memory import resident_memory
from .recorder import recorder
from .samples import OUTAGE, Table

logger = get_logger("partstream.stores")

#: Seconds between two publications of a worker.
INTERVAL: Final = 1.0
#: Seconds for which slices are kept.
RETENTION: Final = 900
#: Seconds for which a worker that publishes nothing keeps its slot, but no longer than it has run.
CLAIM_SECONDS: Final = 300
#: The same, at the start of a worker.
FIRST_CLAIM_SECONDS: Final = 30
#: Seconds for which the totals of a slot without a worker are kept after the last reading: a week.
TOTALS_SECONDS: Final = 7 * 86_400
#: Seconds after which a process that reads prolongs that time.
PROLONGING_SECONDS: Final = 86_400
#: The maximum number of workers.
MAX_SLOTS: Final = 256


@dataclass
class Published:
    """What workers have published.

    Attributes:
        workers: The number of workers.
        totals: Everything that was published, also by workers that have ended. Where processes
            share the store, it is the same for every reader; while the store is down it is empty.
        recent: What was measured in the window.
        gauges: Name -> the current value of each worker.
    """

    workers: int = 0
    totals: Table = field(default_factory=Table)
    recent: Table = field(default_factory=Table)
    gauges: dict[str, list[int]] = field(default_factory=dict)

    def add_worker(self, gauges: Mapping[str, int]) -> None:
        """Add the values of one worker."""
        self.workers += 1
        for name, value in gauges.items():
            self.gauges.setdefault(name, []).append(value)


class Publisher:
    """Publishes what this process measures, and reads what all processes have published."""

    def __init__(self) -> None:
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start again, without a slot."""
        self._lock = threading.RLock()
        self._due = 0.0
        self._began = monotonic()
        self._prolong_at = 0.0
        self._token = token_hex(8).encode()
        self._slot: int | None = None
        self._warned = False
        #: The totals of the slot, and its slices by their numbers.
        self._totals = Table()
        self._slices: dict[int, Table] = {}
        #: What the store does not have yet of each of them.
        self._unpublished = Table()
        self._unpublished_slices: dict[int, Table] = {}
        #: Those that were counted before. A forked process has breakers that its parent has used.
        self._outages = count_outages()

    def publish_if_due(self) -> None:
        """Publish if a second has passed since the last time. It never raises."""
        if monotonic() < self._due or recorder.is_empty:
            return
        # Otherwise another thread publishes already, or reads.
        if self._lock.acquire(blocking=False):
            try:
                self._due = monotonic() + INTERVAL
                with closing_new_connections():
                    self._publish(get_cache_store())
            except Exception:
                logger.exception("Measurements could not be published.")
            finally:
                self._lock.release()

    def read(self, window: float) -> Published:
        """What all workers have published, and what this process has measured.

        Args:
            window: Seconds before now to which `Published.recent` is limited.
        """
        store, found, now = get_cache_store(), Published(), time()
        is_shared = _is_shared(store)
        numbers = range(slice_number(now - window), slice_number(now) + 1)
        with self._lock:
            self._publish(store)
            if not is_shared:
                found.totals.merge(self._totals)
            for number, table in (self._unpublished_slices if is_shared else self._slices).items():
                if number in numbers:
                    found.recent.merge(table)
        if is_shared:
            self._read_all(store, numbers, found)
        elif self._totals:
            found.add_worker(_gauges())
        return found

    def _publish(self, store: CacheStore) -> None:
        """Store what is new."""
        taken, now = recorder.take(), slice_number(time())
        if taken:
            self._take_outages(taken)
            self._add(taken, now)
        if self._unpublished and (not _is_shared(store) or self._stored(store)):
            self._unpublished = Table()
            self._unpublished_slices.clear()

    def _add(self, table: Table, number: int) -> None:
        self._totals.merge(table)
        self._unpublished.merge(table)
        oldest = number - RETENTION // SLICE_SECONDS
        for slices in (self._slices, self._unpublished_slices):
            slices.setdefault(number, Table()).merge(table)
            # Also those of the future: the clock was wrong, and they would come back as new.
            for wrong in [known for known in slices if not oldest <= known <= number]:
                del slices[wrong]

    def _stored(self, store: CacheStore) -> bool:
        """Store what the store does not have yet; return whether all of it was stored."""
        has_slot = self._slot is not None and store.get(claim_key(self._slot)) == self._token
        if not has_slot:
            has_slot = self._claim(store)
        return has_slot and self._slot is not None and self._store(store, self._slot)

    def _claim(self, store: CacheStore) -> bool:
        """Take the first free slot, and continue its totals."""
        claims = store.get_many(map(claim_key, range(MAX_SLOTS)))
        for slot in range(MAX_SLOTS):
            if claims.get(claim_key(slot), self._token) != self._token:
                continue
            added = store.add(claim_key(slot), self._token, self._claim_seconds())
            # The claim once more, and what it is about, in one round trip: while the store is down,
            # each addition seems to succeed, and totals that were not read would be overwritten.
            slices = {number: slice_key(slot, number) for number in self._unpublished_slices}
            found = store.get_many([claim_key(slot), totals_key(slot), *slices.values()])
            holder = found.get(claim_key(slot))
            if holder is None:
                if added:
                    return False
                continue  # A process with another secret has it.
            if holder == self._token:
                self._begin(slot, slices, found)
                return True
        self._warn(f"{MAX_SLOTS} workers publish measurements already, so this one does not.")
        return False

    def _begin(self, slot: int, slices: Mapping[int, str], found: Mapping[str, bytes]) -> None:
        """Continue what the store has of a slot.

        What this worker has published is under the slot that it had then.
        """
        self._slot = slot
        self._totals = decode_totals(totals_key(slot), found.get(totals_key(slot))).table
        self._totals.merge(self._unpublished)
        self._slices = {}
        for number, key in slices.items():
            self._slices[number] = decode_slice(key, found.get(key))
            self._slices[number].merge(self._unpublished_slices[number])

    def _store(self, store: CacheStore, slot: int) -> bool:
        slices = {
            slice_key(slot, number): encode_slice(self._slices[number])
            for number in self._unpublished_slices
        }
        totals = {totals_key(slot): encode_totals(self._totals, _gauges())}
        stored = store.set_many(slices, RETENTION) and store.set_many(totals, TOTALS_SECONDS)
        if stored:
            store.touch(claim_key(slot), self._claim_seconds())
        elif store.get(claim_key(slot)) == self._token:
            self._warn(
                "Measurements of this worker could not be stored: they may be larger than "
                "MAX_FRAGMENT_SIZE."
            )
        return stored

    def _claim_seconds(self) -> int:
        age = int(monotonic() - self._began)
        return max(FIRST_CLAIM_SECONDS, min(age, CLAIM_SECONDS))

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(text)

    def _take_outages(self, table: Table) -> None:
        for name, count in count_outages().items():
            # Also if there is none: an alert can only see a counter increase that was there before.
            samples = table.of((OUTAGE, "", "", name))
            samples.count += max(0, count - self._outages.get(name, 0))
            self._outages[name] = max(count, self._outages.get(name, 0))

    def _read_all(self, store: CacheStore, numbers: Iterable[int], found: Published) -> None:
        """Read what all workers have published.

        Args:
            store: The store.
            numbers: The numbers of the slices to read.
            found: What is read is added to it.
        """
        slots = range(MAX_SLOTS)
        entries = store.get_many([*map(claim_key, slots), *map(totals_key, slots)])
        used = [slot for slot in slots if totals_key(slot) in entries]
        for slot in used:
            table, gauges = decode_totals(totals_key(slot), entries[totals_key(slot)])
            found.totals.merge(table)
            holder = entries.get(claim_key(slot))
            if holder is not None:
                found.add_worker(_gauges() if holder == self._token else gauges)
        keys = [slice_key(slot, number) for slot in used for number in numbers]
        for key, entry in store.get_many(keys).items():
            found.recent.merge(decode_slice(key, entry))
        if used and monotonic() >= self._prolong_at:
            self._prolong_at = monotonic() + PROLONGING_SECONDS
            for slot in used:
                store.touch(totals_key(slot), TOTALS_SECONDS)


_counts: dict[str, Callable[[], int]] = {}


def add_gauge(name: str, count: Callable[[], int]) -> None:
    """Publish a number with the state of this process, for what imports this module.

    Args:
        name: The name of the gauge.
        count: Returns its current value.
    """
    _counts[name] = count


def _gauges() -> dict[str, int]:
    """The current state of this process."""
    calls = count_calls()
    return {
        **{name: count() for name, count in _counts.items()},
        "memory": resident_memory(),
        "queued_calls": calls.queued,
        "running_calls": calls.running,
        "abandoned_calls": calls.abandoned,
    }


def _is_shared(store: CacheStore) -> bool:
    return store.shared and store.keeps


#: The publisher of this process.
publisher = Publisher()
