from __future__ import annotations

import pytest

from partstream.exceptions import InvalidCursor
from partstream.walks.cursor import MAX_PARTS, Cursor, new_walk, position


def cursor(**changes):
    values = {"walk": "w" * 16, "next": 2, "done": 0, "count": 6, "digest": "d" * 16}
    return Cursor(**{**values, "binding": "b" * 22, **changes})


@pytest.mark.parametrize(
    ("next_", "done", "count"),
    [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 1),
        (0, 0b1, 2),
        (2, 0b101, 6),
        (2, 0b111, 6),
        (0, 2**1999 - 1, 2000),
    ],
)
def test_payload__is_the_way_back(next_, done, count):
    value = cursor(next=next_, done=done, count=count)
    assert Cursor.from_payload(value.payload()) == value


def test_payload__is_the_documented_array():
    assert cursor(done=0b1010, count=10).payload() == [1, "w" * 16, 2, "a", 10, "d" * 16, "b" * 22]


@pytest.mark.parametrize("payload", [None, {}, "1234567", (1, 2, 3, 4, 5, 6, 7), 7, [], [1]])
def test_payload__of_another_kind_is_refused(payload):
    # The faults of single fields are in the codecs' contract, where they come well signed.
    with pytest.raises(InvalidCursor):
        Cursor.from_payload(payload)


@pytest.mark.parametrize(
    ("next_", "count", "fits", "too_much"),
    [(0, 2, "1", "2"), (0, 5, "f", "10"), (2, 10, "7f", "80"), (9, 10, "", "1"), (10, 10, "", "1")],
)
def test_payload__the_bitmap_fits_the_count(next_, count, fits, too_much):
    payload = [1, "w" * 16, next_, fits, count, "d" * 16, "b" * 22]
    assert Cursor.from_payload(payload).done == int(fits or "0", 16)
    payload[3] = too_much
    with pytest.raises(InvalidCursor):
        Cursor.from_payload(payload)


def test_payload__takes_the_most_parts_and_no_more():
    payload = cursor(count=MAX_PARTS).payload()
    assert Cursor.from_payload(payload).count == 2000
    payload[4] = MAX_PARTS + 1
    with pytest.raises(InvalidCursor):
        Cursor.from_payload(payload)


@pytest.mark.parametrize("field", ["walk", "next", "done", "count", "digest", "binding"])
def test_cursor__is_equal_to_one_of_the_same_values_only(field):
    other = cursor(**{field: 7 if isinstance(getattr(cursor(), field), int) else "other"})
    assert cursor() == cursor() != other


@pytest.mark.parametrize(
    ("next_", "done", "indices"),
    [
        (0, 0, [0, 1, 2, 3, 4, 5]),
        (4, 0, [4, 5]),
        (6, 0, []),
        (2, 0b011, [2, 5]),
        (2, 0b101, [2, 4]),
        (2, 0b111, [2]),
        (0, 0b11111, [0]),
    ],
)
def test_indices__are_what_remains(next_, done, indices):
    assert list(cursor(next=next_, done=done).indices()) == indices
    assert position(indices, 6) == (next_, done)


def test_position__of_a_single_part_has_all_after_it_done():
    assert position([1], 4) == (1, 0b11)


def test_new_walk__is_random_and_fits_the_schema():
    walks = {new_walk() for _ in range(100)}
    assert len(walks) == 100
    for walk in walks:
        assert Cursor.from_payload(cursor(walk=walk).payload()).walk == walk
