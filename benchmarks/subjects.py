"""The views that the resolution benchmark calls, in this process and in others."""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import dj_database_url
import django
from django.conf import settings

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
REDIS_STORE = "partstream.backends.caches.redis.RedisCacheStore"
#: Milliseconds that each of the eight parts sleeps.
SLEEPS = (0, 50, 100, 150, 250, 350, 500, 600)
#: Milliseconds that each of ten parts computes.
COMPUTES = (*[10] * 8, 100, 100)
#: Threads of a process that call at the same time.
CALLERS = 16

#: The loaders run in this process, in order.
runs: list[str] = []
lock = threading.Lock()
#: The queues of `hand_over`, and its thread.
there, back, echo = SimpleQueue(), SimpleQueue(), None
#: The calls of `share_by_hand` in progress.
flights: dict[str, Future] = {}


def set_up(redis_url: str | None = None, database_url: str = "sqlite://:memory:") -> None:
    """Configure Django; with Redis, for the cache store too."""
    redis = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": redis_url,
    }
    settings.configure(
        SECRET_KEY="the benchmarks' own secret, of a good length",
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": dj_database_url.parse(database_url)},
        CACHES={
            "default": redis
            if redis_url
            else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        },
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "rest_framework",
            "partstream",
        ],
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
        DJANGO_PARTSTREAM={
            "ENABLE_RATE_LIMITING": False,
            **({"CACHE_STORE": REDIS_STORE} if redis_url else {}),
        },
        LOGGING_CONFIG=None,
    )
    django.setup()


def make_view(name: str):
    """A view by name, as a function of a path that returns its rendered response."""
    from django.test import RequestFactory

    from partstream import ProgressiveView, cached_for, lazy

    def sleeping(milliseconds):
        def load(request):
            with lock:
                runs.append(f"p{milliseconds}")
            time.sleep(milliseconds / 1000)
            return milliseconds

        return lazy(load)

    def query(request):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]

    def connect(request):
        from django.db import connection

        seconds = []
        for is_new in (True, False):
            if is_new:
                connection.close()
            started = time.perf_counter()
            query(request)
            seconds.append(time.perf_counter() - started)
        return seconds

    def endless_query(request):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    class Eight(ProgressiveView):
        executor = THREADS
        chunk_size = 8
        parts = [(f"p{number}", sleeping(number)) for number in SLEEPS]

    class EightInTime(Eight):
        time_budget = 0.1

    class Two(EightInTime):
        chunk_size = 2
        parts = [("instant", sleeping(0)), ("slow", sleeping(3000))]

    def computing(milliseconds, **options):
        def load(request):
            # The thread's own processor time: waiting for the interpreter does not count.
            ends = time.thread_time() + milliseconds / 1000
            while time.thread_time() < ends:
                pass
            return milliseconds

        return lazy(load, **options)

    def all_computing(slow_options):
        return [
            (f"p{number}", computing(each, **(slow_options if each > min(COMPUTES) else {})))
            for number, each in enumerate(COMPUTES)
        ]

    class Computing(ProgressiveView):
        executor = THREADS
        chunk_size = len(COMPUTES)
        # So short that the first chunk is sent with the first part that is ready.
        time_budget = 0.001
        parts = all_computing({})

    class ComputingByTwo(Computing):
        executor = {"BACKEND": THREADS, "OPTIONS": {"max_per_request": 2}}

    class ComputingQuickInline(Computing):
        executor = None
        parts = all_computing({"executor": THREADS})

    class ComputingInline(ProgressiveView):
        chunk_size = 1
        parts = all_computing({})

    class One(ProgressiveView):
        parts = [("one", lazy(lambda request: 1))]

    class OneOnAThread(One):
        executor = THREADS

    class OneHandedOver(One):
        # The least that a thread can do for another one.
        parts = [("one", lazy(lambda request: hand_over(1)))]

    def get_rates(request):
        with lock:
            runs.append("rates")
        time.sleep(0.2)
        return {"EUR": 1}

    class Shared(ProgressiveView):
        parts = [("rates", lazy(cached_for(300, shared=True)(get_rates)))]

    class SharedByHand(ProgressiveView):
        # The least that can do the same.
        parts = [("rates", lazy(lambda request: share_by_hand(get_rates)))]

    class Tiny(ProgressiveView):
        parts = [("data", lazy(cached_for(300, shared=True)(lambda request: [1])))]

    class Large(ProgressiveView):
        # 226 KB of JSON.
        parts = [
            (
                "data",
                lazy(
                    cached_for(300, shared=True)(
                        lambda request: [
                            {"id": number, "name": f"product {number}", "cents": 1990}
                            for number in range(4515)
                        ]
                    )
                ),
            )
        ]

    class Queries(ProgressiveView):
        executor = THREADS
        chunk_size = 10
        parts = [
            *((f"query_{number}", lazy(query)) for number in range(9)),
            ("endless", lazy(endless_query, timeout=0.1)),
        ]

    class Connecting(ProgressiveView):
        executor = THREADS
        parts = [("seconds", lazy(connect))]

    view = locals()[name].as_view()
    requests = RequestFactory(headers={"host": "testserver"})
    return lambda path="/": view(requests.get(path)).render()


