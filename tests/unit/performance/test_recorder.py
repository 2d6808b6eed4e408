from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from partstream.performance.recorder import Recorder, Response, StreamFigures
from partstream.performance.samples import (
    FIRST_PART,
    FIRST_RECORD,
    PART,
    RESPONSE,
    RESUME,
    STREAM,
)


def response(**values):
    given = {
        "view": "view/",
        "status": 200,
        "seconds": 0.5,
        "parts": [("orders", "loader", 0.2, 100), ("rates", "cache", 0.0, 10)],
        "pending": [],
        "looked_up": {"rates"},
        "queries": [0.01],
        "part_queries": {"orders": [0.02, 0.03]},
        "growth": 4096,
    }
    return Response(**{**given, **values})


def test_recorder__adds_up():
    recorder = Recorder()
    recorder.record(response())
    table = recorder.take()
    whole = table.select(RESPONSE, "view/")
    assert (whole.count, whole.seconds, whole.queries, whole.size) == (1, 0.5, 3, 4096)
    orders = table.select(PART, "view/", "orders")
    assert (orders.count, orders.queries, orders.size, orders.lookups) == (1, 2, 100, 0)
    rates = table.select(PART, "view/", "rates")
    assert (rates.count, rates.queries, rates.lookups) == (1, 0, 1)
    assert recorder.is_empty
    assert not recorder.take()


def test_recorder__outcomes_of_responses():
    recorder = Recorder()
    failed = [("orders", "part_failed", 0.1, 0)]
    for status, parts in [(200, []), (200, failed), (429, []), (400, []), (503, []), (500, failed)]:
        recorder.record(response(status=status, parts=parts))
    counts = {name: samples.count for name, samples in recorder.take().chosen(RESPONSE)}
    assert counts == {"ok": 1, "part_errors": 1, "throttled": 1, "refused": 1, "failed": 2}


def test_recorder__a_pending_part_counts_with_the_time_so_far():
    recorder = Recorder()
    recorder.record(response(parts=[], pending=["orders"], looked_up=["orders"]))
    ((outcome, samples),) = recorder.take().chosen(PART)
    assert (outcome, samples.count, samples.seconds, samples.lookups) == ("pending", 1, 0.5, 1)
    assert samples.queries == 2


def test_recorder__without_queries_and_memory():
    recorder = Recorder()
    recorder.record(response(queries=None, part_queries={}, growth=0))
    table = recorder.take()
    assert [samples.tracked for _, samples in table] == [0, 0, 0]
    assert table.select(PART).count == 2


def test_recorder__is_exact_with_64_threads():
    recorder, threads, each = Recorder(), 64, 200
    barrier = Barrier(threads)
    taken = []

    def run(number):
        barrier.wait()
        for count in range(each):
            recorder.record(response(view=f"view/{number % 4}/"))
            if count % 50 == 0:
                taken.append(recorder.take())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
    taken.append(recorder.take())
    counts = [table.select(RESPONSE).count for table in taken]
    assert sum(counts) == threads * each
    for number in range(4):
        found = sum(table.select(PART, f"view/{number}/", "orders").count for table in taken)
        assert found == threads * each / 4


def test_recorder__a_response_that_cannot_be_added_does_not_stay():
    recorder = Recorder()
    recorder.record(response(seconds=math.nan))
    with pytest.raises(ValueError, match="NaN"):
        recorder.take()
    recorder.record(response())
    assert recorder.take().select(RESPONSE).buckets == {-8: 1}


def test_recorder__never_holds_many_responses():
    recorder = Recorder()
    for _ in range(5000):
        recorder.record(response())
    assert len(recorder._responses) <= 1000
    assert recorder.take().select(RESPONSE).count == 5000


def test_recorder__a_stream_has_measures_of_its_own():
    recorder = Recorder()
    recorder.record(response(stream=StreamFigures("complete", True, 0.1, 0.2)))
    recorder.record(response(stream=StreamFigures("departed", False, 0.1, None)))
    recorder.record(response(stream=StreamFigures("streams_full")))
    table = recorder.take()
    assert table.select(RESPONSE).count == 0
    whole = table.select(STREAM, "view/")
    assert (whole.count, whole.seconds, whole.queries, whole.size) == (3, 1.5, 9, 3 * 4096)
    counts = {name: samples.count for name, samples in table.chosen(STREAM)}
    assert counts == {"complete": 1, "departed": 1, "streams_full": 1}
    assert (table.select(FIRST_RECORD).count, table.select(FIRST_RECORD).seconds) == (2, 0.2)
    assert (table.select(FIRST_PART).count, table.select(FIRST_PART).seconds) == (1, 0.2)
    assert table.select(RESUME, "view/").count == 1
    assert table.select(PART, "view/", "orders").count == 3


def test_recorder__errors_in_a_complete_stream_are_its_outcome():
    recorder = Recorder()
    failed = [("orders", "part_failed", 0.1, 0)]
    for end in ("complete", "time_limit", "departed", "failed"):
        recorder.record(response(parts=failed, stream=StreamFigures(end)))
    counts = {name: samples.count for name, samples in recorder.take().chosen(STREAM)}
    assert counts == {"part_errors": 1, "time_limit": 1, "departed": 1, "failed": 1}


def test_recorder__does_not_wait_for_who_adds_up():
    """A stream may end where the garbage collector runs: in the thread that adds up, too."""
    recorder = Recorder()
    with recorder._lock:
        for _ in range(1001):
            recorder.record(response())
    recorder.record(response())
    assert len(recorder._responses) == 0
    assert recorder.take().select(RESPONSE).count == 1002
