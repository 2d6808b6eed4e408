"""Views that stream, whose loaders wait at a gate of the tests; and what their process holds."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from functools import partial
from pathlib import Path

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib.auth.models import User
from django.http import JsonResponse
from django.urls import path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated

from partstream import ProgressiveView, lazy
from partstream.backends.executors.inline import InlineExecutor
from partstream.backends.executors.threads import ThreadExecutor
from partstream.streams.registry import count_open_streams

from .gates import wait_at_gate
from .urls import count

#: Where the loaders of `crowd/` wait, until `let-go/` is asked for.
crowd = threading.Event()


def held(request, name):
    """Wait, with the view's database at hand."""
    wait_at_gate(name)
    return name


async def held_coroutine(request, name):
    return await asyncio.to_thread(held, request, name)


def held_then_counting(request, name):
    wait_at_gate(name)
    return count(request)


def parts(loader):
    """One value, and two parts that wait."""
    return [
        ("first", 1),
        ("slow", lazy(partial(loader, name="slow"))),
        ("slower", lazy(partial(loader, name="slower"))),
    ]


class SideBySide(ProgressiveView):
    """Its parts wait at the same time."""

    executor = ThreadExecutor()
    parts = parts(held)


class OneByOne(ProgressiveView):
    """Its parts wait one after the other."""

    executor = InlineExecutor(max_workers=1)
    parts = parts(held)


class Coroutines(ProgressiveView):
    """Its parts wait in an event loop."""

    executor = ThreadExecutor()
    parts = parts(held_coroutine)


class OneWorker(ProgressiveView):
    """A part that waits keeps the other from starting."""

    executor = ThreadExecutor(max_workers=1)
    parts = parts(held)


def behind(executor):
    """A view whose part comes after all that has been submitted to that executor's one worker."""
    parts = [("behind", lazy(partial(held, name="behind")))]
    return type("Behind", (ProgressiveView,), {"executor": executor, "parts": parts}).as_view()


class Own(ProgressiveView):
    """For users who are logged in: each request queries before it streams, and each part does."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [IsAuthenticated]
    executor = ThreadExecutor()
    parts = parts(held_then_counting)


class Crowd(ProgressiveView):
    """A stream that many clients leave."""

    executor = ThreadExecutor()
    parts = [("first", 1), ("slow", lazy("wait")), ("rest", lazy("wait", depends_on=["slow"]))]

    def wait(self, request, slow=None):
        crowd.wait()
        return count(request)


def let_go(request):
    """Release the loaders that wait now; those that come later wait."""
    crowd.set()
    return JsonResponse({})


def hold_on(request):
    crowd.clear()
    return JsonResponse({})


def look():
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    return {
        "streams": count_open_streams(),
        "threads": len(names),
        "workers": names.count("partstream-worker"),
        "files": len(os.listdir("/proc/self/fd")),
        "kilobytes": int(Path("/proc/self/statm").read_text().split()[1])
        * (os.sysconf("SC_PAGE_SIZE") // 1024),
    }


async def process(request):
    """What this process holds, as its event loop sees it."""
    tasks = len(asyncio.all_tasks())
    return JsonResponse({**await sync_to_async(look)(), "tasks": tasks})


def streams(request):
    """How many streams are open here."""
    return JsonResponse({"streams": count_open_streams()})


def users(request):
    return JsonResponse({"users": User.objects.count()})


class FailingMiddleware:
    """Fails after the view, where a client asks for it."""

    sync_capable = async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request):
        if iscoroutinefunction(self.get_response):
            return self.answer(request)
        return self.passed_on(request, self.get_response(request))

    async def answer(self, request):
        return self.passed_on(request, await self.get_response(request))

    def passed_on(self, request, response):
        if "X-Fail" in request.headers:
            raise LookupError("as the client wants it")
        if "X-Replace" in request.headers:
            return JsonResponse({"replaced": True})
        return response


urlpatterns = [
    path("plain/", streams),
    path("users/", users),
    path("process/", process),
    path("side-by-side/", SideBySide.as_view()),
    path("one-by-one/", OneByOne.as_view()),
    path("coroutines/", Coroutines.as_view()),
    path("one-worker/", OneWorker.as_view()),
    path("behind/", behind(ThreadExecutor())),
    path("one-worker/behind/", behind(OneWorker.executor)),
    path("one-by-one/behind/", behind(OneByOne.executor)),
    path("own/", Own.as_view()),
    path("crowd/", Crowd.as_view()),
    path("let-go/", let_go),
    path("hold-on/", hold_on),
]
