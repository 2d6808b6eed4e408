"""Streams: what a client gets, and when."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from django.utils import translation
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, cached_for, lazy
from partstream.backends.executors.threads import ThreadExecutor
from partstream.current_request import current_request_id
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin, StreamMixin
from partstream.parts.outcome import size_of
from partstream.renderers import NDJSONRenderer, SSERenderer
from partstream.request_ids import HEADER
from partstream.resolution.waiting import Waiting
from partstream.streams.registry import count_open_streams
from tests.support.streams import NDJSON, SSE, events, get_stream, opened, records, stream
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
EXECUTORS = pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])


def one(request):
    return 1


def failing(request):
    raise ValueError("no")


def parts(*loaders):
    """An immediate part, and a lazy one for each loader: p0, p1, …"""
    return [("now", 0), *((f"p{number}", lazy(loader)) for number, loader in enumerate(loaders))]


# Records


@EXECUTORS
def test_stream__begins_with_what_is_there_and_ends_with_null(serve, client, executor):
    url = serve(parts=parts(one, one), executor=executor)
    found = stream(client, url)
    assert found[0]["results"] == [{"now": 0}]
    assert found[0]["meta"]["pending"] == ["p0", "p1"]
    assert merged(found) == {"now": 0, "p0": 1, "p1": 1}
    assert [record["cursor"] is None for record in found] == [False] * (len(found) - 1) + [True]
    assert all("pending" not in record["meta"] for record in found[1:])
    assert [record["meta"]["current_part"] for record in found][-1] == 3
    assert {record["meta"]["total_parts"] for record in found} == {3}
    assert not count_open_streams()


def test_stream__without_lazy_parts_is_one_record(serve, client):
    (record,) = stream(client, serve(parts=[("now", 0), ("too", 1)]))
    assert names(record) == ["now", "too"]
    assert record["cursor"] is None
    assert record["meta"]["pending"] == []


def test_stream__begins_with_a_part_that_the_view_has_resolved_already(serve, client, calls):
    class Resolves(ProgressiveView):
        def get(self, request, *args, **kwargs):
            self.get_resolver(request).resolve(["p0"])
            return super().get(request, *args, **kwargs)

    url = serve(Resolves, parts=parts(calls.loader("p0"), calls.loader("p1")), executor=THREADS)
    first, second = stream(client, url)
    assert (names(first), first["meta"]["pending"]) == (["now", "p0"], ["p1"])
    assert (names(second), second["cursor"]) == (["p1"], None)
    assert calls == ["p0", "p1"]


@EXECUTORS
def test_stream__sends_each_part_when_it_has_ended(serve, client, held, executor):
    first, second = held("first"), held("second")
    url = serve(parts=parts(first, second), executor=executor)
    with opened(client, url) as found:
        assert names(next(found)) == ["now"]
        if executor:
            second.release()
            assert names(next(found)) == ["p1"]
        first.release()
        assert names(next(found)) == ["p0"]
        second.release()
        rest = list(found)
    assert rest == [] if executor else names(rest[0]) == ["p1"]


def test_stream__has_an_inline_executor_run_one_at_a_time_in_workers(
    serve, client, held, calls, settings
):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}
    first = held("first")
    url = serve(parts=parts(first, calls.loader("second")))
    with opened(client, url) as found:
        next(found)
        found.go_on()
        first.wait_until_begun()
        assert calls == []
        first.release()
        assert [names(record) for record in found] == [["p0"], ["p1"]]


@pytest.mark.django_db
def test_stream__inside_a_transaction_runs_inline_loaders_in_its_own_thread(serve, client):
    User.objects.create(username="ada")
    url = serve(parts=parts(lambda request: User.objects.get().username, one))
    assert merged(stream(client, url)) == {"now": 0, "p0": "ada", "p1": 1}


@EXECUTORS
def test_stream__has_a_record_for_each_failure(serve, client, executor):
    url = serve(
        parts=[*parts(one, failing), ("then", lazy(lambda request, p1: 1, depends_on=["p1"]))],
        executor=executor,
    )
    errors = [error for record in stream(client, url) for error in record.get("errors", [])]
    assert [(error["part"], error["code"]) for error in errors] == [
        ("p1", "part_failed"),
        ("then", "dependency_failed"),
    ]
    for error in errors:
        (again,) = walk(client, url, error["retry_cursor"])
        assert [known["part"] for known in again["errors"]] == [error["part"]]


@EXECUTORS
def test_stream__a_loader_that_ends_its_thread_fails_alone(serve, client, executor):
    def leave(request):
        raise SystemExit

    url = serve(parts=parts(leave, one), executor=executor)
    found = stream(client, url)
    assert merged(found) == {"now": 0, "p1": 1}
    (error,) = (error for record in found for error in record.get("errors", []))
    assert error["code"] == "part_failed"


def test_stream__of_events_names_each_by_its_cursor(serve, client):
    url = serve(parts=parts(one, one))
    found = list(events(get_stream(client, url, **SSE)))
    assert [event.get("retry") for event in found] == ["1000"] + [None] * (len(found) - 1)
    for event in found[:-1]:
        assert event["id"] == json.loads(event["data"])["cursor"]
    assert json.loads(found[-1]["data"])["cursor"] is None
    assert found[-1]["id"]
    assert merged(json.loads(event["data"]) for event in found) == {"now": 0, "p0": 1, "p1": 1}


def test_stream__headers(serve, client):
    url = serve(HybridProgressiveView, parts=parts(one))
    for format, extra in (("application/x-ndjson", NDJSON), ("text/event-stream", SSE)):
        response = get_stream(client, url, **extra)
        list(response.streaming_content)
        assert response.headers["Content-Type"] == format
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Content-Encoding"] == "identity"
        assert response.headers[HEADER]
        assert "Accept" in response.headers["Vary"]
        assert not response.has_header("Content-Length")


# Negotiation


@pytest.mark.parametrize("query", ["?format=ndjson", "?format=sse"])
def test_negotiation__by_query(serve, client, query):
    response = client.get(serve(parts=parts(one)) + query)
    assert response.streaming
    assert b'"p0":1' in b"".join(response.streaming_content)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/event-stream"]
)
def test_negotiation__json_is_a_walk(serve, client, accept):
    envelope = get_json(client, serve(parts=parts(one, one)), HTTP_ACCEPT=accept)
    assert names(envelope) == ["now", "p0"]


@pytest.mark.parametrize("path", ["parts/?keys=now", "manifest/"])
@pytest.mark.parametrize("extra", [NDJSON, SSE])
def test_negotiation__only_the_walk_streams(serve, client, path, extra):
    url = serve(HybridProgressiveView, parts=parts(one))
    response = client.get(url + path, **extra)
    assert response.status_code == 406
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("extra", [NDJSON, SSE])
def test_negotiation__errors_are_json(serve, client, extra):
    response = client.get(serve(parts=parts(one)) + "?cursor=junk", **extra)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["code"] == "cursor_invalid"


@pytest.mark.parametrize("extra", [NDJSON, SSE])
def test_negotiation__other_methods_are_json(serve, client, extra):
    class View(ProgressiveView):
        def post(self, request):
            return Response({"answer": 1})

    url = serve(View, parts=parts(one), permission_classes=[])
    for response in (client.post(url, **extra), client.options(url, **extra)):
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
    assert client.post(url, **extra).json() == {"answer": 1}


@pytest.mark.parametrize("extra", [NDJSON, SSE])
def test_head__runs_nothing(serve, client, calls, extra):
    response = client.head(serve(parts=parts(calls.loader("p0"))), **extra)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == extra["HTTP_ACCEPT"]
    assert calls == []
    assert not count_open_streams()


# Composition


class Plain(ChunkMixin, CursorMixin, StreamMixin, APIView):
    """In another order than the ready view's."""

    permission_classes = ()
    parts = parts(one)

    def get(self, request):
        return self.walk_response(request)


