"""A client of a stream that sees each record when it comes."""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from contextlib import contextmanager

from tests.support.concurrency import PATIENCE

MEDIA_TYPES = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}


class StreamClient:
    """Reads the records of a stream, and ignores its heartbeats as any reader of the format does.

    Attributes:
        response: The response; a stream's body is unread.
        heartbeats: How many have come.
        last_id: The ``id`` of the last event, if the stream is one of server-sent events.
        was_cut: Whether the stream broke off.
    """

    def __init__(self, connection, path, kind, headers=None, method="GET"):
        self._connection = connection
        self._kind = kind
        self._rest = b""
        self._records = deque()
        self._has_ended = False
        self.heartbeats = 0
        self.last_id = None
        self.was_cut = False
        connection.request(
            method,
            path,
            headers={
                "Accept": MEDIA_TYPES[kind],
                "Accept-Encoding": "gzip, deflate",
                **(headers or {}),
            },
        )
        self.response = connection.getresponse()

    @property
    def status(self):
        return self.response.status

    def header(self, name):
        return self.response.headers[name]

    def json(self):
        """The body of a response that is no stream."""
        return json.loads(self.response.read())

    def next(self):
        """The next record, as soon as it is there; None at the end."""
        deadline = time.monotonic() + PATIENCE
        while not self._records and not self._has_ended:
            assert time.monotonic() < deadline, "nothing but heartbeats comes"
            self._read()
        return self._records.popleft() if self._records else None

    def rest(self):
        """All records to the end."""
        return list(iter(self.next, None))

    def wait_for_heartbeats(self, number):
        """Return when so many more have come; no record may come meanwhile."""
        wanted = self.heartbeats + number
        while self.heartbeats < wanted:
            assert not self._has_ended
            self._read()
            assert not self._records

    def _read(self):
        try:
            data = self.response.read1(65536)
        except (http.client.IncompleteRead, ConnectionError):
            data, self.was_cut = b"", True
        self._has_ended = not data
        self._rest += data
        {"ndjson": self._parse_lines, "sse": self._parse_events}[self._kind]()

    def _parse_lines(self):
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            if line.strip():
                self._records.append(json.loads(line))
            self._count(line)
        self._count(self._rest)
        self._rest = self._rest.lstrip(b" ")

    def _count(self, line):
        self.heartbeats += len(line) - len(line.lstrip(b" "))

    def _parse_events(self):
        *events, self._rest = self._rest.split(b"\n\n")
        for event in events:
            data = []
            for line in event.decode().split("\n"):
                name, _, text = line.partition(":")
                text = text.removeprefix(" ")
                if not name:
                    self.heartbeats += 1
                elif name == "data":
                    data.append(text)
                elif name == "id":
                    self.last_id = text
            if data:
                self._records.append(json.loads("\n".join(data)))

    def leave(self):
        """Close the connection, whatever may still come."""
        self.response.close()
        self._connection.close()


@contextmanager
def streaming(server, path, kind="ndjson", headers=None, method="GET"):
    """A client of one stream; it leaves in the end."""
    client = StreamClient(server.connect(), path, kind, headers, method)
    try:
        yield client
    finally:
        client.leave()


def delivered(*records):
    """The names of the parts of some records, in order of their arrival."""
    return [name for record in records for part in record["results"] for name in part]
