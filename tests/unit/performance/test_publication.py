"""The publication, with several publishers in one process over one store: each is a worker."""

from __future__ import annotations

import logging
import time
import zlib

import pytest
import time_machine
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.caches.null import NullCacheStore
from partstream.backends.faults import CallFault
from partstream.keys import KeyRing, get_key_ring
from partstream.performance import publication
from partstream.performance.entries import SLICE_SECONDS, claim_key, slice_key, totals_key
from partstream.performance.publication import (
    CLAIM_SECONDS,
    FIRST_CLAIM_SECONDS,
    INTERVAL,
    PROLONGING_SECONDS,
    RETENTION,
    TOTALS_SECONDS,
    Publisher,
)
from partstream.performance.recorder import Recorder, Response
from partstream.performance.samples import MAX_LABELS, OUTAGE, PART, RESPONSE
from tests.support.concurrency import wait_until


class SharedStore(DjangoCacheStore):
    """Entries of this process, as if other processes saw them too."""

    is_down = False
    most = 1 << 20
    #: Reading keys with one of these prefixes fails once, as when there is no free connection.
    fails_once = ()

    def __init__(self, **options):
        super().__init__(**{"keys": get_key_ring(), "max_size": self.most, **options})
        self.shared = True

    def read(self, keys):
        self._fail()
        if self.fails_once and any(key.startswith(self.fails_once) for key in keys):
            self.fails_once = ()
            raise CallFault("this call fails, and the next one does not")
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

    def respond(self, times=1, view="view/", status=200, seconds=0.5):
        for _ in range(times):
            self.recorder.record(
                Response(view, status, seconds, [], [], [], None, {}, 0),
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


def test_publisher__gauges_are_those_that_a_worker_last_published(clock, store, make_worker):
    worker = make_worker()
    worker.respond()
    worker.publish()
    clock.shift(FIRST_CLAIM_SECONDS - 1)
    (memory,) = make_worker().read(SLICE_SECONDS).gauges["memory"]
    assert memory > 1 << 20


def test_publisher__its_own_gauges_are_those_of_now(clock, store, make_worker):
    worker = make_worker()
    worker.respond()
    worker.publish()
    clock.shift(FIRST_CLAIM_SECONDS - 1)
    assert worker.read(SLICE_SECONDS).gauges["running_calls"] == [0]


class ClosedCache(LocMemCache):
    """Counts how many times it is closed."""

    closed = 0

    def close(self):
        ClosedCache.closed += 1


def test_publisher__closes_the_caches_of_its_thread(clock, store, make_worker, settings):
    """Django has closed them before it publishes, at the end of the request."""
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.ClosedCache"}}
    worker = make_worker()
    worker.respond()
    before = ClosedCache.closed
    worker.publish()
    assert ClosedCache.closed == before + 1


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
    assert not worker.publisher._unpublished_slices


@pytest.mark.parametrize("seconds", [3600, 86_400])
def test_publisher__a_clock_that_goes_back_brings_nothing_back(clock, store, make_worker, seconds):
    """In this process. A shared store forgets slices by a clock of its own."""
    store.shared = False
    worker = make_worker()
    clock.shift(seconds)
    worker.respond(5)
    worker.publish()
    clock.shift(-seconds)
    worker.publisher._due = 0.0  # This test's monotonic clock has gone back as well.
    worker.respond(2)
    worker.publish()
    assert counts(worker.read()) == (2, 7)
    clock.shift(seconds)
    assert counts(worker.read()) == (0, 7)


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


def test_publisher__outages_count_from_zero(clock, store, make_worker):
    """An alert on the increase of a counter needs a value from before its first outage."""
    worker = make_worker()
    worker.respond()
    worker.publish()
    assert outages(make_worker().read()) == 0


def outages(found):
    return dict(found.totals.chosen(OUTAGE))["SharedStore"].count


def test_publisher__after_a_fork_it_counts_no_outage_of_its_parent(clock, store, make_worker):
    parent = make_worker()
    store.is_down = True
    store.set_many({"answers": b"not"}, 60)
    store.is_down = False
    wait_until(lambda: store.set_many({"answers": b"again"}, 60))
    parent.respond()
    parent.publish()
    for child in (make_worker(), make_worker()):
        child.publisher.reset()
        child.respond()
        child.publish()
    assert outages(make_worker().read()) == 1


def test_publisher__after_a_long_outage_the_window_has_what_belongs_there(
    clock, store, make_worker
):
    worker = make_worker()
    worker.respond()
    worker.publish()
    store.is_down = True
    for _ in range(3600 // SLICE_SECONDS):
        clock.shift(SLICE_SECONDS)
        worker.respond()
        worker.publish()
    store.is_down = False
    wait_until(lambda: store.set_many({"answers": b"again"}, 60))
    found = make_worker().read(300)
    assert counts(found) == (0, 1)
    clock.shift(INTERVAL)
    worker.respond()
    worker.publish()
    in_window = 300 // SLICE_SECONDS + 1
    assert counts(make_worker().read(300)) == (in_window + 1, 3600 // SLICE_SECONDS + 2)


def test_publisher__after_an_outage_it_keeps_its_slot(clock, store, make_worker):
    first, second = make_worker(), make_worker()
    for worker in (first, second):
        worker.respond()
        worker.publish()
    caches["default"].delete(claim_key(first.publisher._slot))
    store.is_down = True
    clock.shift(INTERVAL)
    second.respond()
    second.publish()
    store.is_down = False
    wait_until(lambda: store.set_many({"answers": b"again"}, 60))
    clock.shift(INTERVAL)
    second.respond()
    second.publish()
    assert second.publisher._slot == 1
    assert make_worker().read().workers == 1


def test_publisher__totals_that_it_cannot_read_are_not_overwritten(clock, store, make_worker):
    before = make_worker()
    before.respond(5)
    before.publish()
    clock.shift(CLAIM_SECONDS + 1)
    worker = make_worker()
    worker.respond()
    store.fails_once = (totals_key(0),)
    worker.publish()
    clock.shift(INTERVAL)
    worker.respond()
    worker.publish()
    assert counts(make_worker().read())[1] == 7


def test_publisher__a_slot_that_was_lost_loses_nothing(clock, store, make_worker):
    """A cache that is too small may drop a claim, and keep the slice that is being filled."""
    worker, other = make_worker(), make_worker()
    worker.respond(3)
    worker.publish()
    caches["default"].delete(claim_key(0))
    other.respond(2)
    other.publish()
    assert other.publisher._slot == 0
    clock.shift(INTERVAL)
    worker.respond()
    worker.publish()
    for reader in (worker, other, make_worker()):
        assert counts(reader.read()) == (6, 6)
        assert reader.read().workers == 2


def test_publisher__every_reader_sees_the_same_totals(clock, store, make_worker):
    """Not even the last digit differs: a counter that decreases looks like one that was reset."""
    workers = [make_worker() for _ in range(5)]
    for number, worker in enumerate(workers, 1):
        for times in range(1, 40):
            worker.respond(seconds=1 / (7 * number + times))
        worker.publish()
    sums = {worker.read().totals.select(RESPONSE).seconds for worker in (*workers, make_worker())}
    assert len(sums) == 1


def test_publisher__a_reader_that_cannot_publish_sees_the_same_totals(
    clock, store, make_worker, monkeypatch
):
    monkeypatch.setattr(publication, "MAX_SLOTS", 1)
    worker, without_slot = make_worker(), make_worker()
    worker.respond(2)
    worker.publish()
    without_slot.respond(7)
    assert counts(without_slot.read()) == (9, 2)
    assert counts(worker.read()) == (2, 2)


def test_publisher__while_the_store_is_down_there_are_no_totals(clock, store, make_worker):
    """Totals of one worker would look like a reset of all counters, and then like a flood."""
    workers = [make_worker() for _ in range(2)]
    for worker in workers:
        worker.respond()
        worker.publish()
    store.is_down = True
    workers[0].respond(3)
    found = workers[0].read()
    # It sees what it could not publish.
    assert counts(found) == (3, 0)
    assert found.workers == 0


def test_publisher__workers_that_end_soon_take_few_slots(clock, store, make_worker):
    """As gunicorn's ``max_requests`` makes them: eight workers, which live for five seconds."""
    caches["default"].clear()
    slots, made, reader = set(), 0, make_worker()
    for _ in range(600 // 5):
        for worker in [make_worker() for _ in range(8)]:
            worker.respond(3)
            worker.publish()
            slots.add(worker.publisher._slot)
            made += 1
        clock.shift(5)
    assert None not in slots
    assert len(slots) <= 8 * (FIRST_CLAIM_SECONDS // 5 + 1)
    assert counts(reader.read())[1] == 3 * made
    clock.shift(FIRST_CLAIM_SECONDS)
    assert reader.read().workers == 0


def test_publisher__a_worker_that_has_run_for_long_may_be_idle_for_long(clock, store, make_worker):
    worker = make_worker()
    for _ in range(60):
        worker.respond()
        worker.publish()
        clock.shift(10)
    clock.shift(CLAIM_SECONDS - 20)
    assert make_worker().read().workers == 1
    clock.shift(20)
    assert make_worker().read().workers == 0


def test_publisher__totals_are_kept_while_something_reads_them(clock, store, make_worker):
    worker, reader = make_worker(), make_worker()
    worker.respond(3)
    worker.publish()
    for _ in range(3 * TOTALS_SECONDS // PROLONGING_SECONDS):
        assert counts(reader.read())[1] == 3
        clock.shift(PROLONGING_SECONDS + 1)
    clock.shift(TOTALS_SECONDS)
    assert counts(reader.read())[1] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'[["response","view/","","ok",{"count":1}]]',
        b'{"table":[[1]],"gauges":3}',
        b"1",
    ],
)
@pytest.mark.parametrize("is_compressed", [True, False])
def test_publisher__malformed_entries_are_ignored(
    clock, store, make_worker, caplog, content, is_compressed
):
    """They are signed with the project's secret: a later version may have written them."""
    worker, reader = make_worker(), make_worker()
    worker.respond()
    worker.publish()
    number = int(time.time() // SLICE_SECONDS)
    entry = zlib.compress(content) if is_compressed else content
    store.set_many({totals_key(0): entry, slice_key(0, number): entry, totals_key(1): entry}, 60)
    assert counts(reader.read()) == (0, 0)
    # A worker that takes the slot begins anew.
    clock.shift(CLAIM_SECONDS + 1)
    other = make_worker()
    other.respond(2)
    other.publish()
    assert counts(reader.read()) == (2, 2)
    assert "malformed" in caplog.text


def test_publisher__as_many_labels_as_a_table_can_have(clock, store, make_worker):
    """With a long history, they still fit into an entry of a mebibyte."""
    worker = make_worker()
    table = worker.publisher._totals
    for number in range(MAX_LABELS):
        samples = table.of((PART, f"api/v1/dashboards/{number // 10}/", f"part_{number}", "loader"))
        samples.count = 10_000_000
        # Six standard deviations of a duration that varies by a factor of e.
        for bucket in range(-90, -20):
            samples.buckets[bucket] = 1 + (number * bucket) ** 2 % 99_991
    worker.respond()
    worker.publish()
    assert counts(make_worker().read())[1] == 1


def test_publisher__says_once_that_figures_are_too_large(clock, store, make_worker, caplog):
    store._max_size = 100
    worker = make_worker()
    for number in range(3):
        worker.respond(view=f"view/{number}/")
        worker.publish()
        clock.shift(INTERVAL)
    warnings = [r for r in caplog.records if "MAX_FRAGMENT_SIZE" in r.getMessage()]
    assert len(warnings) == 1
    # It sees them in its window. The totals are those that all processes see.
    assert counts(worker.read()) == (3, 0)


def test_publisher__passes_slots_of_processes_with_another_secret(
    clock, store, make_worker, monkeypatch
):
    """As in a deployment that rotates the secret, or with two projects in one cache."""
    other = SharedStore(keys=KeyRing([b"another secret, and it is long enough"]))
    for each in (other, store):
        monkeypatch.setattr(publication, "get_cache_store", lambda each=each: each)
        for _ in range(2):
            worker = make_worker()
            worker.respond()
            worker.publish()
        assert counts(worker.read()) == (2, 2)
        assert worker.read().workers == 2


def test_publisher__more_workers_than_slots(clock, store, make_worker, monkeypatch, caplog):
    monkeypatch.setattr(publication, "MAX_SLOTS", 2)
    workers = [make_worker() for _ in range(3)]
    for worker in workers:
        worker.respond()
        worker.publish()
        worker.publish()
    assert counts(make_worker().read()) == (2, 2)
    # It still sees itself in its window. The totals are those that all processes see.
    assert counts(workers[2].read()) == (3, 2)
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
