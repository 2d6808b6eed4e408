"""`manage.py partstream_walk URL`: walks or streams a view, and draws what each part cost."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser
from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import DataError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test.client import Client, ClientHandler
from rest_framework.test import force_authenticate

from partstream.management.visits import Visit
from partstream.management.waterfall import BLOCK, Recording, StreamRecording, draw
from partstream.resolution.observers import add_observer, remove_observer


class _Handler(ClientHandler):
    """Handles requests of a user, who is logged in without a session.

    Args:
        user: None: an anonymous visitor.
    """

    def __init__(self, user: Any) -> None:
        super().__init__(enforce_csrf_checks=False)
        self._user = user

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """The response, as the user gets it."""
        if self._user is not None:
            force_authenticate(request, self._user)
            # For Django's middleware, and for decorators such as login_required().
            request._cached_user = self._user  # type: ignore[attr-defined]
        return super().get_response(request)


class Command(BaseCommand):
    """Walks a view of this project in this process, and draws its parts as a waterfall."""

    help = (
        "Walks a view to its end, in this process, and draws its parts: when each one ran, how "
        "long, how many queries it made, the bytes of its JSON, and where its data came from."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "url", help="path of the view, such as /api/dashboard/?year=2026, or its whole URL"
        )
        parser.add_argument("--user", metavar="NAME", help="walk as this user")
        parser.add_argument(
            "--stream", action="store_true", help="request the parts as a stream, not in chunks"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Walk or stream, then draw."""
        visit = self._prepare(options["url"], options["user"])
        streams = options["stream"]
        recording = (StreamRecording if streams else Recording)(self._show_running)
        add_observer(recording)
        started = perf_counter()
        try:
            if isinstance(recording, StreamRecording):
                visit.stream(recording)
            else:
                visit.walk(recording)
        finally:
            remove_observer(recording)
            recording.close()
        seconds = perf_counter() - started
        rows, columns = recording.rows, shutil.get_terminal_size().columns
        for line in draw(rows, started, seconds, columns, unit="record" if streams else "chunk"):
            self._print(line)
        runs = {id(row.run): row.run for row in rows if row.run is not None}
        queries = sum(len(run.queries or ()) for run in runs.values())
        took = f"{seconds * 1000:,.0f} ms"
        if visit.first is not None:
            first = f"{(visit.first - started) * 1000:,.0f} ms"
            took = f"{recording.number} records, the first after {first}, the last after {took}"
        self.stdout.write(
            f"{visit.requests} request{'' if visit.requests == 1 else 's'}, {took}, "
            f"{queries:,} queries of parts, {visit.size:,} bytes of responses"
        )

    def _prepare(self, url: str, user: str | None) -> Visit:
        parts = urlsplit(url)
        if not parts.path.startswith("/"):
            raise CommandError(f"{url!r} is not a path. Write for example /api/dashboard/.")
        hosts = [host for host in settings.ALLOWED_HOSTS if host.strip("*.")]
        host = parts.netloc or (hosts[0].lstrip(".") if hosts else "localhost")
        client = Client()
        client.handler = _Handler(None if user is None else self._find_user(user))
        secure = parts.scheme == "https" or settings.SECURE_SSL_REDIRECT
        path, prefix = parts.path, (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
        if prefix and path.startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
        extra = {"HTTP_HOST": host, "secure": secure}
        return Visit(client, path, parts.query, extra, self.stderr.write)

    def _find_user(self, name: str) -> Any:
        model = get_user_model()
        try:
            return model._default_manager.get(**{model.USERNAME_FIELD: name})
        except (model.DoesNotExist, ValueError, DataError):
            raise CommandError(f"There is no user {name!r}.") from None

    def _print(self, line: str) -> None:
        try:
            self.stdout.write(line)
        except UnicodeEncodeError:  # The encoding of the terminal or file has no blocks.
            self.stdout.write(line.replace(BLOCK, "#"))

    def _show_running(self, names: Sequence[str]) -> None:
        """Show which parts run, on a terminal."""
        if self.stderr.isatty():
            text = f"running: {', '.join(names)}" if names else ""
            width = shutil.get_terminal_size().columns - 1
            self.stderr.write(f"\r{text[:width]:{width}}\r", ending="")
            self.stderr.flush()
