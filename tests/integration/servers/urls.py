"""A view for each kind of loader, each of which queries; and one that is Django's alone."""

from __future__ import annotations

from threading import Event

from django.contrib.auth.models import User
from django.http import JsonResponse
from django.urls import path

from partstream import ProgressiveView, lazy, safe_call

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
#: Seconds that a loader may take, and never does.
LONG = 120


def count(request):
    return User.objects.count()


async def async_count(request):
    return await User.objects.acount()


class HiddenCoroutine:
    """A coroutine function that nobody takes for one before it is called."""

    def __call__(self, request):
        return async_count(request)


def broken(request):
    raise LookupError("this one always fails")


def fallback(request, error):
    return count(request)


def hang(request):
    Event().wait()


def plain(request):
    return JsonResponse({"users": User.objects.count()})


class ThreadsView(ProgressiveView):
    executor = THREADS


def view(loader, base=ProgressiveView, **attributes):
    """A view of this part alone."""
    return type("KindView", (base,), {"parts": [("part", loader)], **attributes}).as_view()


PLAIN_KINDS = {
    "inline": view(lazy(count)),
    "timed": view(lazy(count, timeout=LONG)),
    "threads": view(lazy(count), ThreadsView),
    "threads_timed": view(lazy(count, timeout=LONG), ThreadsView),
    "fallback": view(lazy(safe_call(broken, fallback=fallback), timeout=LONG)),
}
COROUTINE_KINDS = {
    "coroutine": view(lazy(async_count)),
    "coroutine_timed": view(lazy(async_count, timeout=LONG)),
    "coroutine_threads": view(lazy(async_count), ThreadsView),
    "coroutine_threads_timed": view(lazy(async_count, timeout=LONG), ThreadsView),
}
HIDDEN_KINDS = {
    "hidden": view(lazy(HiddenCoroutine())),
    "hidden_timed": view(lazy(HiddenCoroutine(), timeout=LONG)),
    "hidden_threads": view(lazy(HiddenCoroutine()), ThreadsView),
}
# It holds its thread as long as there is a process.
HANGING = view(lazy(safe_call(hang, fallback="late"), timeout=0.05))

urlpatterns = [
    path("plain/", plain),
    path("hanging/", HANGING),
    *(
        path(f"{name}/", kind)
        for name, kind in {**PLAIN_KINDS, **COROUTINE_KINDS, **HIDDEN_KINDS}.items()
    ),
]
