"""A walk or a stream of a view of this project, requested in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from django.core.management.base import CommandError
from django.test.client import Client

from partstream.testing.queries import next_query
from partstream.testing.records import new_parser
from partstream.wire.stream_parsing import NDJSON, NDJSONParser

from .waterfall import Recording, StreamRecording

#: Views that have no renderer for the first choose one of theirs.
_ACCEPTED = "application/json, */*;q=0.1"
#: Characters of a response that an error shows.
_SHOWN_AT_MOST = 500


@dataclass
class Visit:
    """A client that requests a view to its end.

    Args:
        client: The client.
        path: The path of the view.
        query: The query of the application.
        extra: Passed to each request.
        tell: Called with a text for people.

    Attributes:
        requests: The number of successful requests.
        size: Bytes of their bodies.
        first: When the first record was there, on the clock of ``time.perf_counter()``.
    """

    client: Client
    path: str
    query: str
    extra: dict[str, Any]
    tell: Callable[[str], object]
    requests: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    first: float | None = field(default=None, init=False)

    def walk(self, recording: Recording) -> None:
        """Request each chunk."""
        query = self.query
        token: str | None = ""
        while token is not None:
            recording.number = self.requests + 1
            response = self._get(query, _ACCEPTED)
            if response.streaming:
                raise CommandError(f"{self.path} answers with a stream. Write --stream.")
            self.size += len(response.content)
            # As it was before the view's renderer wrote it in a format of its own.
            envelope = getattr(response, "data", None)
            if not isinstance(envelope, dict) or "results" not in envelope:
                raise CommandError(
                    f"{self.path} answers, but it is not a view that delivers parts."
                )
            token = envelope.get("cursor")
            self._demand_rows(recording)
            link = response.headers.get("Link", "")
            if link.startswith("<?"):
                query = link[2:].partition(">")[0]
            elif token is not None:
                query = next_query(response, self.query, token)

    def stream(self, recording: StreamRecording) -> None:
        """Read the stream, and resume it if it ends early."""
        query = self.query
        token: str | None = ""
        while token is not None:
            response = self._get(query, NDJSON)
            token = self._read(response, recording)
            if token is not None:
                query = next_query(response, self.query, token)
        self._demand_rows(recording)

    def _read(self, response: Any, recording: StreamRecording) -> str | None:
        """Read one stream to its end; returns the cursor of its last record."""
        parser, record = new_parser(response), None
        if not isinstance(parser, NDJSONParser):
            raise CommandError(f"{self.path} answers, but it does not stream.")
        try:
            for data in response.streaming_content:
                self.size += len(data)
                for record in self._records(parser, data):
                    self.first = self.first or perf_counter()
                    for name in recording.take(record):
                        raise CommandError(f"{self.path} streams the part {name!r} twice.")
        finally:
            if not response.closed:
                response.close()
        if record is None:
            raise CommandError(f"{self.path} streams no record.")
        if "stream_error" in record:
            told = record["stream_error"]
            raise CommandError(
                f"The stream of {self.path} broke: {told}. The log has the exception."
            )
        cursor: str | None = record["cursor"]
        return cursor

    def _records(self, parser: NDJSONParser, data: bytes) -> list[dict[str, Any]]:
        try:
            return parser.feed(data)
        except ValueError as error:
            raise CommandError(f"{self.path} does not stream records. {error}") from error

    def _get(self, query: str, accept: str) -> Any:
        """A successful response; waits as long as the rate limit refuses the request."""
        while True:
            response = self.client.get(
                self.path, QUERY_STRING=query, HTTP_ACCEPT=accept, **self.extra
            )
            if response.status_code == 429:
                wait = _seconds(response.headers.get("Retry-After", ""))
                self.tell(f"Over the rate limit: the walk goes on in {wait} s.")
                time.sleep(wait)
                continue
            if response.status_code != 200:
                told = _explanation(response)
                raise CommandError(f"{self.path} answers {response.status_code}. {told}".rstrip())
            self.requests += 1
            return response

    def _demand_rows(self, recording: Recording) -> None:
        if not recording.rows:
            raise CommandError(f"{self.path} has no parts for this user.")


def _seconds(retry_after: str) -> int:
    """The seconds of a ``Retry-After``; other code may have written a date."""
    return int(retry_after) if retry_after.isdecimal() else 1


def _explanation(response: Any) -> str:
    """What a response that is no success says of itself."""
    if response.headers.get("Content-Type") == "application/json":
        return str(response.content.decode(errors="replace"))[:_SHOWN_AT_MOST]
    location = response.headers.get("Location")
    return "" if location is None else f"It redirects to {location}"
