"""A project with one of the tools that people run beside partstream; prints what both saw.

Its arguments: the tool, the executor's class path.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import nullcontext
from typing import Any

from django.conf import settings

TOOL, EXECUTOR = sys.argv[1:3]


class URLs:
    urlpatterns: list = []


APPS = {
    "debug_toolbar": ["django.contrib.staticfiles", "debug_toolbar"],
    "silk": ["django.contrib.staticfiles", "silk"],
    "structlog": ["django_structlog"],
    "sentry": [],
}
MIDDLEWARE = {
    "debug_toolbar": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
    "silk": ["silk.middleware.SilkyMiddleware"],
    "structlog": ["django_structlog.middlewares.RequestMiddleware"],
    "sentry": [],
}

settings.configure(
    SECRET_KEY="only these tests use this key, and it is long enough",
    ALLOWED_HOSTS=["testserver"],
    DEBUG=True,
    INTERNAL_IPS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "beside.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "partstream",
        *APPS[TOOL],
    ],
    MIDDLEWARE=[
        "partstream.middleware.PerformanceMiddleware",
        "partstream.middleware.ProgressiveDeliveryMiddleware",
        *MIDDLEWARE[TOOL],
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    ROOT_URLCONF=URLs,
    STATIC_URL="static/",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
    DJANGO_PARTSTREAM={
        "ENABLE_RATE_LIMITING": False,
        "ENABLE_DEBUG_LOGGING": True,
        "PART_EXECUTOR": EXECUTOR,
    },
    LOGGING_CONFIG=None,
)

events: list[dict[str, Any]] = []
if TOOL == "sentry":
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Kept(Transport):
        """Keeps what would be sent."""

        def capture_envelope(self, envelope):
            for item in envelope.items:
                if item.type in ("event", "transaction"):
                    events.append(item.payload.json)

    sentry_sdk.init("http://key@localhost/1", transport=Kept, traces_sample_rate=1.0)

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402

from partstream import ProgressiveView, lazy  # noqa: E402
from partstream.performance import PerformanceMonitor  # noqa: E402
from partstream.testing import close_connections  # noqa: E402

logs: list[dict[str, Any]] = []


def load(request):
    for number in range(3):
        User.objects.filter(pk=number).count()
    if TOOL == "structlog":
        import structlog

        structlog.get_logger("loader").info("loaded")
    return 3


def fail(request):
    raise ValueError("the loader's own error")


class Board(ProgressiveView):
    chunk_size = 3
    parts = [("meta", 1), ("orders", lazy(load)), ("rates", lazy(fail)), ("last", 4)]


URLs.urlpatterns = [path("board/", Board.as_view())]
if TOOL == "silk":
    URLs.urlpatterns.append(path("silk/", include("silk.urls", namespace="silk")))
if TOOL == "debug_toolbar":
    URLs.urlpatterns.append(path("__debug__/", include("debug_toolbar.urls")))


def seen_by_tool(response: Any) -> Any:
    """What the tool has seen of the first request."""
    if TOOL == "silk":
        from silk.models import Request

        first = Request.objects.earliest("start_time")
        return {"requests": Request.objects.count(), "queries": first.queries.count()}
    if TOOL == "structlog":
        return {"logs": logs}
    if TOOL == "sentry":
        sentry_sdk.flush()
        errors = [event for event in events if event.get("type") != "transaction"]
        return {
            "errors": [event["exception"]["values"][-1]["type"] for event in errors],
            "loggers": [event.get("logger") for event in errors],
            "queries": [
                span["description"]
                for event in events
                for span in event.get("spans", ())
                if span["op"] == "db" and "auth_user" in span["description"]
            ],
        }
    return {"timing": response.headers["Server-Timing"]}


def main() -> None:
    logging.getLogger("partstream").addHandler(logging.NullHandler())
    logging.getLogger("partstream").propagate = TOOL == "sentry"
    if TOOL == "structlog":
        import structlog

        def keep(logger, name, event):
            logs.append(dict(event))
            raise structlog.DropEvent

        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, keep],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
    call_command("migrate", verbosity=0)
    client = Client(HTTP_X_REQUEST_ID="given-id")
    with sentry_sdk.start_transaction(name="first") if TOOL == "sentry" else nullcontext():
        first = client.get("/board/?debug=1")
    second = client.get(f"/board/?debug=1&cursor={first.json()['cursor']}")
    monitor = PerformanceMonitor()
    answer = {
        "names": [name for r in (first, second) for part in r.json()["results"] for name in part],
        "errors": [error["code"] for error in first.json()["errors"]],
        "queries": first.json()["meta"]["debug"]["orders"]["queries"],
        "count": monitor.get_count("board/"),
        "of_part": monitor.get_average_queries("board/", "orders"),
        "tool": seen_by_tool(first),
    }
    close_connections()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
