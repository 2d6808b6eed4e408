"""Streams that are cut, and go on: each part comes once, and what runs is joined."""

from __future__ import annotations

import gc
import json
import time

import pytest
from django.test import RequestFactory, override_settings

from partstream import ProgressiveView, cached_for, lazy
from partstream.backends.cursors.base import CursorCodec
from partstream.backends.executors.threads import ThreadExecutor
from partstream.backends.loader import get_cursor_codec
from partstream.caching.single_flight import get_single_flight
from partstream.streams import records as records_of_streams
from partstream.streams.registry import count_open_streams
from tests.support.concurrency import Held, soon, wait_until
from tests.support.streams import (
    NDJSON,
    SSE,
    Reader,
    events,
    get_stream,
    leave,
    opened,
    records,
    stream,
)
from tests.support.walk_client import at, get_json, merged, names

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
EXECUTORS = pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])


def parts(*loaders):
    return [("now", 0), *((f"p{number}", lazy(loader)) for number, loader in enumerate(loaders))]


def by_id(token):
    return {**SSE, "HTTP_LAST_EVENT_ID": token}


def has_none_running():
    return not get_single_flight()._flights


@pytest.fixture(autouse=True)
def slow_parts_only(settings):
    """A part is slow if it is held."""
    settings.DJANGO_PARTSTREAM = {
        **getattr(settings, "DJANGO_PARTSTREAM", {}),
        "CACHE_MIN_DURATION": 0.0,
        "STREAM_HEARTBEAT": 0.1,
    }


@EXECUTORS
def test_resume__after_each_record_brings_the_rest(serve, client, executor):
    url = serve(parts=parts(*[lambda request, n=n: n for n in range(4)]), executor=executor)
    found = list(events(get_stream(client, url, **SSE)))
    whole = [json.loads(event["data"]) for event in found]
    for number, event in enumerate(found[:-1], 1):
        known = merged(whole[:number]).keys()
        rest = {f"p{n}": n for n in range(4) if f"p{n}" not in known}
        resumed = [
            json.loads(e["data"]) for e in events(get_stream(client, url, **by_id(event["id"])))
        ]
        assert merged(resumed) == rest
        assert merged(stream(client, at(url, event["id"]))) == rest
        assert resumed[0]["results"] == []
        assert set(resumed[0]["meta"]["pending"]) == rest.keys()


@EXECUTORS
def test_resume__joins_what_runs(serve, client, held, executor):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    with opened(client, at(url, token)) as found:
        assert next(found)["results"] == []
        slow.release()
        assert merged(found) == {"p0": "slow"}
    assert slow.runs == 1


@EXECUTORS
def test_resume__before_the_server_has_noticed_joins_what_runs(serve, client, held, executor):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)
    with opened(client, url) as first:
        token = next(first)["cursor"]
        first.go_on()
        slow.wait_until_begun()
        with opened(client, at(url, token)) as second:
            next(second)
            slow.release()
            assert merged(second) == {"p0": "slow"}
        assert merged(first) == {"p0": "slow"}
    assert slow.runs == 1


@EXECUTORS
def test_resume__finds_what_has_ended_meanwhile(serve, client, held, executor):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=executor)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    slow.release()
    wait_until(has_none_running)
    assert merged(stream(client, at(url, token))) == {"p0": "slow"}
    assert slow.runs == 1


def test_resume__takes_a_result_that_no_store_keeps(serve, client, held, settings):
    settings.DJANGO_PARTSTREAM = {
        **settings.DJANGO_PARTSTREAM,
        "CACHE_STORE": "partstream.backends.caches.null.NullCacheStore",
    }
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    slow.release()
    wait_until(lambda: bool(get_single_flight()._results))
    assert merged(stream(client, at(url, token))) == {"p0": "slow"}
    assert slow.runs == 1


def test_resume__without_a_cache_runs_it_again(serve, client, held):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS, enable_caching=False)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        slow.wait_until_begun()
    slow.release()
    assert merged(stream(client, at(url, token))) == {"p0": "slow"}
    assert slow.runs == 2


