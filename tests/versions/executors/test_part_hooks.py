"""The hooks of executors that belong to parts: each part has those of its own executor."""

from __future__ import annotations

from collections import Counter
from threading import get_ident

import pytest
from asgiref.sync import sync_to_async

from partstream import HybridProgressiveView, lazy
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.resolution import resolver
from tests.support.concurrency import PATIENCE, wait_until
from tests.support.walk_client import get_json, merged

EVENTS = []


class Noting(ThreadExecutor):
    """Notes which executor's hook was called, and in which thread."""

    def __init__(self, label, **options):
        super().__init__(**options)
        self.label = label

    def before_call(self, request):
        EVENTS.append(("before", self.label, get_ident()))

    def after_call(self, request):
        EVENTS.append(("after", self.label, get_ident()))


class NotingInline(InlineExecutor):
    """The same, in the request's thread."""

    before_call, after_call = Noting.before_call, Noting.after_call
    label = "inline"


@pytest.fixture(autouse=True)
def events():
    EVENTS.clear()
    return EVENTS


def where(request, **dependencies):
    return get_ident()


async def where_async(request):
    return await sync_to_async(get_ident)()


@pytest.mark.parametrize("timeout", [None, PATIENCE])
@pytest.mark.parametrize("loader", [where, where_async], ids=["plain", "coroutine"])
def test_hooks__of_a_part_are_those_of_its_executor(
    serve, client, executors, events, loader, timeout
):
    view, own = executors(Noting, label="view"), executors(Noting, label="own")
    parts = [
        ("of_view", lazy(loader, timeout=timeout)),
        ("of_own", lazy(loader, timeout=timeout, executor=own)),
        ("without", lazy(where, executor=executors(ThreadExecutor))),
        ("here", lazy(where, executor=executors(InlineExecutor))),
    ]
    url = serve(HybridProgressiveView, parts=parts, executor=view, chunk_size=9)
    found = merged([get_json(client, url)])
    wait_until(lambda: not view.pool.pending and not own.pool.pending)
    for label, part in (("view", "of_view"), ("own", "of_own")):
        assert ("before", label, found[part]) in events
        assert ("after", label, found[part]) in events
    # A coroutine has a thread of its own, and one that ends it.
    times = 1 if loader is where else 2
    assert Counter((what, label) for what, label, _ in events) == {
        (what, label): times for what in ("before", "after") for label in ("view", "own")
    }


def test_hooks__of_a_part_whose_view_has_none(serve, client, executors, events):
    own = executors(Noting, label="own")
    parts = [("a", lazy(where, executor=own)), ("b", lazy(where)), ("c", lazy(where, timeout=9))]
    found = merged([get_json(client, serve(parts=parts, chunk_size=9))])
    wait_until(lambda: not own.pool.pending)
    assert events == [("before", "own", found["a"]), ("after", "own", found["a"])]


def test_hooks__of_an_inline_part_are_called_in_its_worker_only(serve, client, executors, events):
    own = executors(NotingInline)
    parts = [
        ("here", lazy(where, executor=own)),
        ("timed", lazy(where, timeout=PATIENCE, executor=own)),
    ]
    url = serve(parts=parts, executor=executors(ThreadExecutor), chunk_size=9)
    found = merged([get_json(client, url)])
    wait_until(lambda: not own.pool.pending)
    assert found["here"] == get_ident()
    assert events == [("before", "inline", found["timed"]), ("after", "inline", found["timed"])]


def test_before_call__that_raises_fails_the_parts_of_its_executor_only(serve, client, executors):
    def fail(request):
        raise LookupError("no tenant")

    own = executors(ThreadExecutor, before_call=fail)
    parts = [("a", lazy(where, executor=own)), ("b", lazy(where)), ("c", lazy(where, timeout=9))]
    envelope = get_json(client, serve(parts=parts, chunk_size=9))
    assert [error["part"] for error in envelope["errors"]] == ["a"]
    assert len(envelope["results"]) == 2


@pytest.mark.parametrize("view", ["hooks", "none"])
def test_hooks__that_renew_the_requests_connection(
    serve, client, executors, events, monkeypatch, view, held
):
    """Those of the view's executor; if it has none, those of the first part that has."""
    renewals = []
    monkeypatch.setattr(resolver, "give_back_pooled", renewals.append)
    slow = held()

    def release(request):
        slow.wait_until_begun()
        slow.release()

    parts = [
        ("none", lazy(release, executor=executors(ThreadExecutor))),
        ("own", lazy(slow, executor=executors(Noting, label="own"))),
        ("other", lazy(where, executor=executors(Noting, label="other"))),
    ]
    executor = executors(NotingInline) if view == "hooks" else None
    get_json(client, serve(parts=parts, executor=executor, chunk_size=9))
    events.clear()
    renewals[0]()
    label = "inline" if view == "hooks" else "own"
    assert events == [("before", label, get_ident())]
