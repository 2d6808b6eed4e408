"""The measurements of all workers: each worker publishes its own in the cache store.

A worker has a slot, a number that it claims in the store. Under it, the store has the slot's totals
and, for each `SLICE_SECONDS`, what was measured in that time. A worker publishes once a second at
most, in the thread of a request that has been answered. It keeps the claim as long as it publishes
within `CLAIM_SECONDS`; then another worker may take the slot, and continues its totals. So the
totals of all slots together do not decrease when workers end.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from time import monotonic, time
from typing import Any, Final

from partstream.backends.breakers import count_outages
from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.pool import count_calls
from partstream.backends.loader import get_cache_store
from partstream.logs import get_logger
from partstream.per_process import reset_after_fork

from .memory import resident_memory
from .recorder import recorder
from .samples import OUTAGE, Table

logger = get_logger("partstream.stores")

#: Seconds between two publications of a worker.
INTERVAL: Final = 1.0
#: Seconds of one slice.
SLICE_SECONDS: Final = 15
#: Seconds for which slices are kept.
RETENTION: Final = 900
#: Seconds for which a worker that publishes nothing keeps its slot.
CLAIM_SECONDS: Final = 300
#: Seconds for which the totals of a slot without a worker are kept: a week.
TOTALS_SECONDS: Final = 7 * 86_400
#: The maximum number of workers.
MAX_SLOTS: Final = 256

_PREFIX = "partstream:performance:1:"


def _claim_key(slot: int) -> str:
    return f"{_PREFIX}claim:{slot}"


def _totals_key(slot: int) -> str:
    return f"{_PREFIX}totals:{slot}"


def _slice_key(slot: int, number: int) -> str:
    return f"{_PREFIX}slice:{slot}:{number}"


def slice_number(now: float) -> int:
    """The number of the slice of a moment, in seconds since 1970."""
    return int(now // SLICE_SECONDS)


@dataclass
class Published:
    """What workers have published.

    Attributes:
        workers: The number of workers.
        totals: Everything that was measured, also by workers that have ended.
        recent: What was measured in the window.
        gauges: Name -> the current value of each worker.
    """

    workers: int = 0
    totals: Table = field(default_factory=Table)
    recent: Table = field(default_factory=Table)
    gauges: dict[str, list[int]] = field(default_factory=dict)

    def add_gauges(self, gauges: Mapping[str, int]) -> None:
        """Add the values of one worker."""
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
        self._token = token_hex(8).encode()
        self._slot: int | None = None
        self._warned = False
        #: The totals of the slot, and its slices by their numbers.
        self._totals = Table()
        self._slices: dict[int, Table] = {}
        #: What the store does not have yet: a table, and the numbers of slices.
        self._unpublished = Table()
        self._changed: set[int] = set()
        self._outages: dict[str, int] = {}

    def publish_if_due(self) -> None:
        """Publish if a second has passed since the last time. It never raises."""
        if monotonic() < self._due or recorder.is_empty:
            return
        # Otherwise another thread publishes already, or reads.
        if self._lock.acquire(blocking=False):
            try:
                self._due = monotonic() + INTERVAL
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
        numbers = range(slice_number(now - window), slice_number(now) + 1)
        with self._lock:
            self._publish(store)
            own, known = self._slot, set(self._slices)
            found.totals.merge(self._totals)
            for number, table in self._slices.items():
                if number in numbers:
                    found.recent.merge(table)
        if self._totals:
            found.workers += 1
            found.add_gauges(_gauges())
        if _is_shared(store):
            # A slot may have older slices, of the worker that had it before.
            older = [number for number in numbers if number not in known]
            wanted = {slot: older if slot == own else numbers for slot in range(MAX_SLOTS)}
            _read_others(store, own, wanted, found)
        return found

    def _publish(self, store: CacheStore) -> None:
        """Store what is new."""
        taken, now = recorder.take(), slice_number(time())
        if taken:
            self._take_outages(taken)
            self._unpublished.merge(taken)
            self._add(taken, now)
        if not (self._unpublished and _is_shared(store)):
            return
        if not self._has_slot(store):
            self._claim(store, now)
        if self._slot is not None and self._store(store, self._slot):
            self._unpublished = Table()
            self._changed.clear()

    def _add(self, table: Table, number: int) -> None:
        self._totals.merge(table)
        self._slices.setdefault(number, Table()).merge(table)
        self._changed.add(number)
        oldest = number - RETENTION // SLICE_SECONDS
        for old in [known for known in self._slices if known < oldest]:
            del self._slices[old]
            self._changed.discard(old)

    def _has_slot(self, store: CacheStore) -> bool:
        return self._slot is not None and store.get(_claim_key(self._slot)) == self._token

    def _claim(self, store: CacheStore, now: int) -> None:
        """Take the first free slot, and continue its totals."""
        taken = store.get_many(map(_claim_key, range(MAX_SLOTS)))
        self._slot = None
        for slot in range(MAX_SLOTS):
            key = _claim_key(slot)
            if taken.get(key, self._token) != self._token:
                continue
            store.add(key, self._token, CLAIM_SECONDS)
            # While the store is down, each addition seems to succeed.
            holder = store.get(key)
            if holder is None:
                return
            if holder == self._token:
                self._slot = slot
                break
        if self._slot is None:
            self._warn(f"{MAX_SLOTS} workers publish measurements already, so this one does not.")
            return
        before = store.get(_totals_key(self._slot))
        # What this worker has published is under the slot that it had then.
        self._totals = Table() if before is None else Table.from_payload(json.loads(before))
        self._slices.clear()
        self._changed.clear()
        self._add(self._unpublished, now)

    def _store(self, store: CacheStore, slot: int) -> bool:
        gauges = _gauges()
        slices = {
            _slice_key(slot, number): _encode(
                {"table": self._slices[number].payload(), "gauges": gauges}
            )
            for number in sorted(self._changed)
        }
        totals = {_totals_key(slot): _encode(self._totals.payload())}
        stored = store.set_many(slices, RETENTION) and store.set_many(totals, TOTALS_SECONDS)
        if stored:
            store.touch(_claim_key(slot), CLAIM_SECONDS)
        elif store.get(_claim_key(slot)) == self._token:
            self._warn(
                "Measurements of this worker could not be stored: they may be larger than "
                "MAX_FRAGMENT_SIZE."
            )
        return stored

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(text)

    def _take_outages(self, table: Table) -> None:
        for name, count in count_outages().items():
            new = count - self._outages.get(name, 0)
            if new > 0:
                self._outages[name] = count
                table.of((OUTAGE, "", "", name)).count += new


def _read_others(
    store: CacheStore, own: int | None, numbers: Mapping[int, Iterable[int]], found: Published
) -> None:
    """Read what other workers have published.

    Args:
        store: The store.
        own: The slot of this process.
        numbers: Slot -> the numbers of the slices to read, in ascending order.
        found: What is read is added to it.
    """
    claims = store.get_many(map(_claim_key, numbers))
    totals = store.get_many(map(_totals_key, numbers))
    for slot in numbers:
        if slot != own and _totals_key(slot) in totals:
            found.totals.merge(Table.from_payload(json.loads(totals[_totals_key(slot)])))
    keys = {
        _slice_key(slot, number): slot
        for slot in numbers
        if _totals_key(slot) in totals
        for number in numbers[slot]
    }
    bodies, gauges = store.get_many(keys), {}
    for key, slot in keys.items():  # The newest slice of each slot comes last.
        if key in bodies:
            body = json.loads(bodies[key])
            found.recent.merge(Table.from_payload(body["table"]))
            gauges[slot] = body["gauges"]
    for slot in numbers:
        if slot != own and _claim_key(slot) in claims:
            found.workers += 1
            found.add_gauges(gauges.get(slot, {}))


def _gauges() -> dict[str, int]:
    """The current state of this process."""
    calls = count_calls()
    return {
        "memory": resident_memory(),
        "queued_calls": calls.queued,
        "running_calls": calls.running,
        "abandoned_calls": calls.abandoned,
    }


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _is_shared(store: CacheStore) -> bool:
    return store.shared and store.keeps


#: The publisher of this process.
publisher = Publisher()
