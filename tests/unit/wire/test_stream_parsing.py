from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partstream.wire.stream_parsing import PARSERS, NDJSONParser, SSEParser
from tests.support.hypothesis_profiles import examples

FIRST = {"results": [{"a": "é\r\n"}], "cursor": "T1"}
LAST = {"results": [], "cursor": None}


def line(record):
    return json.dumps(record, ensure_ascii=False).encode()


NDJSON = b" " + line(FIRST) + b"\n  " + line(LAST) + b"\n"
SSE = (
    b"retry: 1000\nid: T1\ndata: " + line(FIRST) + b"\n\n:\n\n"
    b"id: END\ndata: " + line(LAST) + b"\n\n"
)
STREAMS = [pytest.param(NDJSONParser, NDJSON, id="ndjson"), pytest.param(SSEParser, SSE, id="sse")]


def read(parser, pieces):
    """All records, and the id after the last one."""
    return [record for piece in pieces for record in parser.feed(piece)], parser.last_event_id


def cut(data, places):
    """The bytes, cut at these places."""
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize(("kind", "stream"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_parser__reads_a_stream_in_any_pieces(kind, stream, size):
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert read(kind(), pieces) == ([FIRST, LAST], "END" if kind is SSEParser else "")


@pytest.mark.parametrize(("kind", "stream"), STREAMS)
def test_parser__a_record_is_there_with_its_last_byte(kind, stream):
    parser = kind()
    counts = [len(parser.feed(stream[place : place + 1])) for place in range(len(stream))]
    assert sum(counts) == 2
    assert counts[-1] == 1


@pytest.mark.parametrize(("kind", "stream"), STREAMS)
def test_parser__a_record_that_was_cut_is_none(kind, stream):
    """Wherever the line is cut, what came before is whole, and so is the id to resume from."""
    for end in range(len(stream)):
        records, last_event_id = read(kind(), [stream[:end]])
        assert records in ([], [FIRST])
        assert last_event_id == ("T1" if records and kind is SSEParser else "")


@pytest.mark.parametrize("kind", PARSERS.values())
@pytest.mark.parametrize("text", [b"{", b"<html>", b"[]", b'"cursor"', b'{"results": []}', b"\xff"])
def test_parser__what_is_no_record_is_an_error(kind, text):
    data = text + b"\n" if kind is NDJSONParser else b"data: " + text + b"\n\n"
    with pytest.raises(ValueError, match="This is not "):
        kind().feed(data)


def test_ndjson__ignores_blank_lines_and_spaces():
    data = b"\n \n\t\r\n  " + line(FIRST) + b" \r\n \n"
    assert NDJSONParser().feed(data) == [FIRST]


EVENTS = [
    # The examples of the specification, and its rules one by one.
    ("data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"], ""),
    (": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n", 3, ""),
    ("data:test\n\ndata: test\n\n", ["test", "test"], ""),
    ("data:  two\n\n", [" two"], ""),
    ("data\n\ndata\ndata\n\ndata:", [], ""),
    ("id: 1\n\n", [], "1"),
    ("id: 1\ndata: a\n\ndata: b\n\n", ["a", "b"], "1"),
    ("id: 1\ndata: a\n\nid\ndata: b\n\n", ["a", "b"], ""),
    ("id: 1\ndata: a\n\nid: 2\ndata: b", ["a"], "1"),
    ("id: 1\0\ndata: a\n\n", ["a"], ""),
    ("event: other\ndata: a\n\ndata: b\n\n", ["b"], ""),
    ("event: message\ndata: a\n\n", ["a"], ""),
    ("event: other\nevent\ndata: a\n\n", ["a"], ""),
    ("Data: a\n data: b\nfoo: c\ndata : d\ndata: e\n\n", ["e"], ""),
    ("data: a:b: c\n\n", ["a:b: c"], ""),
    ("data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", ["a", "b", "c"], ""),
    ("data: a\r\ndata: b\rdata: c\n\n", ["a\nb\nc"], ""),
    ("\ufeffdata: a\n\n", ["a"], ""),
    ("\ufeff\ufeffdata: a\n\n", [], ""),
    ("data: a\n\n\ufeffdata: b\n\n", ["a"], ""),
    ("\ufeff", [], ""),
    ("", [], ""),
]


@pytest.mark.parametrize(("stream", "texts", "last_event_id"), EVENTS)
@pytest.mark.parametrize("size", [1, 10_000])
def test_sse__follows_the_specification(stream, texts, last_event_id, size):
    parser, data = SSEParser(), stream.encode()
    found = []
    for start in range(0, len(data), size):
        found += parser.texts(data[start : start + size])
    assert (found if isinstance(texts, list) else len(found)) == texts
    assert parser.last_event_id == last_event_id


@pytest.mark.parametrize(
    ("value", "retry"), [("1000", 1000), ("0", 0), ("", 7), ("-1", 7), ("1.5", 7), ("\u0661", 7)]
)
def test_sse__retry_is_digits(value, retry):
    parser = SSEParser()
    parser.texts(f"retry: 7\nretry: {value}\n\n".encode())
    assert parser.retry == retry


def test_sse__bytes_that_are_no_utf_8_are_replaced():
    assert SSEParser().texts(b"data: \xff\xc3\n\n") == ["\ufffd\ufffd"]


def reference(data):
    """The texts and the last id, by the words of the specification, from the whole stream."""
    text = data.decode(errors="replace").removeprefix("\ufeff")
    *lines, _ = re.split("\r\n|\r|\n", text)
    texts, last, buffers = [], "", {"data": "", "event": "", "id": ""}
    for each in lines:
        if each == "":
            last = buffers["id"]
            if buffers["data"].strip() and buffers["event"] in ("", "message"):
                texts.append(buffers["data"].removesuffix("\n"))
            buffers = {"data": "", "event": "", "id": last}
        elif not each.startswith(":"):
            name, _, value = each.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "data":
                buffers["data"] += value + "\n"
            elif name == "event" or (name == "id" and "\0" not in value):
                buffers[name] = value
    return texts, last


PIECES = [b"data", b"id", b"event", b"message", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\0"]
PIECES += [b"data: x\n", b"id: 7\n", b"\xef", b"\xbb", b"\xbf", "\ufeff".encode(), "é".encode()]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), st.lists(st.integers(0)))
@examples(500)
def test_sse__reads_any_bytes_in_any_pieces(data, places):
    parser = SSEParser()
    texts = [text for piece in cut(data, places) for text in parser.texts(piece)]
    assert (texts, parser.last_event_id) == reference(data)


JSON = st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=3)
RECORDS = st.lists(st.fixed_dictionaries({"results": JSON, "cursor": st.none() | st.text()}))


@given(RECORDS, st.lists(st.integers(0)), st.booleans())
@examples(200)
def test_parser__reads_any_records_in_any_pieces(records, places, is_sse):
    kind, heartbeat = (SSEParser, b":\n\n") if is_sse else (NDJSONParser, b" ")
    frame = b"data: %b\n\n" if is_sse else b"%b\n"
    # U+0085 and U+2028 are no ends of lines here.
    data = heartbeat + b"".join(frame % line(record) + heartbeat for record in records)
    assert read(kind(), cut(data, places))[0] == records
