"""As many clients as the pool has connections wait for what another one makes, who has none.

Run in the project ``rows`` with its pool; Django has to be set up.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django.core.wsgi import get_wsgi_application
from django.urls import path

from partstream import ProgressiveView, cached_for, lazy
from tests.support.wsgi import ask

from . import views
from .rows import create_data

CONNECTIONS = 4


class Meeting:
    """One value, which is made when all others wait for it.

    Attributes:
        begun: Set when somebody makes it.
        waiting: How many others have come.
    """

    def __init__(self):
        self.begun = threading.Event()
        self.waiting = 0
        self._lock = threading.Lock()

    def come(self):
        """Say that one more will wait."""
        with self._lock:
            self.waiting += 1

    def is_complete(self):
        """Whether all others wait, or will never come."""
        return self.waiting == CONNECTIONS or time.monotonic() > ends


ends = time.monotonic() + views.PATIENCE
meetings = {name: Meeting() for name in ("plain", "coroutine", "timed_coroutine")}


def meeting_of(request):
    return meetings[request.path.strip("/")]


def is_maker(request):
    """Whether it is the client without a session, who asks first."""
    return not request.COOKIES


@cached_for(60, shared=True)
def make(request):
    meeting = meeting_of(request)
    meeting.begun.set()
    while not meeting.is_complete():
        time.sleep(0.01)
    return views.owner()


@cached_for(60, shared=True)
async def async_make(request):
    meeting = meeting_of(request)
    meeting.begun.set()
    while not meeting.is_complete():
        await asyncio.sleep(0.01)
    return await views.async_owner(request)


def join(request):
    if not is_maker(request):
        views.owner()
        meeting_of(request).come()
    return make(request)


async def async_join(request):
    if not is_maker(request):
        await views.async_owner(request)
        meeting_of(request).come()
    return await async_make(request)


def view(loader):
    """A view of this part, for everybody."""
    attributes = {"permission_classes": [], "parts": [("part", loader)]}
    return type("JoinView", (ProgressiveView,), attributes).as_view()


views.urlpatterns += [
    path("plain/", view(lazy(join))),
    path("coroutine/", view(lazy(async_join))),
    path("timed_coroutine/", view(lazy(async_join, timeout=views.LONG))),
]


def main():
    """Print as JSON what each of the clients got, for each kind of loader."""
    clients = create_data.make()[:CONNECTIONS]
    application = get_wsgi_application()
    told = {}

    def get(name, client):
        cookie = client.cookie if client else ""
        answer = ask(application, f"/{name}/", host="red", cookie=cookie)
        return answer.json() if answer.status == 200 else answer.status

    with ThreadPoolExecutor(CONNECTIONS + 1) as threads:
        for name, meeting in meetings.items():
            maker = threads.submit(get, name, None)
            meeting.begun.wait(views.PATIENCE)
            answers = [*threads.map(lambda client, name=name: get(name, client), clients)]
            told[name] = [
                answer["results"] if isinstance(answer, dict) else answer
                for answer in (maker.result(), *answers)
            ]
    print(json.dumps(told))