# What the library is compared with


def _echo():
    while True:
        back.put(there.get())


def hand_over(value):
    """Hand a value to a waiting thread, and get it back."""
    global echo
    if echo is None:
        echo = threading.Thread(target=_echo, daemon=True)
        echo.start()
    there.put(value)
    return back.get()


def share_by_hand(load):
    """The value of ``load``, which one caller in all processes runs; the others wait for it."""
    from django_redis import get_redis_connection

    client = get_redis_connection()
    value = client.get("value")
    if value is not None:
        return json.loads(value)
    with lock:
        flight, owns = flights.get("value"), "value" not in flights
        if owns:
            flight = flights["value"] = Future()
    if not owns:
        return flight.result()
    if client.set("lock", 1, nx=True, ex=3):
        value = json.dumps(load(None))
        client.set("value", value, ex=300)
    while value is None:
        time.sleep(0.01)
        value = client.get("value")
    flight.set_result(json.loads(value))
    del flights["value"]
    return flight.result()


def walk(get):
    """Follow a walk to its end; `get` takes a path.

    Returns:
        Seconds to the first response, seconds in total, number of requests, names in order.
    """
    started, path, seconds, names = time.perf_counter(), "/", [], []
    while path is not None:
        begun = time.perf_counter()
        envelope = json.loads(get(path).content)
        seconds.append(time.perf_counter() - begun)
        names += [name for result in envelope["results"] for name in result]
        path = envelope["cursor"] and f"/?cursor={envelope['cursor']}"
    return seconds[0], time.perf_counter() - started, len(seconds), names


# Other processes


def _serve(connection, set_up_with, name):
    set_up(**set_up_with)
    logging.disable(logging.CRITICAL)
    get = make_view(name)
    connection.send(None)
    # As in a server: threads are started and connections opened before the requests.
    with ThreadPoolExecutor(CALLERS) as threads:
        while (order := connection.recv()) is not None:
            kind, given = order
            if kind == "get":
                connection.send((get(given).content, runs[:]))
            elif kind == "callers":
                connection.send((_call_at_once(get, threads, given), runs[:]))
            runs.clear()


def _call_at_once(get, threads, moment):
    """The seconds that each thread waits for its response; all start at the same time."""

    def call():
        time.sleep(max(0, moment - time.time()))
        started = time.perf_counter()
        get()
        return time.perf_counter() - started

    return [future.result() for future in [threads.submit(call) for _ in range(CALLERS)]]


@contextmanager
def processes(count, name, **set_up_with):
    """A number of processes that serve a view; each is a function of ("get", path)."""
    context = multiprocessing.get_context("spawn")
    started = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, set_up_with, name), daemon=True)
            process.start()
            started.append((process, ours))
        for _, connection in started:
            connection.recv()
        yield [connection for _, connection in started]
    finally:
        for process, connection in started:
            connection.send(None)
            process.join(10)