def test_mixin__in_any_order(serve, client):
    url = serve(Plain)
    assert names(get_json(client, url)) == ["now", "p0"]
    assert merged(stream(client, url)) == {"now": 0, "p0": 1}


def test_mixin__left_out(serve, client):
    class View(CursorMixin, ChunkMixin, APIView):
        permission_classes = ()
        parts = parts(one)

        def get(self, request):
            return self.walk_response(request)

    assert client.get(serve(View), **NDJSON).status_code == 406


@pytest.mark.parametrize("extra", [{}, NDJSON])
def test_mixin__of_a_view_that_only_streams(serve, client, extra):
    class View(StreamMixin, CursorMixin, APIView):
        permission_classes = ()
        renderer_classes = (NDJSONRenderer,)
        parts = parts(one)

        def get(self, request):
            return self.stream_response(request)

    url = serve(View)
    response = client.get(url, **extra)
    assert merged(records(response)) == {"now": 0, "p0": 1}
    assert client.get(f"{url}?cursor=junk", **extra).json()["code"] == "cursor_invalid"


def test_mixin__without_cursors_is_misuse(serve, client):
    class View(StreamMixin, APIView):
        permission_classes = ()
        parts = parts(one)

        def get(self, request):
            return self.stream_response(request)

    with pytest.raises(Misuse, match="CursorMixin"):
        client.get(serve(View), **NDJSON)


