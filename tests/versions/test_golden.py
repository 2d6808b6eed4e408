"""The wire only grows: real answers of real views, compared with golden files."""

from __future__ import annotations

import json
import re
from functools import partial
from inspect import signature
from pathlib import Path

import pytest
from django.http import Http404
from django.urls import include, path
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import PermissionDenied, Throttled, ValidationError
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import HybridProgressiveView, PartError, ProgressiveView, endpoint, lazy
from partstream.backends.rate_limits.base import RateLimitStore
from partstream.mixins import ChunkMixin
from partstream.streams.records import Records
from partstream.testing import read_records
from partstream.wire.errors import PART_ERRORS, REQUEST_ERRORS, STREAM_FAILED
from tests.support.golden import RENEW, compare, differences, shown, with_placeholders
from tests.support.streams import NDJSON, SSE
from tests.support.walk_client import at, first_cursor

GOLDEN = Path(__file__).parent / "golden"
CASES = {}


def case(function):
    """A case: it returns an answer for the golden file of its name, from fixtures."""
    CASES[function.__name__] = function
    return function


# Chunks

PARTS = [
    ("meta", {"version": 1}),
    ("orders", lazy(lambda request, meta: [1, 2], depends_on=["meta"], size="medium")),
    ("stock", lazy(lambda request: {"items": 40}, size="large")),
]


@case
def walk_first_chunk(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS, chunk_size=1))


@case
def walk_next_chunk(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS, chunk_size=1)
    return client.get(at(url, first_cursor(client, url)))


@case
def walk_last_chunk(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS, chunk_size=2)
    return client.get(at(url, first_cursor(client, url)))


@case
def walk_whole(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS, chunk_size=3))


@case
def walk_without_manifest(client, serve):
    return client.get(serve(ProgressiveView, parts=PARTS, chunk_size=2))


@case
def walk_without_parts(client, serve):
    return client.get(serve(HybridProgressiveView, parts=[]))


@case
def walk_with_own_query(client, serve):
    return client.get(serve(parts=PARTS, chunk_size=2) + "?year=2026&shop=1")


@case
def walk_retry(client, serve):
    """What a retry cursor delivers: its part alone."""
    failures = iter([RuntimeError("once")])

    def load(request):
        for failure in failures:
            raise failure
        return 7

    url = serve(HybridProgressiveView, parts=[("flaky", lazy(load)), ("after", 2)], chunk_size=2)
    return client.get(at(url, client.get(url).json()["errors"][0]["retry_cursor"]))


@case
def walk_without_cursors(client, serve):
    class Whole(ChunkMixin, APIView):
        def get(self, request):
            return self.walk_response(request)

    return client.get(serve(Whole, parts=PARTS))


@case
def walk_debug(client, serve, settings):
    settings.DEBUG = True
    settings.DJANGO_PARTSTREAM = {"ENABLE_DEBUG_LOGGING": True}
    return client.get(serve(HybridProgressiveView, parts=PARTS, chunk_size=2) + "?debug=1")


# By key, and the manifest


@case
def keys(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "parts/?keys=stock,orders")


@case
def keys_failed(client, serve):
    """By key there is no retry cursor."""
    parts = [("meta", 1), ("orders", lazy(raising(RuntimeError("10.0.0.7 does not answer"))))]
    return client.get(serve(HybridProgressiveView, parts=parts) + "parts/?keys=meta,orders")


@case
def keys_lenient_part_unknown(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS, lenient_keys=True)
    return client.get(url + "parts/?keys=meta,margins")


@case
def keys_debug(client, serve, settings):
    settings.DEBUG = True
    settings.DJANGO_PARTSTREAM = {"ENABLE_DEBUG_LOGGING": True}
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "parts/?keys=meta&debug=1")


@case
def manifest(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "manifest/")


# Errors of parts


def raising(error):
    """A loader that fails so."""

    def load(request, **dependencies):
        raise error

    return load


def chunk_with(client, serve, *parts, **attributes):
    """A first chunk with these parts, and with one behind it in the next."""
    return client.get(
        serve(
            HybridProgressiveView,
            parts=[*parts, ("later", 1)],
            chunk_size=len(parts),
            **attributes,
        )
    )


@case
def part_failed(client, serve):
    return chunk_with(client, serve, ("orders", lazy(raising(RuntimeError("10.0.0.7 is down")))))


@case
def part_failed_under_debug(client, serve, settings):
    settings.DEBUG = True
    return chunk_with(client, serve, ("orders", lazy(raising(RuntimeError("10.0.0.7 is down")))))