def test_leave__without_a_cache_keeps_nothing_of_what_has_ended(serve, client, held):
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS, enable_caching=False)
    with opened(client, url) as found:
        next(found)
        found.go_on()
        slow.wait_until_begun()
    slow.release()
    wait_until(lambda: not get_single_flight()._renewal._watched)


@EXECUTORS
def test_resume__has_the_data_that_others_depend_on(serve, client, held, executor):
    first, then = held("first"), held("then")
    url = serve(
        parts=[("now", 0), ("first", lazy(first)), ("then", lazy(then, depends_on=["first"]))],
        executor=executor,
    )
    first.release()
    with opened(client, url) as found:
        next(found)
        record = next(found)
        assert names(record) == ["first"]
        found.go_on()
        then.wait_until_begun()
    then.release()
    rest = stream(client, at(url, record["cursor"]))
    assert merged(rest) == {"then": {"first": "first", "data": "then"}}
    assert (first.runs, then.runs) == (1, 1)


def test_resume__joins_a_cached_part(serve, client, held):
    slow = held("slow")
    url = serve(
        parts=[("now", 0), ("kept", lazy(cached_for(60, shared=True)(slow)))], executor=THREADS
    )
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        other = Reader(get_stream(client, at(url, token)))
        next(other)
        other.go_on()
    slow.release()
    assert merged(other) == {"kept": "slow"}
    assert slow.runs == 1


def test_failure__that_was_lost_is_run_again(serve, client, held):
    slow = held(error=ValueError("no"))
    slow.release()
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        list(found)
    for _ in range(2):
        (error,) = [
            e for record in stream(client, at(url, token)) for e in record.get("errors", [])
        ]
        assert error["code"] == "part_failed"
    assert slow.runs == 3


# Leaving


def test_leave__drops_what_has_not_started(serve, client, held, executors, calls):
    slow = held("slow")
    one_thread = executors(ThreadExecutor, max_workers=1)
    url = serve(parts=parts(slow, calls.loader("p1"), calls.loader("p2")), executor=one_thread)
    with opened(client, url) as found:
        next(found)
        found.go_on()
        slow.wait_until_begun()
    assert not count_open_streams()
    slow.release()
    wait_until(lambda: not one_thread.pool.pending)
    assert calls == []
    assert has_none_running()


def test_leave__keeps_what_another_stream_has_joined(serve, client, held, executors):
    first, second = held("first"), held("second")
    one_thread = executors(ThreadExecutor, max_workers=1, max_queued=4)
    url = serve(parts=parts(first, second), executor=one_thread)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        found.go_on()
        first.wait_until_begun()
        other = Reader(get_stream(client, at(url, token)))
        next(other)
        other.go_on()
    for loader in (first, second):
        loader.release()
    assert merged(other) == {"p0": "first", "p1": "second"}
    assert (first.runs, second.runs) == (1, 1)


def test_leave__before_the_first_record_runs_nothing(serve, client, calls):
    response = get_stream(client, serve(parts=parts(calls.loader("p0")), executor=THREADS))
    leave(response)
    assert calls == []
    assert not count_open_streams()


@pytest.mark.parametrize("begun", [False, True])
def test_leave__a_response_that_nobody_closes_is_not_open(
    known_thread_settings, held, calls, executors, begun
):
    """A middleware may throw it away."""
    slow, one_thread = held("slow"), executors(ThreadExecutor, max_workers=1)
    attributes = {
        "permission_classes": [],
        "parts": parts(slow, calls.loader("p1")),
        "executor": one_thread,
    }
    view = type("View", (ProgressiveView,), attributes).as_view()
    gc.disable()  # It must not be needed.
    try:
        response = view(RequestFactory().get("/", **NDJSON))
        if begun:
            assert next(response.streaming_content)
            assert next(response.streaming_content) == b" "
            slow.wait_until_begun()
        assert count_open_streams() == 1
        del response
        assert not count_open_streams()
    finally:
        gc.enable()
    slow.release()
    wait_until(lambda: not one_thread.pool.pending)
    assert calls == []


# Last-Event-ID


def token_of(client, url):
    with opened(client, url) as found:
        return next(found)["cursor"]