def test_mixin__a_stream_for_a_client_that_asks_for_none_is_misuse(serve, client):
    class View(StreamMixin, CursorMixin, APIView):
        permission_classes = ()
        parts = parts(one)

        def get(self, request):
            return self.stream_response(request)

    with pytest.raises(Misuse, match="StreamRenderer"):
        client.get(serve(View))


# A project's own renderer


class Indented(JSONRenderer):
    def render(self, data, *args, **kwargs):
        return json.dumps(data, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode()


LINE_ENDS = "a\u0085b\u2028c\u2029d"


@pytest.mark.parametrize("extra", [NDJSON, SSE])
def test_renderer__of_a_project_breaks_no_record(serve, client, extra):
    url = serve(renderer_classes=[Indented], parts=parts(lambda request: {"deep": [LINE_ENDS]}))
    response = get_stream(client, url, **extra)
    if extra is SSE:
        found = [json.loads(event["data"]) for event in events(response)]
    else:
        text = b"".join(response.streaming_content).decode()
        assert len(text.splitlines()) == len(text.split("\n")) - 1
        found = [json.loads(line) for line in text.splitlines()]
    assert merged(found) == {"now": 0, "p0": {"deep": [LINE_ENDS]}}


@pytest.mark.parametrize("size", [10, 1 << 16, (1 << 16) + 1, 1 << 20])
@pytest.mark.parametrize("renderer", [NDJSONRenderer(), SSERenderer()])
def test_renderer__sends_small_pieces(size, renderer):
    pieces = [b'{"results":[{"part":"', b"x" * size, b'"}]}']
    sent = list(renderer.record(pieces, "token", is_first=True))
    assert b"".join(pieces) in b"".join(sent)
    assert max(map(len, sent)) <= 1 << 16
    assert len(sent) <= size // (1 << 16) + 2


def test_renderer__renders_data_that_is_no_stream_as_one_record():
    assert NDJSONRenderer().render({"a": "b"}) == b'{"a":"b"}\n'
    assert SSERenderer().render({"a": "b"}) == b'data: {"a":"b"}\n\n'
    assert NDJSONRenderer().render(None) == b"null\n"


# What loaders see


@EXECUTORS
def test_loader__sees_the_requests_language_address_and_id(serve, client, executor):
    seen = []

    def look(request):
        return [
            translation.get_language(),
            request.path,
            dict(request.query_params),
            current_request_id(),
        ]

    class View(ProgressiveView):
        def get(self, request):
            with translation.override("de"):
                return self.walk_response(request)

    url = serve(View, permission_classes=[], parts=parts(look, look), executor=executor)
    response = client.get(f"{url}?format=ndjson&page=2")
    for record in records(response):
        seen += [value for name, value in merged([record]).items() if name != "now"]
    assert seen == [["de", url, {"page": ["2"]}, response.headers[HEADER]]] * 2


# A walk that goes on as a stream, and the reverse


@EXECUTORS
def test_stream__goes_on_where_a_walk_is(serve, client, calls, executor):
    loaders = [calls.loader(f"p{number}", number) for number in range(4)]
    url = serve(parts=parts(*loaders), executor=executor)
    token = first_cursor(client, url)
    rest = stream(client, at(url, token))
    assert rest[0]["results"] == []
    assert rest[0]["meta"]["pending"] == ["p1", "p2", "p3"]
    assert merged(rest) == {"p1": 1, "p2": 2, "p3": 3}
    assert sorted(calls) == ["p0", "p1", "p2", "p3"]
    for record in rest[:-1]:
        known = merged(rest[: rest.index(record) + 1])
        assert (
            merged(walk(client, url, record["cursor"])).keys() == {"p1", "p2", "p3"} - known.keys()
        )


def test_stream__of_an_end_cursor_has_no_parts(serve, client):
    url = serve(parts=parts(one))
    end = list(events(get_stream(client, url, **SSE)))[-1]["id"]
    for extra in (NDJSON, SSE):
        response = get_stream(client, at(url, end), **extra)
        found = (
            [json.loads(event["data"]) for event in events(response)]
            if extra is SSE
            else list(records(response))
        )
        assert [(record["results"], record["cursor"]) for record in found] == [([], None)]
    envelope = get_json(client, at(url, end))
    assert (envelope["results"], envelope["cursor"]) == ([], None)


# The manifest


@pytest.mark.parametrize(("most", "links"), [(100, {"stream": "/served/"}), (0, {})])
def test_manifest__links_the_stream(serve, client, settings, most, links):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "MAX_STREAMS": most}
    url = serve(HybridProgressiveView, parts=parts(one))
    found = get_json(client, f"{url}manifest/")["links"]
    assert found == {"walk": "/served/", "parts": "/served/parts/", **links}


