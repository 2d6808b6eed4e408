"""The publication, with several publishers in one process over one store: each is a worker."""

from __future__ import annotations

import logging
import time

import pytest
import time_machine
from django.core.cache import caches

from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.caches.null import NullCacheStore
from partstream.keys import get_key_ring
from partstream.performance import publication
from partstream.performance.publication import (
    CLAIM_SECONDS,
    INTERVAL,
    RETENTION,
    SLICE_SECONDS,
    Publisher,
)
from partstream.performance.recorder import Recorder, Response
from partstream.performance.samples import OUTAGE, RESPONSE
from tests.support.concurrency import wait_until


class SharedStore(DjangoCacheStore):
    """Entries of this process, as if other processes saw them too."""

    is_down = False
    most = 1 << 20

    def __init__(self, **options):
        super().__init__(**{"keys": get_key_ring(), "max_size": self.most, **options})
        self.shared = True

    def read(self, keys):
        self._fail()
        return super().read(keys)

    def write(self, entries, ttl):
        self._fail()
        super().write(entries, ttl)

    def reserve(self, key, entry, ttl):
        self._fail()
        return super().reserve(key, entry, ttl)

    def _fail(self):
        if self.is_down:
            raise ConnectionError("the store is down")


class Worker:
    """A process: its recorder and its publisher."""

    def __init__(self, monkeypatch):
        self.recorder = Recorder()
        self.publisher = Publisher()
        self._patch = monkeypatch

    def respond(self, times=1, view="view/", status=200):
        for _ in range(times):
            self.recorder.record(
                Response(view, status, 0.5, [], [], [], None, {}, 0),
            )

    def publish(self):
        self._patch.setattr(publication, "recorder", self.recorder)
        self.publisher.publish_if_due()

    def read(self, window=300):
        self._patch.setattr(publication, "recorder", self.recorder)
        return self.publisher.read(window)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(publication, "monotonic", lambda: time.time())
    with time_machine.travel(1_800_000_000, tick=False) as traveller:
        yield traveller


@pytest.fixture
def store(monkeypatch, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "publication",
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        }
    }
    caches["default"].clear()
    made = SharedStore(retry_after=0.001)
    monkeypatch.setattr(publication, "get_cache_store", lambda: made)
    return made


@pytest.fixture
def make_worker(monkeypatch):
    return lambda: Worker(monkeypatch)


def counts(found):
    return found.recent.select(RESPONSE).count, found.totals.select(RESPONSE).count


def test_publisher__all_workers_together(clock, store, make_worker):
    workers = [make_worker() for _ in range(3)]
    for number, worker in enumerate(workers, 1):
        worker.respond(number)
        worker.publish()
    reader = make_worker().read()
    assert counts(reader) == (6, 6)
    assert reader.workers == 3
    assert len(reader.gauges["memory"]) == 3
    assert all(value > 1 << 20 for value in reader.gauges["memory"])


def test_publisher__a_worker_sees_itself_before_it_publishes(clock, store, make_worker):
    worker = make_worker()
    worker.respond(2)
    assert counts(worker.read()) == (2, 2)
    worker.respond()
    assert counts(worker.read()) == (3, 3)
    assert worker.read().workers == 1


def test_publisher__once_a_second(clock, store, make_worker):
    worker = make_worker()
    worker.respond()
    worker.publish()
    worker.respond()
    worker.publish()
    assert counts(make_worker().read()) == (1, 1)
    clock.shift(INTERVAL)
    worker.publish()
    assert counts(make_worker().read()) == (2, 2)


def test_publisher__without_anything_new_it_asks_no_store(clock, make_worker, monkeypatch):
    def refuse():
        raise AssertionError("it asked the store")

    monkeypatch.setattr(publication, "get_cache_store", refuse)
    make_worker().publish()


def test_publisher__the_window(clock, store, make_worker):
    worker = make_worker()
    for _ in range(4):
        worker.respond()
        worker.publish()
        clock.shift(SLICE_SECONDS)
    reader = make_worker()
    # The newest slice is SLICE_SECONDS old.
    assert counts(reader.read(SLICE_SECONDS)) == (1, 4)
    assert counts(reader.read(2 * SLICE_SECONDS)) == (2, 4)
    assert counts(reader.read(300)) == (4, 4)
    # The worker itself sees the same.
    assert counts(worker.read(2 * SLICE_SECONDS)) == (2, 4)


