"""`manage.py partstream_walk URL`: walks a view, and draws what each part cost."""

from __future__ import annotations

import shutil
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

from partstream.parts.outcome import Outcome
from partstream.resolution.observers import (
    PartObserver,
    PartRun,
    add_observer,
    remove_observer,
)

#: The narrowest column for the bars.
_NARROWEST = 10
#: Characters of a line beside the bar and the part's name.
_BESIDE = 48
#: What bars are made of.
_BLOCK = "█"


@dataclass
class Row:
    """One line of the table.

    Attributes:
        outcome: The outcome; None: the part was left to a later chunk.
        chunk: The number of the request, from 1.
        run: The part's run, which may have begun in an earlier chunk; None: there is none.
    """

    name: str
    outcome: Outcome | None
    chunk: int
    run: PartRun | None


class Recording(PartObserver):
    """Notes the runs and outcomes of this walk.

    Args:
        show: Called with the names of the running parts, whenever they change.
    """

    counts_queries = True

    def __init__(self, show: Any) -> None:
        self.rows: list[Row] = []
        self.chunk = 0
        self._show = show
        self._lock = threading.Lock()
        self._running: dict[str, PartRun] = {}
        self._runs: dict[str, PartRun] = {}

    @contextmanager
    def running(self, run: PartRun) -> Iterator[None]:
        """See `PartObserver.running`."""
        with self._lock:
            self._running[run.name] = self._runs[run.name] = run
            self._show(list(self._running))
        yield

    def ended(self, run: PartRun, outcome: Outcome | None) -> None:
        """See `PartObserver.ended`."""
        with self._lock:
            self._running.pop(run.name, None)
            self._show(list(self._running))

    def close(self) -> None:
        """Show nothing any more: loaders may go on after the walk."""
        with self._lock:
            self._show([])
            self._show = _ignore

    def resolved(
        self, view: Any, request: Any, outcomes: Sequence[Outcome], pending: Sequence[str]
    ) -> None:
        """See `PartObserver.resolved`."""
        for outcome in outcomes:
            # A part from the cache may have run in an earlier chunk.
            run = None if outcome.source == "cache" else self._runs.get(outcome.name)
            self.rows.append(Row(outcome.name, outcome, self.chunk, run))
        for name in pending:
            self.rows.append(Row(name, None, self.chunk, self._runs.get(name)))


def _ignore(names: Sequence[str]) -> None:
    """Show nothing."""


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

    def handle(self, *args: Any, **options: Any) -> None:
        """Walk, then draw."""
        client, path, extra = self._prepare(options["url"], options["user"])
        recording = Recording(self._show_running)
        add_observer(recording)
        started = perf_counter()
        try:
            sizes = self._walk(client, path, extra, recording)
        finally:
            remove_observer(recording)
            recording.close()
        seconds = perf_counter() - started
        for line in draw(recording.rows, started, seconds, shutil.get_terminal_size().columns):
            self._print(line)
        runs = {id(row.run): row.run for row in recording.rows if row.run is not None}
        queries = sum(len(run.queries or ()) for run in runs.values())
        self.stdout.write(
            f"{len(sizes)} requests, {seconds * 1000:,.0f} ms, {queries:,} queries of parts, "
            f"{sum(sizes):,} bytes of responses"
        )

    def _prepare(self, url: str, user: str | None) -> tuple[Client, str, dict[str, Any]]:
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
        path += f"?{parts.query}" if parts.query else ""
        # Views that have no renderer for the first choose one of theirs.
        accept = "application/json, */*;q=0.1"
        return client, path, {"HTTP_HOST": host, "HTTP_ACCEPT": accept, "secure": secure}

    def _find_user(self, name: str) -> Any:
        model = get_user_model()
        try:
            return model._default_manager.get(**{model.USERNAME_FIELD: name})
        except (model.DoesNotExist, ValueError, DataError):
            raise CommandError(f"There is no user {name!r}.") from None

    def _walk(
        self, client: Client, path: str, extra: dict[str, Any], recording: Recording
    ) -> list[int]:
        """Request each chunk; returns the sizes of the responses in bytes."""
        sizes: list[int] = []
        base, _, query = path.partition("?")
        token: str | None = ""
        while token is not None:
            recording.chunk += 1
            response = client.get(base, QUERY_STRING=query, **extra)
            if response.status_code == 429:
                wait = _seconds(response.headers.get("Retry-After", ""))
                self.stderr.write(f"Over the rate limit: the walk goes on in {wait} s.")
                time.sleep(wait)
                continue
            if response.status_code != 200:
                told = _explanation(response)
                raise CommandError(f"{base} answers {response.status_code}. {told}".rstrip())
            sizes.append(len(response.content))
            # As it was before the view's renderer wrote it in a format of its own.
            envelope = getattr(response, "data", None)
            if not isinstance(envelope, dict) or "results" not in envelope:
                raise CommandError(f"{base} answers, but it is not a view that delivers parts.")
            if not recording.rows:
                raise CommandError(f"{base} has no parts for this user.")
            token = envelope.get("cursor")
            query = _next_query(response, path.partition("?")[2], token)
        return sizes

    def _print(self, line: str) -> None:
        try:
            self.stdout.write(line)
        except UnicodeEncodeError:  # The encoding of the terminal or file has no blocks.
            self.stdout.write(line.replace(_BLOCK, "#"))

    def _show_running(self, names: Sequence[str]) -> None:
        """Show which parts run, on a terminal."""
        if self.stderr.isatty():
            text = f"running: {', '.join(names)}" if names else ""
            width = shutil.get_terminal_size().columns - 1
            self.stderr.write(f"\r{text[:width]:{width}}\r", ending="")
            self.stderr.flush()