@case
def part_failed_beside_others(client, serve):
    return chunk_with(
        client, serve, ("meta", 1), ("orders", lazy(raising(RuntimeError()))), ("stock", 7)
    )


@case
def part_timeout(client, serve, threads, held):
    return chunk_with(client, serve, ("orders", lazy(held(), timeout=0.05)), executor=threads)


@case
def part_forbidden(client, serve):
    return chunk_with(client, serve, ("orders", lazy(raising(PermissionDenied("of Ada")))))


@case
def part_not_found(client, serve):
    return chunk_with(client, serve, ("orders", lazy(raising(Http404("No Order of Ada")))))


@case
def part_invalid(client, serve):
    return chunk_with(client, serve, ("orders", lazy(raising(ValidationError({"since": "no"})))))


class Orders(APIView):
    def get(self, request):
        if "since" not in request.query_params:
            return Response([1, 2])
        raise ValidationError({"since": ["This shop has no such year."]})


@case
def part_invalid_with_problems(client, mount):
    class Board(HybridProgressiveView):
        parts = [("orders", lazy(endpoint(Orders, query={"since": "0"}))), ("later", 1)]
        chunk_size = 1

    mount(path("served/", include(Board.urls())), path("orders/", Orders.as_view(), name="x"))
    return client.get("/served/")


@case
def part_throttled(client, serve):
    return chunk_with(client, serve, ("orders", lazy(raising(Throttled(7)))))


@case
def dependency_failed(client, serve):
    return chunk_with(
        client,
        serve,
        ("orders", lazy(raising(RuntimeError()))),
        ("total", lazy(raising(RuntimeError()), depends_on=["orders"])),
        ("closed", lazy(raising(PermissionDenied()))),
        ("open", lazy(raising(RuntimeError()), depends_on=["closed"])),
    )


@case
def not_serializable(client, serve):
    return chunk_with(client, serve, ("orders", lazy(lambda request: object())))


@case
def capacity(client, serve, executors, held):
    executor, busy = executors(max_workers=1, max_queued=1), held()
    executor.submit(busy)
    busy.wait_until_begun()
    executor.submit(busy)  # Now its queue is full, too.
    response = chunk_with(client, serve, ("orders", lazy(held(), timeout=60)), executor=executor)
    busy.release()
    return response


@case
def part_error_of_the_application(client, serve):
    error = PartError("No news today.", code="no_news", retryable=False)
    again = PartError("The warehouse is closed.", code="closed")
    return chunk_with(
        client, serve, ("news", lazy(raising(error))), ("stock", lazy(raising(again)))
    )


# Refused requests


@case
def refused_cursor_invalid(client, serve):
    return client.get(serve(parts=PARTS) + "?cursor=junk")


@case
def refused_cursor_expired(client, serve):
    import time_machine

    url = serve(parts=PARTS, get_cursor_ttl=lambda self: 5)
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(6)
        return client.get(at(url, token))


@case
def refused_cursor_stale(client, serve):
    names = iter("bc")
    url = serve(get_parts=lambda self: [("a", 1), (next(names), 2), ("d", 3)])
    return client.get(at(url, first_cursor(client, url)))


@case
def refused_keys_invalid(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "parts/")


@case
def refused_part_unknown(client, serve):
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "parts/?keys=margins")


@case
def refused_request_invalid(client, serve):
    return client.get(serve(parts=PARTS) + "?format=json&format=json")