def test_last_event_id__wins_over_the_query(serve, client):
    url = serve(parts=parts(lambda request: 0, lambda request: 1))
    whole = list(events(get_stream(client, url, **SSE)))
    first, second = whole[0]["id"], whole[1]["id"]
    found = list(events(get_stream(client, at(url, first), **by_id(second))))
    assert merged(json.loads(event["data"]) for event in found) == {"p1": 1}


@pytest.mark.parametrize("extra", [NDJSON, {}], ids=["ndjson", "json"])
def test_last_event_id__is_read_of_events_only(serve, client, extra):
    url = serve(parts=parts(lambda request: 0))
    response = client.get(url, HTTP_LAST_EVENT_ID="junk", **extra)
    assert response.status_code == 200
    if extra:
        assert merged(records(response)) == {"now": 0, "p0": 0}


def test_last_event_id__that_is_empty_begins(serve, client):
    url = serve(parts=parts(lambda request: 0))
    found = list(events(get_stream(client, url, **by_id(""))))
    assert merged(json.loads(event["data"]) for event in found) == {"now": 0, "p0": 0}


@pytest.mark.parametrize(
    "token",
    ["junk", " ", "é", "a" * 5000, "a\x00b", "a, b", "\ud800", "%41", "gAAAAA==", "null"],
    ids=ascii,
)
def test_last_event_id__is_as_hostile_as_a_query(serve, client, calls, monkeypatch, token):
    url = serve(parts=parts(calls.loader("p0")))
    known = client.get(f"{url}?cursor=junk", **SSE)
    response = client.get(url, **by_id(token))
    assert (response.status_code, response.content) == (400, known.content)
    assert response.json()["code"] == "cursor_invalid"
    assert calls == []


@pytest.mark.parametrize("token", ["é", "a" * 5000, "a b", "a\x00"], ids=ascii)
def test_last_event_id__is_not_decoded_where_it_has_no_form(serve, client, monkeypatch, token):
    decoded = []
    monkeypatch.setattr(type(get_cursor_codec()), "decode", lambda *_: decoded.append(1))
    assert client.get(serve(parts=parts(lambda request: 0)), **by_id(token)).status_code == 400
    assert decoded == []


def test_last_event_id__of_another_view_is_refused(serve, client):
    token = token_of(client, serve(parts=parts(lambda request: 0)))
    url = serve(parts=parts(lambda request: 0), cursor_query_param="walk")
    assert client.get(f"{url}?page=2", **by_id(token)).status_code == 400


def test_last_event_id__that_has_expired_is_410(serve, client, monkeypatch):
    url = serve(parts=parts(lambda request: 0), cursor_ttl=1)
    token = token_of(client, url)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 120)
    response = client.get(url, **by_id(token))
    assert (response.status_code, response.json()["code"]) == (410, "cursor_expired")


def test_last_event_id__of_the_end_is_204(serve, client):
    url = serve(parts=parts(lambda request: 0))
    end = list(events(get_stream(client, url, **SSE)))[-1]["id"]
    response = client.get(url, **by_id(end))
    assert response.status_code == 204
    assert response.content == b""


# Limits


@override_settings()
def test_limits__a_resumed_stream_is_no_burst(serve, client, settings):
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "BURST_LIMIT": 1,
        "RATE_LIMIT": 4,
        "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    }
    url = serve(parts=parts(lambda request: 0, lambda request: 1))
    first, *_ = (event["id"] for event in events(get_stream(client, url, **SSE)))
    assert client.get(url, **SSE).status_code == 429
    for _ in range(3):
        response = client.get(url, **by_id(first))
        assert response.status_code == 200
        leave(response)
    refused = client.get(url, **by_id(first))
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/json"
    assert refused.headers["Retry-After"]


@pytest.fixture
def limited(settings):
    def limited(**limits):
        settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, **limits}

    return limited


