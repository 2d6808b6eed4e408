"""As many clients as the pool has connections wait for other processes, by a store in the database.

Run in the project ``rows`` with its pool and this store; Django has to be set up.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.urls import path

from partstream import ProgressiveView, cached_for, lazy
from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.caching.flight import Flight
from partstream.caching.single_flight import get_single_flight
from partstream.parts.direct_calls import DirectCall, _key
from tests.support.wsgi import ask

from . import views
from .rows import create_data

CONNECTIONS = 4
#: Of each client, before somebody else needs a connection.
POLLS = 5


class TableStore(DjangoCacheStore):
    """The cache in the database; it counts what is looked for again and again."""

    polls = 0

    def __init__(self, **options):
        super().__init__(alias="table", **options)

    def get_many(self, keys):
        TableStore.polls += 1
        return super().get_many(keys)


locks = []


def lock(loader, request, number):
    """Take the lock of a value, as another process does that makes it."""
    key = _key(DirectCall(loader, request, (number,), {}), loader.caching)
    locks.append(Flight(key).lock_key)
    get_single_flight().store.add(locks[-1], b"another process", 600)


@cached_for(60, shared=True)
def make(request, number):
    return views.owner()


@cached_for(60, shared=True)
async def async_make(request, number):
    return await views.async_owner(request)


def wait(request):
    number = request.query_params["number"]
    lock(make, request, number)
    return make(request, number)


async def async_wait(request):
    number = request.query_params["number"]
    await views.sync_to_async(lock)(async_make, request, number)
    return await async_make(request, number)


def view(loader):
    """A view of this part, for everybody."""
    attributes = {"permission_classes": [], "parts": [("part", loader)]}
    return type("WaitView", (ProgressiveView,), attributes).as_view()


views.urlpatterns += [
    path("plain/", view(lazy(wait))),
    path("coroutine/", view(lazy(async_wait))),
    path("timed_coroutine/", view(lazy(async_wait, timeout=views.LONG))),
    path("other/", view(lazy(views.owner))),
]


def main():
    """Print as JSON what each kind of client got, and another client meanwhile."""
    create_data.make()
    call_command("createcachetable", verbosity=0)
    connection.close()
    application = get_wsgi_application()
    told = {}

    def get(address):
        answer = ask(application, address, host="red")
        return answer.json()["results"] if answer.status == 200 else answer.status

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for name in ("plain", "coroutine", "timed_coroutine"):
            TableStore.polls = 0
            addresses = [f"/{name}/?number={number}" for number in range(CONNECTIONS)]
            waiting = [threads.submit(get, address) for address in addresses]
            ends = time.monotonic() + views.PATIENCE
            while TableStore.polls < POLLS * CONNECTIONS and time.monotonic() < ends:
                time.sleep(0.01)
            other = get("/other/")
            while locks:
                get_single_flight().store.delete(locks.pop())
            connection.close()
            told[name] = [other, *(client.result() for client in waiting)]
    print(json.dumps(told))
