"""What observers see of a stream: its beginning, its records, and its end."""

from __future__ import annotations

import gc
from contextvars import ContextVar

import pytest
from django.test import RequestFactory

from partstream import ProgressiveView, lazy
from partstream.resolution.observers import PartObserver, add_observer, remove_observer
from tests.support.streams import NDJSON, get_stream, leave, opened, stream
from tests.support.walk_client import at

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
EXECUTORS = pytest.mark.parametrize("executor", [None, THREADS], ids=["inline", "threads"])

current = ContextVar("current", default=None)


class Noting(PartObserver):
    """Notes what it sees, and sets a context variable for the stream."""

    def __init__(self):
        self.began, self.ends, self.outcomes, self.pending = [], [], [], []

    def stream_began(self, run):
        current.set(run)
        run.notes[self] = "noted"
        self.began.append(run)
        assert (run.end, run.ended, run.records, run.parts) == (None, None, 0, 0)

    def stream_ended(self, run):
        assert run.notes == {self: "noted"}
        assert run.started <= (run.first_record or run.started) <= run.ended
        self.ends.append((run.end, run.records, run.parts, run.resumes))

    def resolved(self, view, request, outcomes, pending):
        self.outcomes += [outcome.name for outcome in outcomes]
        self.pending.append(list(pending))


@pytest.fixture
def seen():
    observer = Noting()
    add_observer(observer)
    yield observer
    remove_observer(observer)


def one(request, **dependencies):
    return 1


def fail(request):
    raise ValueError("no")


def test_observer__sees_a_stream(serve, client, seen):
    url = serve(parts=[("now", 0), ("p0", lazy(one)), ("p1", lazy(fail))], executor=THREADS)
    found = stream(client, url)
    assert seen.ends == [("complete", len(found), 3, False)]
    assert len(seen.began) == 1
    assert sorted(seen.outcomes) == ["now", "p0", "p1"]
    assert seen.pending[-1] == []
    stream(client, at(url, found[0]["cursor"]))
    assert seen.ends[1][3]


def test_observer__sees_no_stream_in_a_walk(serve, client, seen):
    client.get(serve(parts=[("now", 0)]))
    assert seen.began == []
    assert seen.outcomes == ["now"]


@EXECUTORS
def test_observer__its_context_is_that_of_the_parts(serve, client, seen, executor):
    def load(request):
        return current.get() is seen.began[-1]

    async def load_async(request):
        return load(request)

    url = serve(parts=[("plain", lazy(load)), ("later", lazy(load_async))], executor=executor)
    results = [part for record in stream(client, url) for part in record["results"]]
    assert {name: data for part in results for name, data in part.items()} == {
        "plain": True,
        "later": True,
    }
    assert current.get() is None


def test_observer__sees_a_client_leave(serve, client, held, seen):
    slow = held()
    url = serve(parts=[("now", 0), ("p0", lazy(one)), ("slow", lazy(slow))], executor=THREADS)
    with opened(client, url) as found:
        next(found)
        next(found)
        assert seen.ends == []
    slow.release()
    assert seen.ends == [("departed", 2, 2, False)]
    assert seen.pending[-1] == ["slow"]


def test_observer__sees_a_client_leave_at_once(serve, client, seen):
    leave(get_stream(client, serve(parts=[("now", 0)])))
    assert seen.ends == [("departed", 0, 0, False)]
    assert seen.began[0].first_record is seen.began[0].first_part is None


@pytest.mark.parametrize("begun", [False, True])
def test_observer__sees_the_end_of_a_stream_that_nobody_closes(known_thread_settings, seen, begun):
    attributes = {"permission_classes": [], "parts": [("now", 0), ("p0", lazy(one))]}
    view = type("View", (ProgressiveView,), attributes).as_view()
    gc.disable()  # It must not be needed.
    try:
        response = view(RequestFactory().get("/", **NDJSON))
        if begun:
            next(response.streaming_content)
        seen.began.clear()
        del response
        assert seen.ends == [("departed", int(begun), int(begun), False)]
    finally:
        gc.enable()


def test_observer__that_fails_breaks_no_stream(serve, client, caplog):
    class Failing(PartObserver):
        def stream_began(self, run):
            raise ValueError("began")

        def stream_ended(self, run):
            raise ValueError("ended")

    observer = Failing()
    add_observer(observer)
    try:
        assert stream(client, serve(parts=[("now", 0)]))[-1]["cursor"] is None
    finally:
        remove_observer(observer)
    assert caplog.text.count("An observer of parts failed.") == 2
