"""The cost of checking limits, and that they hold.

Install the versions to be measured, then run ``python benchmarks/guard.py``. Cases that are
compared run in alternating blocks in one process. Redis is a temporary server behind a Unix
socket, as in the tests, and a PING uses the same client and kind of connection as a check.
``--markdown`` prints the table for the docs. The overhead benchmark has the other costs of the
guard: codecs, chunks with limits, and the middleware.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from django.conf import settings
from report import report
from timing import Case, measure

from tests.support import redis as redis_servers

MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
DJANGO_CACHE = "partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore"
REDIS = "partstream.backends.rate_limits.redis.RedisRateLimitStore"
#: So high that no request of a benchmark is refused.
ENDLESS = 100_000


def set_up(redis_url):
    """Configure Django, with a local and a Redis cache."""
    import django

    settings.configure(
        SECRET_KEY="the benchmarks' own secret, of a good length",
        ALLOWED_HOSTS=["testserver"],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "OPTIONS": {"MAX_ENTRIES": 100_000},
            },
            "redis": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url},
        },
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "rest_framework",
            "partstream",
        ],
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
        DJANGO_PARTSTREAM={"RATE_LIMIT_STORE": MEMORY},
        LOGGING_CONFIG=None,
    )
    # A line for each refused request would hide the table.
    logging.getLogger("partstream.audit").addHandler(logging.NullHandler())
    django.setup()


def of_throttle(view, throttle):
    """A case: a throttle made and called, as DRF does for each request."""
    from django.test import RequestFactory
    from rest_framework.request import Request

    request = Request(RequestFactory().get("/"))
    view.request = request
    return Case(lambda count: [throttle] * count, lambda kind: kind().allow_request(request, view))


@contextmanager
def limited(store, rate, burst):
    """The settings of one case."""
    from django.test import override_settings

    with override_settings(
        DJANGO_PARTSTREAM={"RATE_LIMIT_STORE": store, "RATE_LIMIT": rate, "BURST_LIMIT": burst}
    ):
        yield


def admitted(store, threads=16, requests=200, limit=100):
    """The number of simultaneous requests that are admitted under a limit per minute."""
    from django.test import RequestFactory

    from partstream import ProgressiveView

    view = type("View", (ProgressiveView,), {"parts": [("a", 1)]}).as_view()
    barrier, answered = threading.Barrier(threads), itertools.count()

    def ask():
        made = [RequestFactory().get("/") for _ in range(requests)]
        barrier.wait()
        for request in made:
            if view(request).status_code == 200:
                next(answered)

    with limited(store, limit, None):
        running = [threading.Thread(target=ask) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return next(answered)


def rows(blocks):
    """Each measure: its name, target and result, in the order of the table."""
    from django.core.cache import caches
    from redis import Redis
    from rest_framework.throttling import SimpleRateThrottle

    from partstream import ProgressiveView
    from partstream.backends.rate_limits.base import Window
    from partstream.backends.rate_limits.redis import RedisRateLimitStore
    from partstream.throttling import ClientThrottle

    class DRFThrottle(SimpleRateThrottle):
        """DRF's own, over the local cache; its rate is never reached."""

        rate = f"{ENDLESS}/min"

        def get_cache_key(self, request, view):
            """One client."""
            return "drf"

    class Full(DRFThrottle):
        """The same, with a full window of a thousand."""

        rate = "1000/min"

        def get_cache_key(self, request, view):
            """Another client."""
            return "full"

    view = ProgressiveView(parts=[("a", 1)])
    full = of_throttle(view, Full)
    for kind in full.prepare(1001):
        full.call(kind)
    with limited(MEMORY, ENDLESS, ENDLESS):
        checks = measure(
            {
                "ours": of_throttle(view, ClientThrottle),
                "drf": of_throttle(view, DRFThrottle),
                "drf full": full,
            },
            blocks=blocks,
        )

    store = RedisRateLimitStore(alias="redis")
    windows = [Window("{a}:burst", ENDLESS, 10), Window("{a}:rate", ENDLESS, 60)]
    client = Redis(connection_pool=store._redis.pool)
    caches["redis"].clear()
    redis = measure(
        {
            "take": Case(lambda count: [windows] * count, store.take),
            "ping": Case(lambda count: [client] * count, lambda client: client.ping()),
        },
        blocks=blocks,
        clock=perf_counter,
    )

    yield "limit check, memory: the throttle, two windows", "<= 15 us", f"{checks['ours']:.1f} us"
    yield "for comparison: DRF's throttle, its window empty", "", f"{checks['drf']:.1f} us"
    yield "for comparison: the same, 1,000 in its window", "", f"{checks['drf full']:.1f} us"
    yield (
        "limit check, Redis: two windows, against a PING",
        "<= 2 x",
        f"{redis['take'] / redis['ping']:.2f} x ({redis['take']:.0f} us)",
    )
    redis_setting = {"BACKEND": REDIS, "OPTIONS": {"alias": "redis"}}
    for name, setting in [("memory", MEMORY), ("LocMem", DJANGO_CACHE), ("Redis", redis_setting)]:
        yield (
            f"16 threads x 200 requests against RATE_LIMIT 100, {name}: answered",
            "100",
            f"{admitted(setting)}",
        )


if __name__ == "__main__":
    with redis_servers.server(redis_servers.demand_server()) as server:
        set_up(server.url)
        report(
            __doc__.partition("\n")[0],
            rows,
            f"django-redis {version('django-redis')}",
            f"redis-py {version('redis')}",
        )