# Bounds


def test_bounds__no_more_parts_are_in_flight_than_the_pool_has_threads(
    serve, client, held, executors, settings, calls
):
    """A part that the client has not read yet takes up room, as one that runs."""
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}
    first, second, third = held("first"), held("second"), held("third")
    two = executors(ThreadExecutor, max_workers=2)
    url = serve(parts=parts(first, second, third, calls.loader("p3")), executor=two)
    with opened(client, url) as found:
        next(found)
        found.go_on()
        first.release()
        assert names(next(found)) == ["p0"]
        # It is sent only when the server asks for more.
        assert third.runs == 0
        found.go_on()
        third.wait_until_begun()
        second.release()
        third.release()
        assert merged(found) == {"p1": "second", "p2": "third", "p3": None}


def test_bounds__a_fragment_that_was_sent_is_dropped(serve, client):
    resolvers = []

    class View(ProgressiveView):
        def get_resolver(self, request):
            resolver = super().get_resolver(request)
            resolvers.append(resolver)
            return resolver

    needed = [
        ("alone", lazy(lambda request: "x" * 1000)),
        ("first", lazy(lambda request: "first")),
        ("then", lazy(lambda request, first: first, depends_on=["first"])),
    ]
    url = serve(View, permission_classes=[], parts=needed, executor=THREADS)
    assert merged(stream(client, url))["then"] == "first"
    outcomes = resolvers[0].parts.outcomes
    assert {name: outcome.fragment for name, outcome in outcomes.items()} == {
        "alone": b"",
        "first": b"",
        "then": b"",
    }
    assert size_of(outcomes["alone"]) == 1002


def test_bounds__a_full_pool_is_waited_for_without_polling(
    serve, client, held, executors, settings, monkeypatch
):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "STREAM_HEARTBEAT": 0.1}
    polls = []
    original = Waiting.polls

    def note(waiting):
        polls.append(original(waiting))
        return polls[-1]

    monkeypatch.setattr(Waiting, "polls", note)
    full = executors(ThreadExecutor, max_workers=1, max_queued=1)
    busy, queued = held("busy"), held("queued")
    full.pool.submit(busy)
    busy.wait_until_begun()
    full.pool.submit(queued)
    with opened(client, serve(parts=parts(one, one), executor=full)) as found:
        next(found)
        found.go_on()
        busy.release()
        queued.release()
        assert merged(found) == {"p0": 1, "p1": 1}
    assert not any(polls)


# Costs


@pytest.mark.parametrize("asks", [True, False])
def test_debug__costs_are_in_each_record_for_who_may_see_them(serve, client, settings, asks):
    settings.DEBUG = True
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "ENABLE_DEBUG_LOGGING": True}
    found = stream(client, serve(parts=parts(one)) + ("?debug=1" if asks else ""))
    shown = [set(record["meta"].get("debug", ())) for record in found]
    assert shown == ([{"now"}, {"p0"}] if asks else [set(), set()])


# Cached parts


@pytest.mark.parametrize(("extra", "runs"), [(NDJSON, 2), (SSE, 1)], ids=["ndjson", "sse"])
def test_cached__browsers_do_not_refresh_by_themselves(serve, client, calls, extra, runs):
    """An EventSource sends ``no-cache`` with each request, and with each reconnection."""
    url = serve(
        parts=[(f"kept_{runs}", lazy(cached_for(60, shared=True)(calls.loader("kept"))))],
        get_refresh_allowed=lambda self: True,
    )
    for _ in range(2):
        response = get_stream(client, url, HTTP_CACHE_CONTROL="no-cache", **extra)
        assert b":null" in b"".join(response.streaming_content)
    assert calls == ["kept"] * runs
