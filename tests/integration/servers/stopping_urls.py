"""Views whose loaders wait at a gate of the tests: requests in flight, and loaders left behind."""

from __future__ import annotations

import asyncio
from functools import partial

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.urls import path

from partstream import ProgressiveView, cached_for, lazy, safe_call

from .gates import wait_at_gate
from .urls import THREADS, ThreadsView, count, plain, view

#: More than the buffers of a socket hold.
LARGE = 30_000_000


def sleep(request, name):
    wait_at_gate(name)


async def sleep_in_sync(request, name):
    await sync_to_async(wait_at_gate)(name)


async def sleep_in_thread(request, name):
    await asyncio.to_thread(wait_at_gate, name)


async def sleep_on(request, name):
    """A coroutine that ignores that it is cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(wait_at_gate, name))
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue


async def sleep_in_loop(request, name):
    """It blocks the event loop of all coroutines."""
    wait_at_gate(name)


#: Loaders that do not end: their parts time out, and nobody waits for them any more. In this order:
#: behind the last one, no coroutine begins.
PLAIN = {"plain_loader": sleep}
COROUTINES = {
    "in_sync": sleep_in_sync,
    "in_thread": sleep_in_thread,
    "not_cancelled": sleep_on,
    "in_loop": sleep_in_loop,
}


def left_behind(name, function, base):
    """A view whose part times out as soon as its loader has come to the gate."""

    def load(request):
        return function(request, name)

    async def load_async(request):
        return await function(request, name)

    loader = load_async if asyncio.iscoroutinefunction(function) else load
    return view(lazy(safe_call(loader, fallback="late"), timeout=1), base)


@cached_for(300, shared=True)
def cached(request):
    """Its lock is renewed, for as long as it runs."""
    wait_at_gate("cached")


ABANDONED = {
    f"{name}{suffix}": left_behind(f"{name}{suffix}", function, base)
    for suffix, base in (("", ProgressiveView), ("_threads", ThreadsView))
    for name, function in {**PLAIN, **COROUTINES}.items()
}
ABANDONED["cached"] = view(lazy(safe_call(cached, fallback="late"), timeout=1))


class HeldView(ProgressiveView):
    """A request that takes as long as the test wants; its loader runs in the server's thread."""

    chunk_size = 2
    parts = [("first", lazy(partial(sleep, name="held"))), ("count", lazy(count)), ("last", 1)]


class WalkView(ProgressiveView):
    """A walk whose second part moves to the next chunk, which waits for all of its parts."""

    executor = THREADS
    chunk_size = 2

    def get_time_budget(self):
        return 600 if "cursor" in self.request.query_params else 0.5

    def load_slow(self, request):
        wait_at_gate("slow")
        return count(request)

    def load_next(self, request):
        wait_at_gate("next")
        return count(request)

    parts = [
        ("first", 1),
        ("slow", lazy("load_slow")),
        ("next", lazy("load_next")),
        ("last", 4),
    ]


def large(request):
    return HttpResponse(b"x" * LARGE)


urlpatterns = [
    path("plain/", plain),
    path("held/", HeldView.as_view()),
    path("walk/", WalkView.as_view()),
    path("large/", large),
    *(path(f"{name}/", kind) for name, kind in ABANDONED.items()),
]