def test_publisher__old_slices_are_forgotten(clock, store, make_worker):
    worker = make_worker()
    for _ in range(3 * RETENTION // SLICE_SECONDS):
        worker.respond()
        worker.publish()
        clock.shift(SLICE_SECONDS)
    assert len(worker.publisher._slices) <= RETENTION // SLICE_SECONDS + 1
    assert len(worker.publisher._changed) == 0


def test_publisher__totals_do_not_decrease_when_workers_end(clock, store, make_worker):
    seen, reader = 0, make_worker()
    for generation in range(5):
        for worker in [make_worker() for _ in range(2)]:
            worker.respond(3)
            worker.publish()
        found = reader.read()
        assert found.totals.select(RESPONSE).count == 6 * (generation + 1)
        seen = max(seen, found.workers)
        # All of them end, and their slots are free again.
        clock.shift(CLAIM_SECONDS + 1)
        assert reader.read().workers == 0
        assert reader.read().totals.select(RESPONSE).count == 6 * (generation + 1)
    assert seen == 2


def test_publisher__a_worker_that_was_idle_takes_another_slot(clock, store, make_worker):
    idle, other, reader = make_worker(), make_worker(), make_worker()
    idle.respond(5)
    idle.publish()
    clock.shift(CLAIM_SECONDS + 1)
    other.respond(7)
    other.publish()  # It continues the totals of the slot.
    assert other.read().totals.select(RESPONSE).count == 12
    idle.respond(1)
    idle.publish()
    found = reader.read()
    assert found.totals.select(RESPONSE).count == 13
    assert found.workers == 2
    assert counts(idle.read()) == counts(other.read()) == counts(found)


def test_publisher__an_outage_loses_nothing(clock, store, make_worker, monkeypatch):
    worker = make_worker()
    worker.respond()
    worker.publish()
    store.is_down = True
    for _ in range(3):
        clock.shift(SLICE_SECONDS)
        worker.respond()
        worker.publish()
    store.is_down = False
    wait_until(lambda: store.set_many({"answers": b"again"}, 60))
    clock.shift(SLICE_SECONDS)
    worker.respond()
    worker.publish()
    found = make_worker().read()
    assert found.totals.select(RESPONSE).count == 5
    assert found.recent.select(RESPONSE).count == 5
    assert sum(samples.count for _, samples in found.totals.chosen(OUTAGE)) >= 1


def test_publisher__says_once_that_figures_are_too_large(clock, store, make_worker, caplog):
    store._max_size = 200
    worker = make_worker()
    for number in range(3):
        worker.respond(view=f"view/{number}/")
        worker.publish()
        clock.shift(INTERVAL)
    warnings = [r for r in caplog.records if "MAX_FRAGMENT_SIZE" in r.getMessage()]
    assert len(warnings) == 1
    assert counts(worker.read()) == (3, 3)


def test_publisher__more_workers_than_slots(clock, store, make_worker, monkeypatch, caplog):
    monkeypatch.setattr(publication, "MAX_SLOTS", 2)
    workers = [make_worker() for _ in range(3)]
    for worker in workers:
        worker.respond()
        worker.publish()
        worker.publish()
    assert counts(make_worker().read()) == (2, 2)
    # It still sees itself.
    assert counts(workers[2].read()) == (3, 3)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("kind", [DjangoCacheStore, NullCacheStore])
def test_publisher__a_store_that_is_not_shared_gets_nothing(
    clock, store, make_worker, monkeypatch, kind
):
    own = kind(keys=get_key_ring(), max_size=1 << 20)
    monkeypatch.setattr(publication, "get_cache_store", lambda: own)
    worker = make_worker()
    worker.respond(2)
    worker.publish()
    assert counts(worker.read()) == (2, 2)
    assert counts(make_worker().read()) == (0, 0)


def test_publisher__a_forged_entry_is_ignored(clock, store, make_worker, caplog):
    worker = make_worker()
    worker.respond()
    worker.publish()
    caches["default"].set("partstream:performance:1:totals:0", b"[[1,2,3]]")
    assert counts(make_worker().read()) == (0, 0)
    assert "is not used" in caplog.text


def test_publisher__after_a_fork_it_has_no_slot(clock, store, make_worker):
    worker = make_worker()
    worker.respond()
    worker.publish()
    worker.publisher.reset()
    worker.recorder.reset()
    worker.respond()
    worker.publish()
    assert counts(make_worker().read()) == (2, 2)
    assert make_worker().read().workers == 2
