from __future__ import annotations

import json

import pytest

from partstream.performance.samples import (
    FIRST_RECORD,
    MAX_LABELS,
    OTHER,
    PART,
    RESPONSE,
    RESUME,
    STREAM,
    Samples,
    Table,
)


def filled(*seconds, **labels):
    table = Table()
    for value in seconds:
        table.of((PART, "view/", "orders", "loader")).add(value)
    return table


def test_table__merge_adds():
    table = filled(0.1, 0.2)
    table.merge(filled(0.4))
    samples = table.select(PART)
    assert samples.count == 3
    assert samples.seconds == pytest.approx(0.7)
    assert sum(samples.buckets.values()) == 3


def test_table__select_by_view_and_part():
    table = Table()
    for view in ("a/", "b/"):
        for part in ("x", "y"):
            table.of((PART, view, part, "loader")).add(1.0)
            table.of((PART, view, part, "part_failed")).add(1.0)
        table.of((RESPONSE, view, "", "ok")).add(1.0)
    assert table.select(PART).count == 8
    assert table.select(PART, "a/").count == 4
    assert table.select(PART, None, "x").count == 4
    assert table.select(PART, "a/", "x").count == 2
    assert table.select(RESPONSE).count == 2
    assert table.select(RESPONSE, "c/").count == 0


def test_table__labels_are_bounded():
    table = Table()
    for number in range(3 * MAX_LABELS):
        table.of((PART, "view/", f"part_{number}", "loader")).add(1.0)
        table.of((PART, "view/", "orders", f"code_{number}")).add(1.0)
        table.of((RESPONSE, f"view/{number}", "", "ok")).add(1.0)
    assert len(list(table)) < MAX_LABELS + 10
    # Nothing is lost: the rest is counted together.
    assert table.select(PART).count == 6 * MAX_LABELS
    assert table.select(RESPONSE).count == 3 * MAX_LABELS
    assert table.select(PART, OTHER, OTHER).count > MAX_LABELS
    # An error stays one.
    assert {outcome for outcome, _ in table.chosen(PART, OTHER, OTHER)} == {"loader", OTHER}


def test_table__labels_of_streams_are_bounded():
    table = Table()
    for number in range(MAX_LABELS):
        for measure, outcome in [(FIRST_RECORD, ""), (RESUME, ""), (STREAM, "complete")]:
            table.of((measure, f"view/{number}", "", outcome)).add(1.0)
    assert len(list(table)) < MAX_LABELS + 10
    for measure in (FIRST_RECORD, RESUME, STREAM):
        assert table.select(measure).count == MAX_LABELS
    # What has no outcome does not get one.
    assert {outcome for outcome, _ in table.chosen(FIRST_RECORD, OTHER)} == {""}
    assert {outcome for outcome, _ in table.chosen(STREAM, OTHER)} == {"complete"}


def test_samples__sums_do_not_depend_on_the_order():
    """Floats would: 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1."""
    forwards, backwards = Samples(), Samples()
    for made, values in ((forwards, (0.1, 0.2, 0.3)), (backwards, (0.3, 0.2, 0.1))):
        for value in values:
            made.add(value)
            made.track([value], 0)
    assert (forwards.seconds, forwards.query_seconds) == (0.6, 0.6)
    assert (backwards.seconds, backwards.query_seconds) == (0.6, 0.6)


def test_samples__without_buckets_survive_json():
    """Outages of a store are only counted."""
    samples = Samples()
    samples.count = 3
    again = Samples.from_payload(json.loads(json.dumps(samples.payload())))
    assert (again.count, again.buckets) == (3, {})


def test_table__payload_survives_json():
    table = filled(0.1, 3.0)
    table.of((PART, "view/", "orders", "loader")).track([0.01, 0.02], 500)
    table.of((PART, "view/", "orders", "loader")).add(0.0, lookups=1)
    again = Table.from_payload(json.loads(json.dumps(table.payload())))
    ((labels, samples),) = again
    assert labels == (PART, "view/", "orders", "loader")
    ((_, before),) = table
    assert {name: getattr(samples, name) for name in Samples.__slots__} == {
        name: getattr(before, name) for name in Samples.__slots__
    }
