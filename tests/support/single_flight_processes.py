"""Separate processes that answer requests, for tests that need several.

`Crew` starts them. Each runs `serve`, and reads line by line what to answer. They share a Redis,
where their loaders count their runs, say that they began, and wait for a gate to be opened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from itertools import count
from uuid import uuid4

from django.test import RequestFactory
from rest_framework.request import Request

from partstream import ProgressiveView, cached_for, lazy

from .concurrency import PATIENCE

REDIS_STORE = "partstream.backends.caches.redis.RedisCacheStore"
LOCAL_STORE = {
    "BACKEND": "partstream.backends.caches.django_cache.DjangoCacheStore",
    "OPTIONS": {"alias": "local"},
}


def caches_over(url):
    """The settings of the caches: one in Redis, and one of the process's own."""
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            # A server that a busy machine holds up is none that hangs.
            "OPTIONS": dict.fromkeys(("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"), 2 * PATIENCE),
        },
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }


# In a process of the crew


def gated(request):
    """A loader that counts its runs, and waits until it is let go; it says who ran it."""
    from django_redis import get_redis_connection

    redis, run = get_redis_connection("default"), request.GET["run"]
    number = redis.incr(f"{run}:runs")
    redis.rpush(f"{run}:began", os.getpid())
    if redis.blpop([f"{run}:gate"], PATIENCE) is None:
        raise AssertionError("nobody let it go")
    if str(number) in request.GET.getlist("failing"):
        raise ValueError("this run fails")
    return [os.getpid(), number]


def gated_part(view, request):
    return gated(request._request)


async def gated_later(view, request):
    from asgiref.sync import sync_to_async

    return await sync_to_async(gated, thread_sensitive=False)(request._request)


class CachedView(ProgressiveView):
    """One part, that is kept for everybody."""

    authentication_classes = ()
    parts = [("slow", lazy("get_slow"))]
    get_slow = cached_for(60, shared=True)(gated_part)


class CoroutineView(CachedView):
    get_slow = cached_for(60, shared=True)(gated_later)


class ThreadedView(CachedView):
    executor = "partstream.backends.executors.threads.ThreadExecutor"


class MovingView(ProgressiveView):
    """A walk whose slow part moves on to the next chunk."""

    authentication_classes = ()
    chunk_size = 2
    time_budget = 0.05
    executor = "partstream.backends.executors.threads.ThreadExecutor"
    parts = [("quick", 1), ("slow", lazy(lambda request: gated(request._request)))]


@cached_for(60, shared=True)
def called(request):
    return gated(request._request)


VIEWS = {view.__name__: view.as_view() for view in (CachedView, CoroutineView, ThreadedView)}
VIEWS["MovingView"] = MovingView.as_view()
VIEWS["called"] = lambda request: called(Request(request))


def answer(view, query):
    """What a view answers, or a loader gives, as a caller sees it."""
    from django_redis import get_redis_connection

    get_redis_connection("default").incr(f"{query['run']}:entered")
    try:
        answered = VIEWS[view](RequestFactory().get("/flying/", query))
    except ValueError as error:
        return str(error)
    return json.loads(answered.content) if hasattr(answered, "content") else answered


def serve():
    """Answer what the lines of the standard input ask for, many at a time."""
    import django
    from django.conf import settings

    django.setup()
    settings.CACHES = caches_over(sys.argv[1])
    writing = threading.Lock()

    def say(line):
        with writing:
            print(json.dumps(line), flush=True)

    def run(number, view, query):
        say([number, answer(view, query)])

    say("ready")
    for line in sys.stdin:
        number, view, query = json.loads(line)
        if view == "configure":
            say([number, configure(**query)])
        else:
            threading.Thread(target=run, args=(number, view, query), daemon=True).start()


def configure(store, lock_ttl):
    """Begin anew with this store, and with locks that live so long."""
    from django.test import override_settings

    from partstream.caching import single_flight

    single_flight.LOCK_TTL = lock_ttl
    override_settings(DJANGO_PARTSTREAM={"CACHE_STORE": store}).enable()


# In the process of the tests


class Member:
    """One of the processes."""

    def __init__(self, directory, url):
        self.log = directory / f"{uuid4().hex}.log"
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith("PARTSTREAM")
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from tests.support.single_flight_processes import serve; serve()",
                    url,
                ],
                cwd=directory,
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "DJANGO_SETTINGS_MODULE": "tests.settings",
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.is_alive = True
        self._numbers = count()
        self._asked = {}
        self._reader = threading.Thread(target=self._read, daemon=True)

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        assert line == '"ready"\n', self.log.read_text()
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            number, answered = json.loads(line)
            self._asked.pop(number).set_result(answered)

    def ask(self, view, **query):
        """Have one more thread of it ask the view; returns a `Future`."""
        number, future = next(self._numbers), Future()
        self._asked[number] = future
        self.process.stdin.write(json.dumps([number, view, query]) + "\n")
        self.process.stdin.flush()
        return future

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """Let it die at once."""
        self.is_alive = False
        self.process.kill()
        self.process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


class Crew:
    """Processes that are hired once and serve several tests."""

    def __init__(self, directory, url):
        self._arguments = (directory, url)
        self._members = []

    def hire(self, number, *, store=REDIS_STORE, lock_ttl=3):
        """So many processes that are alive, each without flights and with these settings."""
        members = [member for member in self._members if member.is_alive]
        new = [Member(*self._arguments) for _ in range(number - len(members))]
        self._members += new
        for member in new:
            member.wait_until_ready()
        hired = [*members, *new][:number]
        for answered in [
            member.ask("configure", store=store, lock_ttl=lock_ttl) for member in hired
        ]:
            answered.result(PATIENCE)
        return hired

    def close(self):
        for member in self._members:
            if member.is_alive:
                member.kill()


class Run:
    """What the loaders of one run count, say and wait for."""

    def __init__(self, redis):
        self.name = uuid4().hex
        self._redis = redis

    @property
    def count(self):
        return int(self._redis.get(f"{self.name}:runs") or 0)

    @property
    def entered(self):
        return int(self._redis.get(f"{self.name}:entered") or 0)

    def wait_until_begun(self):
        """The process in which a loader began, the next one each time."""
        began = self._redis.blpop([f"{self.name}:began"], PATIENCE)
        assert began is not None
        return int(began[1])

    def let_go(self, number=1):
        """Let so many runs end."""
        self._redis.rpush(f"{self.name}:gate", *range(number))
