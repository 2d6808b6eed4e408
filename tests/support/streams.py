"""What the tests share of reading streams."""

from __future__ import annotations

import json
from contextlib import contextmanager
from unittest.mock import patch

from django.core.signals import request_finished

NDJSON = {"HTTP_ACCEPT": "application/x-ndjson"}
SSE = {"HTTP_ACCEPT": "text/event-stream"}


def get_stream(client, url, **extra):
    """A stream's response, which has to be one; it is not read yet."""
    response = client.get(url, **{**NDJSON, **extra})
    assert response.status_code == 200, response.content
    assert response.streaming
    return response


def records(response):
    """The records of a response, as they come."""
    return map(json.loads, filter(str.strip, lines(response)))


def lines(response):
    """The lines of a response, as they come."""
    known = b""
    for piece in response.streaming_content:
        known += piece
        *whole, known = known.split(b"\n")
        yield from (line.decode() for line in whole)
    if known:
        yield known.decode()


def events(response):
    """The events of a response, as they come: each a dictionary of its fields."""
    fields = {}
    for line in lines(response):
        if not line and fields:
            yield fields
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value


def stream(client, url, **extra):
    """All records of a stream."""
    return list(records(get_stream(client, url, **extra)))


def until_second_request(held):
    """A mixin of views: it lets a loader go when the second request is there.

    With a short ``STREAM_MAX_SECONDS`` the first stream ends early, and the second has the part.
    """

    class UntilSecondRequest:
        requests = 0

        def initial(self, request, *args, **kwargs):
            UntilSecondRequest.requests += 1
            if UntilSecondRequest.requests > 1:
                held.release()
            super().initial(request, *args, **kwargs)

    return UntilSecondRequest


class Reader:
    """Reads a stream of newline-delimited JSON record by record."""

    def __init__(self, response):
        self._pieces = iter(response.streaming_content)
        self._known = b""

    def __iter__(self):
        return self

    def __next__(self):
        while b"\n" not in self._known:
            self._known += next(self._pieces)
        line, _, self._known = self._known.partition(b"\n")
        return json.loads(line)

    def go_on(self):
        """Let the stream go on until it waits: a heartbeat comes. It is set to a short time."""
        assert not self._known.strip()
        assert next(self._pieces) == b" "


@contextmanager
def opened(client, url, **extra):
    """The reader of a stream, for a client that may leave before the end."""
    response = get_stream(client, url, **extra)
    try:
        yield Reader(response)
    finally:
        leave(response)


def leave(response):
    """Close a response as a server does when the client has left."""
    # Django's test client would close connections then, which the test may not have.
    with patch.object(request_finished, "send"):
        response.close()
