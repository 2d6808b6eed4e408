from __future__ import annotations

import datetime
import decimal
import itertools
import uuid

import pytest
from django.http import JsonResponse
from django.utils.functional import lazystr
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.utils.serializer_helpers import ReturnDict

from partstream.parts.fragment import NotSerializable, decode, encode
from tests.example.models import Note


class Plain:
    """Nothing that JSON knows."""


def cycle():
    data = []
    data.append(data)
    return data


def deep(depth):
    data = []
    for _ in range(depth):
        data = [data]
    return data


@pytest.mark.parametrize(
    "data",
    [
        True,
        0,
        -1.5e300,
        10**400,
        "",
        "é 名 🐈",
        '</script>\u2028\u2029\x00\x7f"\\',
        [],
        {},
        [1, "a", None, {"b": [2.5]}],
        {"b": 1, "a": 2},
        {1: "a", None: "b", False: "c"},
        (1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.timezone.utc),
        datetime.date(2026, 1, 2),
        datetime.time(3, 4, 5),
        datetime.timedelta(hours=25),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        b"bytes",
        {1},
        lazystr("lazy"),
        [lazystr("lazy")],
        ReturnDict({"a": 1}, serializer=None),
    ],
    ids=repr,
)
def test_encode__gives_the_bytes_of_drf(data):
    assert encode(data) == JSONRenderer().render(data)


def test_encode__takes_a_generator():
    assert encode(number for number in range(3)) == b"[0,1,2]"


@pytest.mark.parametrize(
    "data",
    [
        Plain(),
        [Plain()],
        {"a": Plain()},
        {Plain(): 1},
        {(1, 2): 3},
        float("nan"),
        [float("inf")],
        {"a": float("-inf")},
        "\ud800",
        {"\udfff": 1},
        cycle(),
        deep(100_000),
        b"\xff",
        [1, lambda: 1],
        range(3),
    ],
    ids=itertools.count(),
)
def test_encode__refuses_what_is_not_json(data):
    with pytest.raises(NotSerializable) as caught:
        encode(data)
    assert caught.value.__cause__ is not None


def test_encode__lets_the_error_of_an_iterator_through():
    def rows():
        yield 1
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        encode(rows())


@pytest.mark.parametrize("ascii_only", [True, False])
def test_encode__follows_unicode_json(monkeypatch, ascii_only):
    monkeypatch.setattr(JSONRenderer, "ensure_ascii", ascii_only)
    assert encode("é\u2028") == JSONRenderer().render("é\u2028")


def test_encode__follows_strict_json(monkeypatch):
    monkeypatch.setattr(JSONRenderer, "strict", False)
    assert encode([float("nan")]) == b"[NaN]" == JSONRenderer().render([float("nan")])


@pytest.mark.parametrize("data", [None, 0, "é", [1, {"a": None}], {"a": [1.5]}])
def test_decode__is_the_way_back(data):
    assert decode(encode(data)) == data


# Model instances

NOTE = Note(text="one")


@pytest.mark.parametrize(
    "data",
    [
        NOTE,
        [NOTE],
        (1, {"a": [{"b": NOTE}]}),
        {"note": NOTE, "other": 1},
    ],
    ids=itertools.count(),
)
def test_encode__of_a_model_instance_names_the_serializer(data):
    with pytest.raises(NotSerializable) as caught:
        encode(data)
    assert str(caught.value) == (
        "Object of type Note is not JSON serializable (a model instance). Write "
        "lazy(..., serializer_class=...), with many=True for a list or a QuerySet, or return plain "
        "data, such as values()"
    )
    assert isinstance(caught.value.__cause__, TypeError)


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["text"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (NoteSerializer(NOTE), " (a serializer). Return serializer.data"),
        (NoteSerializer([NOTE], many=True), " (a serializer). Return serializer.data"),
        (Response([1]), " (a response). Return the data, not a Response"),
        (JsonResponse({"a": 1}), " (a response). Return the data, not a Response"),
    ],
    ids=itertools.count(),
)
def test_encode__of_what_holds_the_data_says_what_to_return(data, says, nested):
    with pytest.raises(NotSerializable) as caught:
        encode({"a": [data]} if nested else data)
    name = type(data).__name__
    assert str(caught.value) == f"Object of type {name} is not JSON serializable{says}"


@pytest.mark.django_db
@pytest.mark.parametrize("nested", [False, True])
def test_encode__of_a_query_set_of_instances_names_the_serializer(nested):
    Note.objects.create(text="one")
    notes = Note.objects.all()
    with pytest.raises(NotSerializable, match=r"type Note .* serializer_class="):
        encode({"notes": notes} if nested else notes)
    assert encode(Note.objects.values("text")) == b'[{"text":"one"}]'


def test_encode__another_object_beside_an_instance_is_said_alone():
    # The encoder meets the other one first.
    with pytest.raises(NotSerializable, match=r"type Plain is not JSON serializable$"):
        encode([Plain(), NOTE])


def test_encode__looks_at_a_bounded_number_of_values():
    with pytest.raises(NotSerializable, match=r"type Note is not JSON serializable$"):
        encode([[NOTE], *range(2000)])
