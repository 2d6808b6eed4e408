"""The cost of timed parts when Django's pool has fewer connections than there are clients.

Install the versions to be measured, including the dependencies of the tests and PostgreSQL, with
Django 5.1 or newer, then run ``python benchmarks/pooled.py``. It starts its own PostgreSQL server.
``--markdown`` prints the table for the docs.

Eight clients, each with a session, send requests at the same time, again and again, through the
project's WSGI application. The pool has four connections. The inline view has four parts without a
timeout. The timed view has the same four with one, so each runs in a worker, on its own connection.
Ratios compare with the inline view's figure, with the time of the parts' queries added.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import subjects

from tests import postgresql
from tests.support.databases import database
from tests.support.wsgi import ask

CLIENTS = 8
PARTS = 4
#: Milliseconds that a part's query takes.
QUERY = 10
#: Requests of each client in one block.
REQUESTS = 10


def set_up(url):
    """Configure Django, and make the tables and a session for each client; return the cookies."""
    import dj_database_url
    import django
    from django.conf import settings

    pool = {"min_size": 1, "max_size": 4, "timeout": 30}
    settings.configure(
        SECRET_KEY="the benchmarks' own secret, of a good length",
        ALLOWED_HOSTS=["localhost"],
        DATABASES={"default": {**dj_database_url.parse(url), "OPTIONS": {"pool": pool}}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "rest_framework",
            "partstream",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        SESSION_SAVE_EVERY_REQUEST=True,
        ROOT_URLCONF=__name__,
        DJANGO_PARTSTREAM={"ENABLE_RATE_LIMITING": False},
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()
    logging.disable(logging.CRITICAL)
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    cookies = []
    for number in range(CLIENTS):
        user = User.objects.create(username=f"client{number}")
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        cookies.append(f"sessionid={session.session_key}")
    connection.close()
    return cookies


def make_urls():
    """The views, as ``urlpatterns`` of this module."""
    from django.db import connection
    from django.urls import path
    from rest_framework.permissions import IsAuthenticated

    from partstream import ProgressiveView, lazy

    def query(request):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [QUERY / 1000])
        return 1

    class InlineView(ProgressiveView):
        permission_classes = [IsAuthenticated]
        chunk_size = PARTS
        parts = [(f"part{number}", lazy(query)) for number in range(PARTS)]

    class TimedView(InlineView):
        parts = [(f"part{number}", lazy(query, timeout=60)) for number in range(PARTS)]

    class ThreadsView(TimedView):
        executor = subjects.THREADS

    return [
        path("inline/", InlineView.as_view()),
        path("timed/", TimedView.as_view()),
        path("threads/", ThreadsView.as_view()),
    ]


def block(application, path, cookies):
    """Seconds of each request; the clients send theirs at the same time, again and again."""
    start = Barrier(len(cookies))

    def client(cookie):
        seconds = []
        start.wait()
        for _ in range(REQUESTS):
            started = time.perf_counter()
            answer = ask(application, path, cookie=cookie)
            seconds.append(time.perf_counter() - started)
            if answer.status != 200 or "errors" in answer.json():
                raise AssertionError(f"{path}: {answer}")
        return seconds

    with ThreadPoolExecutor(len(cookies)) as threads:
        return [second for seconds in threads.map(client, cookies) for second in seconds]


def rows(blocks):
    """Each measure with its target."""
    with postgresql.server(postgresql.find_binaries()) as url, database(url) as own:
        cookies = set_up(own.url)
        globals()["urlpatterns"] = make_urls()
        from django.core.wsgi import get_wsgi_application
        from django.db import connection

        application = get_wsgi_application()
        paths = ["/inline/", "/timed/", "/threads/"]
        found = {path: [] for path in paths}
        for number in range(blocks + 1):
            for path in paths:
                seconds = block(application, path, cookies)
                if number:  # The first one warms up.
                    found[path] += seconds
        connection.close_pool()
    own = PARTS * QUERY / 1000
    for name, measure in (("median", statistics.median), ("slowest", max)):
        inline = measure(found["/inline/"])
        yield f"parts without a timeout: {name} request", "", f"{inline * 1000:.0f} ms"
        for path, executor in (("/timed/", "InlineExecutor"), ("/threads/", "ThreadExecutor")):
            seconds = measure(found[path])
            yield (
                f"parts with a timeout, {executor}: {name} request",
                "<= 1.5 x",
                f"{seconds / (inline + own):.2f} x ({seconds * 1000:.0f} ms)",
            )


if __name__ == "__main__":
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    from report import report

    report(__doc__.split("\n")[0], rows, blocks=20)
