"""`partstream.testing` and streams: what ends early, what is faulty, and records one by one."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.routers import SimpleRouter
from rest_framework.test import APIClient
from rest_framework.viewsets import ViewSet

from partstream import ProgressiveView, lazy
from partstream.testing import aread_records, collect, read_records
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from tests.support.streams import until_second_request
from tests.support.walk_client import at, first_cursor, merged

PARTS = [(name, lazy(lambda request, name=name: name.upper())) for name in "abcde"]


def length(request, slow):
    return len(slow)


ALL = {name: name.upper() for name in "abcde"}
TYPES = {"stream": "application/x-ndjson", "sse": "text/event-stream"}
FORMATS = {"stream": "ndjson", "sse": "sse"}


@pytest.fixture(params=TYPES)
def mode(request):
    return request.param


# A stream that ends early


@pytest.fixture
def slow(held, settings):
    """A loader that outlasts the first stream."""
    settings.DJANGO_PARTSTREAM = {"STREAM_MAX_SECONDS": 0.1}
    return held("slow")


@pytest.fixture
def early(slow):
    """The base of views whose first stream ends early."""
    return type("Early", (until_second_request(slow), ProgressiveView), {})


def test_collect__resumes_a_stream_that_ends_early(client, serve, mode, early, slow):
    url = serve(
        early,
        parts=[
            ("now", 1),
            *PARTS,
            ("slow", lazy(slow)),
            ("last", lazy(length, depends_on=["slow"])),
        ],
    )
    found = collect(client, url, mode=mode)
    assert found == {"now": 1, **ALL, "slow": "slow", "last": 4}
    assert found.requests > 1
    # The second stream joined it.
    assert slow.runs == 1


@pytest.mark.parametrize("query", ["", "?x=1", "?x=a%20b&after=2"])
@pytest.mark.parametrize(
    "attributes",
    [{"cursor_query_param": "page"}, {"get_cursor_query_param": lambda self: "page"}],
)
def test_collect__resumes_by_the_views_own_parameter(client, serve, early, slow, query, attributes):
    url = serve(early, parts=[("slow", lazy(slow))], **attributes)
    assert collect(client, url + query, mode="stream") == {"slow": "slow"}


def test_collect__resumes_by_the_parameter_of_as_view(client, mount, early, slow):
    view = type("Board", (early,), {"parts": [("slow", lazy(slow))]})
    mount(path("board/", view.as_view(cursor_query_param="page")))
    assert collect(client, "/board/", mode="stream") == {"slow": "slow"}


def test_collect__resumes_the_stream_of_a_viewset(client, mount, slow):
    class Boards(until_second_request(slow), ProgressiveViewSetMixin, ViewSet):
        cursor_query_param = "page"

        @progressive_action(detail=True)
        def board(self):
            return [("slow", lazy(slow))]

    router = SimpleRouter()
    router.register("boards", Boards, "board")
    mount(*router.urls)
    assert collect(client, "/boards/1/board/", mode="stream") == {"slow": "slow"}


def test_collect__starts_where_the_url_says(client, serve, mode, early, slow):
    token = first_cursor(client, serve(parts=[*PARTS, ("slow", lazy(slow))]))
    url = serve(early, parts=[*PARTS, ("slow", lazy(slow))])
    found = collect(client, at(url, token), mode=mode)
    assert set(found) == {*"cde", "slow"}
    assert found.requests > 1


# What is wrong with a stream

OPENING = {"results": [], "cursor": "T1", "meta": {"pending": ["a"]}}
PART = {"results": [{"a": 1}], "cursor": "T2"}
END = {"results": [{"b": 1}], "cursor": None}
BROKEN = {
    "results": [],
    "cursor": "T2",
    "stream_error": {"code": "stream_failed", "detail": "The stream failed."},
}
JUNK = "<html>"


def framed(mode, record, event_id=None):
    """One record on the wire."""
    text = record if isinstance(record, str) else json.dumps(record)
    if mode == "stream":
        return f"{text}\n".encode()
    if event_id is None:
        event_id = "END" if record == END else getattr(record, "get", {}.get)("cursor", "")
    return f"id: {event_id}\ndata: {text}\n\n".encode()


@pytest.fixture
def answer(mount):
    """Answer every request with these bytes."""

    def answer(*pieces, content_type, **attributes):
        closed = []

        def view(request):
            response = StreamingHttpResponse(iter(pieces), content_type=content_type)
            response._resource_closers.append(lambda: closed.append(1))
            return response

        mount(path("faulty/", view))
        return closed

    return answer


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([OPENING, PART, PART, END], "part 'a' came twice"),
        ([OPENING, BROKEN], "the stream broke: .*stream_failed.* The log has the exception"),
        ([END, PART], "a record came after the end of the stream"),
        ([END, END], "a record came after the end of the stream"),
        ([], "the stream has no record"),
        ([OPENING, JUNK], "The stream is not partstream's. This is not JSON: '<html>'"),
        ([OPENING, {"results": []}], "The stream is not partstream's. This is not a record"),
        # It never ends, and is resumed as long as it has nothing to deliver.
        ([OPENING], "the walk does not end"),
    ],
)
@pytest.mark.parametrize("allow_errors", [True, False])
def test_collect__a_faulty_stream_fails_the_test(
    client, answer, monkeypatch, mode, records, says, allow_errors
):
    monkeypatch.setattr("partstream.testing.collecting._MOST_REQUESTS", 20)
    closed = answer(*(framed(mode, record) for record in records), content_type=TYPES[mode])
    with pytest.raises(AssertionError, match=says):
        collect(client, "/faulty/", mode=mode, allow_errors=allow_errors)
    # It was read to its end, and so closed.
    assert closed


@pytest.mark.parametrize("event_id", ["", "T9"])
def test_collect__an_id_that_is_not_the_cursor_fails_the_test(client, answer, event_id):
    answer(framed("sse", OPENING, event_id), content_type=TYPES["sse"])
    with pytest.raises(AssertionError, match="the cursor and the event's id disagree"):
        collect(client, "/faulty/", mode="sse")


def test_collect__an_end_without_an_id_fails_the_test(client, answer):
    answer(framed("sse", END, ""), content_type=TYPES["sse"])
    with pytest.raises(AssertionError, match="the cursor and the event's id disagree"):
        collect(client, "/faulty/", mode="sse")


def test_collect__a_record_that_was_cut_is_not_delivered(client, mount, mode):
    """The stream is resumed before it."""
    whole = [framed(mode, OPENING), framed(mode, PART), framed(mode, END)]
    answers = [whole[0] + whole[1][:-3], b"".join(whole[1:])]
    asked = []

    def view(request):
        asked.append((request.GET.get("cursor"), request.headers.get("Last-Event-ID")))
        return StreamingHttpResponse([answers.pop(0)], content_type=TYPES[mode])

    mount(path("cut/", view))
    assert collect(client, "/cut/", mode=mode) == {"a": 1, "b": 1}
    assert asked == [(None, None), ("T1", None) if mode == "stream" else (None, "T1")]


@pytest.mark.parametrize("accept", [{"HTTP_ACCEPT": "*/*"}, {"headers": {"accept": "*/*"}}])
def test_collect__an_answer_that_is_no_stream_fails_the_test(client, serve, mode, accept):
    url = serve(parts=PARTS)
    with pytest.raises(AssertionError, match=f"does not stream {TYPES[mode]}: .* StreamMixin"):
        collect(client, url, mode=mode, **accept)


def test_collect__the_other_kind_of_stream_fails_the_test(client, serve):
    url = serve(parts=PARTS)
    with pytest.raises(AssertionError, match="does not stream text/event-stream"):
        collect(client, url, mode="sse", HTTP_ACCEPT=TYPES["stream"])


def test_collect__a_view_without_streams_fails_the_test(client, serve, mode):
    class Plain(ProgressiveView):
        def get_renderers(self):
            return super().get_renderers()[:1]

    with pytest.raises(AssertionError, match="answered 406"):
        collect(client, serve(Plain, parts=PARTS), mode=mode)


def test_collect__a_stream_is_no_chunk(client, answer, mode):
    answer(framed(mode, END), content_type=TYPES[mode])
    with pytest.raises(AssertionError, match="is not a partstream view, or it streams"):
        collect(client, "/faulty/", mode="walk")


@pytest.mark.parametrize("status", [204, 503])
def test_collect__streams_that_are_switched_off_fail_the_test(client, mount, mode, status):
    mount(path("off/", lambda request: HttpResponse(b"", status=status)))
    with pytest.raises(AssertionError, match=f"/off/ answered {status}"):
        collect(client, "/off/", mode=mode)


# Records one by one


@pytest.mark.parametrize("kind", [Client, APIClient])
def test_read_records__has_each_record_as_soon_as_it_is_there(serve, mode, held, kind):
    slow = held("slow")
    url = serve(parts=[("now", 1), ("slow", lazy(slow)), ("last", lazy(lambda request: 2))])
    response = kind().get(url, HTTP_ACCEPT=TYPES[mode])
    records = read_records(response)
    opening = next(records)
    assert opening["results"] == [{"now": 1}]
    assert opening["meta"]["pending"] == ["slow", "last"]
    slow.release()
    assert next(records)["results"] == [{"slow": "slow"}]
    last = next(records)
    assert (last["results"], last["cursor"]) == ([{"last": 2}], None)
    assert list(records) == []


@pytest.mark.django_db  # Django looks at its connections when a response is closed.
def test_read_records__closes_nothing(client, answer, mode):
    closed = answer(framed(mode, OPENING), framed(mode, END), content_type=TYPES[mode])
    response = client.get("/faulty/")
    records = read_records(response)
    assert next(records) == OPENING
    records.close()
    assert not closed
    response.close()
    assert closed


def test_read_records__leaves_out_heartbeats_and_what_was_cut(client, answer, mode):
    heartbeat = b" " if mode == "stream" else b":\n\n"
    answer(
        heartbeat,
        framed(mode, OPENING) + heartbeat + framed(mode, PART),
        heartbeat,
        framed(mode, END)[:-1],
        content_type=TYPES[mode],
    )
    assert list(read_records(client.get("/faulty/"))) == [OPENING, PART]


def test_read_records__hands_over_a_record_that_says_the_stream_broke(client, answer, mode):
    answer(framed(mode, BROKEN), content_type=TYPES[mode])
    assert list(read_records(client.get("/faulty/"))) == [BROKEN]


def test_read_records__what_is_no_record_fails_the_test(client, answer, mode):
    answer(framed(mode, OPENING), framed(mode, JUNK), content_type=TYPES[mode])
    records = read_records(client.get("/faulty/"))
    assert next(records) == OPENING
    with pytest.raises(AssertionError, match="This is not JSON: '<html>'"):
        next(records)


@pytest.mark.parametrize("read", [read_records, aread_records])
def test_read_records__an_answer_that_is_no_stream_fails_the_test_at_once(client, serve, read):
    url = serve(parts=PARTS)
    with pytest.raises(AssertionError, match=r"not a stream, but 200 with application/json: b'{"):
        read(client.get(url))
    with pytest.raises(AssertionError, match="not a stream, but 406 with application/json"):
        read(client.get(url, HTTP_ACCEPT="text/plain"))


def test_aread_records__has_the_records_of_an_async_client(serve, mode):
    url = serve(parts=[("now", 1), *PARTS])

    async def read():
        response = await AsyncClient().get(f"{url}?format={FORMATS[mode]}")
        with pytest.raises(AssertionError, match=r"Read this response with aread_records\(\)"):
            read_records(response)
        return [record async for record in aread_records(response)]

    found = async_to_sync(read)()
    assert found[0]["meta"]["pending"] == list("abcde")
    assert merged(found) == {"now": 1, **ALL}
    assert found[-1]["cursor"] is None


def test_aread_records__of_a_synchronous_answer_names_the_other(client, answer):
    answer(framed("sse", END), content_type=TYPES["sse"])
    with pytest.raises(AssertionError, match=r"Read this response with read_records\(\)"):
        aread_records(client.get("/faulty/"))
