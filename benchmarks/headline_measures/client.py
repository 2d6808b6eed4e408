"""A client that asks for a dashboard, and walks it to its end."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

#: Bytes of a large body's end, which is all that is kept of it.
TAIL = 16_384
_CURSOR = re.compile(rb'"cursor":(?:"([^"]+)"|null),"meta":\{"total_parts":')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_QUERIES = re.compile(rb"\r\nx-queries: *(\d+)", re.IGNORECASE)


@dataclass
class Answer:
    """One response: the end of its body, and what it took.

    Attributes:
        end: The body, or the end of a large one.
        sent: Bytes of the request.
        received: Bytes of the response.
        queries: The queries of the server, if it counts them.
    """

    end: bytes
    sent: int
    received: int
    queries: int

    @property
    def cursor(self) -> str | None:
        """The token of the next chunk; None at the end."""
        found = _CURSOR.findall(self.end)
        if not found:
            raise RuntimeError(f"This is no chunk of a walk: {self.end[-300:]!r}")
        return found[-1].decode() or None


class Connection:
    """A connection that is kept between requests, unless the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, *, version: str = "1.1") -> Answer:
        """Send a request, and read all of its response.

        Raises:
            RuntimeError: When its status is not 200.
        """
        request = (
            f"GET {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n"
        ).encode()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        left = int(length[1]) if length else None
        end, size = b"", 0
        while left is None or size < left:
            piece = await reader.read(1 << 20)
            if not piece:
                break
            size += len(piece)
            end = (end + piece)[-TAIL:]
        if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")) or (left or size) != size:
            raise RuntimeError(f"{path}: {head!r} {end[-300:]!r}")
        queries = _QUERIES.search(head)
        if left is None or _CLOSE.search(head):
            self.close()
        return Answer(end, len(request), len(head) + size, int(queries[1]) if queries else 0)

    def close(self) -> None:
        """Close it; the next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Visit:
    """A dashboard as one visitor got it.

    Attributes:
        chunks: Seconds from the first request to the end of each response.
        parts: Name of a part -> seconds until it was there; empty for large parts.
        sent: Bytes of all requests.
        received: Bytes of all responses.
        queries: Queries of each response, if the server counts them.
    """

    chunks: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    sent: int = 0
    received: int = 0
    queries: list[int] = field(default_factory=list)

    @property
    def first(self) -> float:
        """Seconds until the first response was there."""
        return self.chunks[0]

    @property
    def total(self) -> float:
        """Seconds until all was there."""
        return self.chunks[-1]

    def note(self, answer: Answer, seconds: float) -> None:
        """Add a response."""
        self.chunks.append(seconds)
        self.sent += answer.sent
        self.received += answer.received
        self.queries.append(answer.queries)


def visit(
    port: int, path: str, *, walk: bool = True, most: int | None = None, version: str = "1.1"
) -> Visit:
    """Visit a dashboard once, with a connection of its own.

    Args:
        port: The server's.
        path: The dashboard's, with its query if it has one.
        walk: Whether it is delivered as a walk; else its one response is read.
        most: The most responses that are read; None: all.
        version: HTTP's; under 1.0 a stream ends with its connection.
    """
    return asyncio.run(_visit(port, path, walk, most, version))


async def _visit(port: int, path: str, walk: bool, most: int | None, version: str) -> Visit:
    found, connection, token = Visit(), Connection(port), ""
    started = perf_counter()
    while token is not None and (most is None or len(found.chunks) < most):
        answer = await connection.get(following(path, token) if token else path, version=version)
        found.note(answer, perf_counter() - started)
        token = answer.cursor if walk else None
        for name in _names(answer, walk):
            found.parts[name] = found.total
    connection.close()
    return found


def following(path: str, token: str) -> str:
    """The path of the next chunk."""
    return f"{path}{'&' if '?' in path else '?'}cursor={token}"


def _names(answer: Answer, walk: bool) -> list[str]:
    if walk and b',"errors":[' in answer.end:
        raise RuntimeError(f"A part failed: {answer.end!r}")
    if answer.received > TAIL:
        return []
    body: Any = json.loads(answer.end)
    return [name for result in body["results"] for name in result] if walk else list(body)