def _seconds(retry_after: str) -> int:
    """The seconds of a ``Retry-After``; other code may have written a date."""
    return int(retry_after) if retry_after.isdecimal() else 1


def _explanation(response: Any) -> str:
    """What a response that is no success says of itself."""
    if response.headers.get("Content-Type") == "application/json":
        return str(response.content.decode(errors="replace"))[:500]
    location = response.headers.get("Location")
    return "" if location is None else f"It redirects to {location}"


def _next_query(response: Any, query: str, token: str | None) -> str:
    link = response.headers.get("Link", "")
    if link.startswith("<?"):
        return str(link[2:].partition(">")[0])
    return f"{query}&cursor={token}" if query else f"cursor={token}"


def draw(rows: Sequence[Row], started: float, seconds: float, columns: int) -> Iterator[str]:
    """The lines of the waterfall.

    Args:
        rows: The parts, in the order of their outcomes.
        started: When the walk began, on the clock of ``time.perf_counter()``.
        seconds: How long it took.
        columns: The width of the terminal in characters.
    """
    longest = max([len("part"), *(len(row.name) for row in rows)])
    width = max(_NARROWEST, min(60, columns - longest - _BESIDE))
    yield (
        f"{'chunk':>5}  {'part':{longest}}  {'':{width}}  {'ms':>9}  {'queries':>7}  "
        f"{'bytes':>9}  source"
    )
    for row in rows:
        run, outcome = row.run, row.outcome
        bar = "" if run is None else _bar(run, started, seconds, width)
        queries = "" if run is None or run.queries is None else str(len(run.queries))
        if outcome is None:
            figures, source = f"{'':>9}  {queries:>7}  {'':>9}", "pending"
        else:
            failed = outcome.failure
            source = outcome.source if failed is None else f"error: {failed.code}"
            size = "" if outcome.fragment is None else f"{len(outcome.fragment):,}"
            figures = f"{outcome.duration * 1000:>9,.1f}  {queries:>7}  {size:>9}"
        yield f"{row.chunk:>5}  {row.name:{longest}}  {bar:{width}}  {figures}  {source}"


def _bar(run: PartRun, started: float, seconds: float, width: int) -> str:
    end = run.ended if run.ended is not None else started + seconds
    first = min(width - 1, max(0, int((run.started - started) / seconds * width)))
    last = min(width, max(first + 1, round((end - started) / seconds * width)))
    return " " * first + _BLOCK * (last - first)