@case
def refused_ip_denied(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.1"]}
    return client.get(serve(parts=PARTS))


class DownStore(RateLimitStore):
    """A store that nobody reaches."""

    shared = exact = True

    def consume(self, windows):
        raise ConnectionError("10.0.0.7")


@case
def refused_store_unavailable(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT_STORE": f"{__name__}.DownStore",
        "RATE_LIMIT_ON_STORE_ERROR": "closed",
    }
    return client.get(serve(parts=PARTS))


@case
def refused_throttled(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "BURST_LIMIT": 1,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    }
    url = serve(parts=PARTS)
    client.get(url)
    return client.get(url)


@case
def refused_not_authenticated(client, serve):
    return client.get(
        serve(
            parts=PARTS,
            authentication_classes=[BasicAuthentication],
            permission_classes=[IsAuthenticated],
        )
    )


@case
def refused_permission_denied(client, serve):
    return client.get(
        serve(parts=PARTS, authentication_classes=[], permission_classes=[IsAdminUser])
    )


@case
def refused_not_found(client, serve):
    return client.get(serve(parts=PARTS) + "?format=pdf")


@case
def refused_method_not_allowed(client, serve):
    return client.delete(serve(parts=PARTS))


@case
def refused_not_acceptable(client, serve):
    return client.get(serve(parts=PARTS), HTTP_ACCEPT="application/pdf")


# Streams

STREAMS = {"stream": NDJSON, "sse": SSE}
SLOW = [("meta", 1), ("orders", lazy(raising(RuntimeError()))), ("stock", lazy(lambda request: 7))]


def case_of_both(function):
    """A case of each format: its file's name ends with that of the format."""
    for name, extra in STREAMS.items():
        CASES[f"{name}_{function.__name__.removeprefix('stream_')}"] = partial(function, extra)
    return function


@case_of_both
def stream_whole(extra, client, serve):
    """The opening record, a later one, and the last."""
    return client.get(serve(HybridProgressiveView, parts=PARTS), **extra)


@case_of_both
def stream_of_immediate_parts(extra, client, serve):
    return client.get(serve(HybridProgressiveView, parts=[("a", 1), ("b", 2)]), **extra)


@case_of_both
def stream_without_parts(extra, client, serve):
    return client.get(serve(HybridProgressiveView, parts=[]), **extra)


@case_of_both
def stream_without_manifest(extra, client, serve):
    return client.get(serve(ProgressiveView, parts=PARTS[:2]), **extra)


@case_of_both
def stream_failed_part(extra, client, serve):
    return client.get(serve(HybridProgressiveView, parts=SLOW), **extra)


def cursors_of(client, url, **extra):
    """The cursors of a stream that was read to its end."""
    return [record["cursor"] for record in read_records(client.get(url, **extra))]


@case
def stream_resumed(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS)
    return client.get(at(url, cursors_of(client, url, **NDJSON)[1]), **NDJSON)


@case
def sse_resumed(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS)
    return client.get(url, **SSE, HTTP_LAST_EVENT_ID=cursors_of(client, url, **SSE)[1])


def end_cursor_of(client, url):
    """The id of the last event."""
    body = b"".join(client.get(url, **SSE).streaming_content).decode()
    return re.findall("^id: (.*)$", body, re.MULTILINE)[-1]


@case
def stream_after_the_end(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS)
    return client.get(at(url, end_cursor_of(client, url)), **NDJSON)


@case
def walk_after_the_end(client, serve):
    url = serve(HybridProgressiveView, parts=PARTS)
    return client.get(at(url, end_cursor_of(client, url)))


@case
def sse_after_the_end(client, serve):
    """This ends a browser's reconnecting."""
    url = serve(HybridProgressiveView, parts=PARTS)
    return client.get(url, **SSE, HTTP_LAST_EVENT_ID=end_cursor_of(client, url))


@case_of_both
def stream_heartbeat(extra, client, serve, settings, held):
    """While nothing ends, heartbeats come."""
    settings.DJANGO_PARTSTREAM = {"STREAM_HEARTBEAT": 0.1}
    slow = held(7)
    response = client.get(serve(HybridProgressiveView, parts=[("slow", lazy(slow))]), **extra)

    def pieces(pieces):
        for number, piece in enumerate(pieces):
            if number == 2:
                slow.release()
            yield piece

    response.streaming_content = pieces(response.streaming_content)
    return response


@case_of_both
def stream_of_limited_time(extra, client, serve, settings, threads, held):
    """It ends with a cursor that is not null."""
    settings.DJANGO_PARTSTREAM = {"STREAM_MAX_SECONDS": 0.1}
    parts = [("meta", 1), ("slow", lazy(held()))]
    return client.get(serve(HybridProgressiveView, parts=parts, executor=threads), **extra)


@case_of_both
def stream_that_broke(extra, client, serve, monkeypatch):
    def crash(*_):
        raise RuntimeError("10.0.0.7")

    monkeypatch.setattr(Records, "_settled", crash)
    return client.get(serve(HybridProgressiveView, parts=PARTS), **extra)


@case_of_both
def stream_debug(extra, client, serve, settings):
    settings.DEBUG = True
    settings.DJANGO_PARTSTREAM = {"ENABLE_DEBUG_LOGGING": True}
    return client.get(serve(HybridProgressiveView, parts=PARTS[:2]) + "?debug=1", **extra)


@case_of_both
def stream_head(extra, client, serve):
    return client.head(serve(HybridProgressiveView, parts=PARTS), **extra)


@case_of_both
def stream_refused(extra, client, serve):
    """An error on a stream's media type is JSON."""
    return client.get(serve(HybridProgressiveView, parts=PARTS) + "?cursor=junk", **extra)


@case
def refused_capacity(client, serve, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_STREAMS": 0}
    return client.get(serve(parts=PARTS), **NDJSON)


@case
def sse_switched_off(client, serve, settings):
    """This ends a browser's reconnecting."""
    settings.DJANGO_PARTSTREAM = {"MAX_STREAMS": 0}
    return client.get(serve(parts=PARTS), **SSE)


# The comparison


@pytest.mark.parametrize("name", CASES)
def test_wire__only_grows(name, request):
    make = CASES[name]
    answer = make(**{each: request.getfixturevalue(each) for each in signature(make).parameters})
    compare(GOLDEN / f"{name}.json", shown(answer))


def codes(data):
    """Every ``code`` in there."""
    if isinstance(data, dict):
        own = {data["code"]} if "code" in data else set()
        return own.union(*map(codes, data.values()))
    return set().union(*map(codes, data)) if isinstance(data, list) else set()


def test_golden_files__are_of_a_case_each_and_of_every_code():
    files = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in GOLDEN.iterdir()}
    assert set(files) == set(CASES)
    for code in PART_ERRORS:
        assert code in codes(files.get(code, files["keys_lenient_part_unknown"])), code
    for code in ["throttled", *(code for _, code, _ in REQUEST_ERRORS.values())]:
        assert files[f"refused_{code}"]["body"]["code"] == code
    for name, golden in files.items():
        kind, _, code = name.partition("_")
        if kind == "refused":
            assert golden["body"]["code"] == code
        elif name not in ("sse_after_the_end", "sse_switched_off", "stream_refused", "sse_refused"):
            assert golden["status"] == 200, name
    assert STREAM_FAILED[0] in codes(files["stream_that_broke"])


# What holds the wire

OLD = {"status": 200, "body": {"results": [{"a": 1}], "cursor": None}}


def answer(**changes):
    return {"status": 200, "body": {**OLD["body"], **changes}}


@pytest.mark.parametrize(
    ("new", "broken", "grown"),
    [
        (OLD, [], []),
        (answer(more=1), [], ["/body/more is new"]),
        (answer(cursor=""), ["/body/cursor: None is now ''"], []),
        (answer(cursor=False), ["/body/cursor: None is now False"], []),
        (answer(results=[{"a": True}]), ["/body/results/0/a: 1 is now True"], []),
        (answer(results=[{"b": 1}]), ["/body/results/0/a is gone"], ["/body/results/0/b is new"]),
        (answer(results=[]), ["/body/results: [{'a': 1}] is now []"], []),
        ({"status": 200}, ["/body is gone"], []),
        ({"status": 206, "body": OLD["body"]}, ["/status: 200 is now 206"], []),
    ],
)
def test_differences__tell_what_broke_from_what_grew(new, broken, grown):
    assert differences(OLD, new) == (broken, grown)


def test_placeholders__keep_the_type_of_what_they_stand_for():
    varying = {"cursor": "x", "retry_cursor": "x", "retry_after": 3, "duration": 0.1}
    assert set(map(type, with_placeholders(varying).values())) == {str}
    for name, value in [("cursor", None), ("retry_after", "3"), ("duration", None)]:
        assert with_placeholders({name: value}) == {name: value}
    theirs = with_placeholders({"detail": "Not found.", "code": "not_found"})
    assert theirs["detail"] != "Not found."
    ours = {"detail": "Something.", "code": "cursor_invalid"}
    assert with_placeholders(ours) == ours


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv(RENEW, raising=False)
    file = tmp_path / "case.json"
    file.write_text(json.dumps(OLD))
    return file


def test_compare__a_new_field_fails_until_it_is_renewed(file, monkeypatch):
    compare(file, OLD)
    new = answer(more=1)
    with pytest.raises(pytest.fail.Exception, match="grew:\n  /body/more is new"):
        compare(file, new)
    monkeypatch.setenv(RENEW, "1")
    compare(file, new)
    monkeypatch.delenv(RENEW)
    compare(file, new)
    with pytest.raises(pytest.fail.Exception, match="breaks the clients"):
        compare(file, OLD)


@pytest.mark.parametrize("renews", ["0", "1"])
def test_compare__no_renewal_breaks_clients(file, monkeypatch, renews):
    monkeypatch.setenv(RENEW, renews)
    for new in (answer(cursor=""), {"status": 200}):
        with pytest.raises(pytest.fail.Exception, match="breaks the clients"):
            compare(file, new)
    assert json.loads(file.read_text()) == OLD


def test_compare__a_missing_file_fails_until_it_is_renewed(file, monkeypatch):
    file.unlink()
    with pytest.raises(pytest.fail.Exception, match="There is no case"):
        compare(file, OLD)
    monkeypatch.setenv(RENEW, "1")
    compare(file, OLD)
    monkeypatch.delenv(RENEW)
    compare(file, OLD)