@pytest.mark.parametrize("extra", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_limits__more_than_max_streams_are_refused(serve, client, held, limited, extra):
    limited(MAX_STREAMS=1)
    slow = held("slow")
    url = serve(parts=parts(slow), executor=THREADS)
    with opened(client, url) as found:
        next(found)
        response = client.get(url, **extra)
        assert response.status_code == 503
        assert response.headers["Content-Type"] == "application/json"
        assert response.json()["code"] == "capacity"
        assert int(response.headers["Retry-After"]) == response.json()["retry_after"]
        assert get_json(client, serve(parts=parts()))  # Walks go on.
    slow.release()
    assert merged(stream(client, serve(parts=parts(slow)))) == {"now": 0, "p0": "slow"}


@pytest.mark.parametrize(("extra", "status"), [(NDJSON, 503), (SSE, 204)])
def test_limits__zero_switches_streams_off(serve, client, limited, calls, extra, status):
    limited(MAX_STREAMS=0)
    url = serve(parts=parts(calls.loader("p0")))
    assert client.get(url, **extra).status_code == status
    assert calls == []
    assert client.get(f"{url}?cursor=junk", **extra).status_code == 400


def test_limits__a_stream_ends_when_its_time_is_up(serve, client, held, limited):
    limited(STREAM_MAX_SECONDS=0.1)
    slow = held("slow")
    url = serve(parts=parts(lambda request: 0, slow), executor=THREADS)
    with soon():
        found = stream(client, url)
    assert merged(found) == {"now": 0, "p0": 0}
    assert found[-1]["cursor"] is not None
    slow.release()
    assert merged(stream(client, at(url, found[-1]["cursor"]))) == {"p1": "slow"}
    assert slow.runs == 1


@pytest.mark.parametrize("extra", [NDJSON, SSE], ids=["ndjson", "sse"])
@pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])
def test_heartbeat__comes_while_nothing_else_does(serve, client, held, limited, extra, executor):
    limited(STREAM_HEARTBEAT=0.1)
    slow = held("slow")
    response = get_stream(client, serve(parts=parts(slow), executor=executor), **extra)
    pieces = iter(response.streaming_content)
    assert b'"now":0' in next(pieces)
    assert [next(pieces) for _ in range(3)] == [b" " if extra is NDJSON else b":\n\n"] * 3
    slow.release()
    assert b'"p0":"slow"' in b"".join(pieces)


# A crash of the stream


@pytest.mark.parametrize("extra", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_crash__ends_with_the_cursor_to_resume_from(serve, client, monkeypatch, caplog, extra):
    url = serve(parts=parts(lambda request: 0), executor=THREADS)

    def crash(*_, **__):
        raise RuntimeError("a fault of the stream: hunter2")

    response = get_stream(client, url, **extra)
    with monkeypatch.context() as patched:
        patched.setattr(records_of_streams.Records, "_settled", crash)
        body = b"".join(response.streaming_content)
    assert b"hunter2" not in body
    last = json.loads(body.strip().split(b"\n")[-1].removeprefix(b"data: "))
    assert last["stream_error"] == {
        "code": "stream_failed",
        "detail": "The server ended this stream. Resume it with its cursor.",
    }
    assert last["results"] == []
    assert last["meta"]["has_more"]
    assert merged(stream(client, at(url, last["cursor"]))) == {"p0": 0}
    assert "hunter2" in caplog.text
    assert not count_open_streams()


def test_crash__of_a_codec_after_the_first_record(serve, client, monkeypatch, caplog):
    loader = Held("slow")
    url = serve(parts=parts(loader), executor=THREADS)
    with opened(client, url) as found:
        token = next(found)["cursor"]
        with monkeypatch.context() as patched:

            def crash(*_):
                raise ValueError("no key")

            patched.setattr(type(get_cursor_codec()), "encode", crash)
            assert isinstance(get_cursor_codec(), CursorCodec)
            loader.release()
            (last,) = found
    assert last["stream_error"]["code"] == "stream_failed"
    assert last["cursor"] == token


def test_crash__of_an_executor_leaves_no_flight(serve, client, executors):
    class Fails(ThreadExecutor):
        asked = 0

        @property
        def max_in_flight(self):
            self.asked += 1
            if self.asked == 2:
                raise ValueError
            return 2

    url = serve(parts=parts(lambda request: 1), executor=executors(Fails))
    first, last = stream(client, url)
    assert last["stream_error"]["code"] == "stream_failed"
    assert has_none_running()
    assert merged(stream(client, at(url, first["cursor"]))) == {"p0": 1}
