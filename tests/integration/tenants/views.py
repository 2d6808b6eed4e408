"""Views with a part of every kind; each says whose data it sees.

The URLs of each project here; `OWNER` in its settings is its model.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Barrier, Event

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.urls import include, path
from rest_framework import serializers
from rest_framework.permissions import BasePermission

from partstream import HybridProgressiveView, cached_for, lazy, safe_call, with_timeout
from partstream.exceptions import NoCapacity, PartTimeout

Owner = apps.get_model(settings.OWNER)
never = Event()
#: Seconds that a loader may take, and never does.
LONG = 120
#: Seconds after which who waits here has failed.
PATIENCE = 60


class Gathering:
    """The first that come wait for each other, each with the connection that it has."""

    def __init__(self):
        self._barrier = Barrier(settings.GATHERS)
        self._is_over = Event()

    def join(self):
        if not self._is_over.is_set():
            self._barrier.wait(PATIENCE)
            self._is_over.set()


of_requests, of_callers = Gathering(), Gathering()


class Gathered(BasePermission):
    """Has the first requests wait for each other, each with the connection of its user."""

    def has_permission(self, request, view):
        bool(request.user)
        of_requests.join()
        return True


def owner(request=None):
    return Owner.objects.get().name


def owner_again(request, timed):
    return owner()


def broken(request):
    raise LookupError("this one always fails")


def too_slow(request):
    # What is late leaves soon, and its place is free.
    never.wait(0.05)
    raise LookupError("this one always fails")


async def async_owner(request):
    found = await Owner.objects.aget()
    return found.name


async def async_owner_by_threads(request):
    return await sync_to_async(owner)()


async def async_broken(request):
    raise LookupError("this one always fails")


async def async_fallback(request, error):
    return await async_owner(request)


def fallback(request, error):
    return owner()


timed_owner = with_timeout(owner, LONG)
timed_too_slow = with_timeout(too_slow, 0.02)


def owner_by_call(request):
    owner()
    of_callers.join()
    return timed_owner(request)


def owner_after_late_call(request):
    with suppress(PartTimeout, NoCapacity, LookupError):
        timed_too_slow(request)
    return owner()


class OwnerSerializer(serializers.ModelSerializer):
    class Meta:
        model = Owner
        fields = ["name"]


def all_owners(request):
    return Owner.objects.all()


async def async_all_owners(request):
    return Owner.objects.all()


def name_in(lines):
    """What a list of rows says."""
    return " and ".join(line["name"] for line in lines)


class InlineView(HybridProgressiveView):
    permission_classes = [Gathered]
    parts = [
        ("plain", lazy(owner)),
        ("timed", lazy(owner, timeout=LONG)),
        ("coroutine", lazy(async_owner)),
        ("timed_coroutine", lazy(async_owner, timeout=LONG)),
        ("coroutine_by_threads", lazy(async_owner_by_threads, timeout=LONG)),
        ("fallback", lazy(safe_call(broken, fallback=fallback))),
        ("timed_fallback", lazy(safe_call(broken, fallback=fallback), timeout=LONG)),
        ("late_fallback", lazy(safe_call(too_slow, fallback=fallback), timeout=0.02)),
        ("coroutine_fallback", lazy(safe_call(async_broken, fallback=fallback), timeout=LONG)),
        (
            "async_fallback",
            lazy(safe_call(async_broken, fallback=async_fallback), timeout=LONG),
        ),
        ("rows", lazy(all_owners, serializer_class=OwnerSerializer, many=True)),
        ("timed_rows", lazy(all_owners, serializer_class=OwnerSerializer, many=True, timeout=LONG)),
        (
            "coroutine_rows",
            lazy(async_all_owners, serializer_class=OwnerSerializer, many=True, timeout=LONG),
        ),
        ("values", lazy(lambda request: Owner.objects.values("name"), timeout=LONG)),
        ("cached", lazy(cached_for(60, key=owner)(owner), timeout=LONG)),
        ("calling", lazy(owner_by_call)),
        ("timed_calling", lazy(owner_by_call, timeout=LONG)),
        ("calling_late", lazy(owner_after_late_call)),
        ("timed_calling_late", lazy(owner_after_late_call, timeout=LONG)),
        ("dependent", lazy("get_dependent", depends_on=["timed"], timeout=LONG)),
        (
            "cached_dependent",
            lazy(cached_for(60, key=owner)(owner_again), depends_on=["timed"], timeout=LONG),
        ),
        ("last_coroutine", lazy(async_owner)),
        ("last", lazy(owner)),
    ]

    def get_parts(self):
        """All parts, or those of ``?only=``: a stream has no other choice of them."""
        only = self.request.query_params.get("only")
        return [pair for pair in self.parts if only is None or pair[0] in only.split(",")]

    def get_dependent(self, request, timed):
        return timed if timed == owner() else f"{timed}, then {owner()}"


class ThreadsView(InlineView):
    executor = {
        "BACKEND": "partstream.backends.executors.threads.ThreadExecutor",
        "OPTIONS": settings.OPTIONS,
    }


NAMES = [name for name, _ in InlineView.parts]

urlpatterns = [
    path("inline/", include(InlineView.urls(name="inline"))),
    path("threads/", include(ThreadsView.urls(name="threads"))),
]
