"""A worker: answers many requests from many threads, as a server does, and publishes its figures.

Its arguments: the URL of Redis, threads, requests of each. It prints how many parts it delivered.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.conf import settings

URL, THREADS, EACH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class URLs:
    urlpatterns: list = []


settings.configure(
    SECRET_KEY="only these tests use this key, and it is long enough",
    ALLOWED_HOSTS=["testserver"],
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "partstream",
    ],
    MIDDLEWARE=["partstream.middleware.PerformanceMiddleware"],
    ROOT_URLCONF=URLs,
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
    DJANGO_PARTSTREAM={
        "ENABLE_RATE_LIMITING": False,
        "CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore",
    },
)

import django  # noqa: E402

django.setup()

from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402

from partstream import ProgressiveView, lazy  # noqa: E402
from partstream.performance.publication import publisher  # noqa: E402


def fail(request):
    raise ValueError("no")


class Board(ProgressiveView):
    chunk_size = 3
    parts = [("meta", 1), ("orders", lazy(lambda request: [1])), ("rates", lazy(fail))]


URLs.urlpatterns = [path("board/", Board.as_view())]


def main() -> None:
    import logging

    logging.disable(logging.CRITICAL)
    barrier = Barrier(THREADS)

    def run(_: int) -> int:
        client = Client()
        barrier.wait()
        return sum(len(client.get("/board/").json()["results"]) for _ in range(EACH))

    with ThreadPoolExecutor(THREADS) as pool:
        delivered = sum(pool.map(run, range(THREADS)))
    publisher.read(60)  # What its last request did not publish.
    sys.stdout.write(f"{delivered}\n")


if __name__ == "__main__":
    main()
