"""A client that reads records as they come, and walks.

All times are seconds from the moment at which the request was sent, over a connection that was
open already.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Coroutine
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from .http import Connection, Response, WrongAnswer

JSON, NDJSON = "application/json", "application/x-ndjson"
#: Seconds that one delivery may take.
TIMEOUT = 300
#: The most chunks of a walk that is read.
MOST_CHUNKS = 100
_CURSOR = re.compile(rb'"cursor":(?:"([^"]+)"|null),"meta":\{')
#: Bytes of a record's end in which its cursor is.
_TAIL = 16_384
T = TypeVar("T")


@dataclass
class Record:
    """A record of a stream, or the answer of a walk.

    Attributes:
        at: Seconds until all of it was there.
        body: Its bytes.
    """

    at: float
    body: bytes

    @property
    def envelope(self) -> dict[str, Any]:
        """The record, parsed."""
        envelope: dict[str, Any] = json.loads(self.body)
        return envelope

    @property
    def cursor(self) -> str | None:
        """The token that resumes after it; found without parsing the record, which takes time."""
        found = _CURSOR.findall(self.body[-_TAIL:])
        if not found:
            raise WrongAnswer(f"This is no envelope: {self.body[-300:]!r}")
        return found[-1].decode() or None


@dataclass
class Delivery:
    """What a client got.

    Attributes:
        first_byte: Seconds until the first byte of the first body.
        records: All records.
        arrivals: Name of a part -> seconds until it was there.
    """

    first_byte: float
    records: list[Record]
    arrivals: dict[str, float] = field(default_factory=dict)

    @property
    def opening(self) -> float:
        """Seconds until the first record was there."""
        return self.records[0].at

    @property
    def first(self) -> float:
        """Seconds until the first part was there."""
        return min(self.arrivals.values())

    @property
    def mean(self) -> float:
        """Seconds until a part was there, on average over the parts."""
        return sum(self.arrivals.values()) / len(self.arrivals)

    @property
    def total(self) -> float:
        """Seconds until all was there."""
        return self.records[-1].at

    def check(self, names: Collection[str]) -> Delivery:
        """The same, with the time at which each part came; parsing takes time of its own.

        Raises:
            WrongAnswer: When not these parts have come, each once, with an end after them.
        """
        for record in self.records:
            envelope = record.envelope
            if envelope.get("errors") or envelope.get("stream_error"):
                raise WrongAnswer(f"A part failed: {record.body[-500:]!r}")
            for name in (name for result in envelope["results"] for name in result):
                if name in self.arrivals:
                    raise WrongAnswer(f"The part {name} came twice.")
                self.arrivals[name] = record.at
        if set(self.arrivals) != set(names):
            raise WrongAnswer(f"Expected {sorted(names)}, got {sorted(self.arrivals)}.")
        if self.records[-1].cursor is not None:
            raise WrongAnswer("The delivery ended before its end.")
        return self


def run(work: Coroutine[Any, Any, T], *, timeout: float = TIMEOUT) -> T:
    """Run a client to its end, or fail after some seconds."""

    async def limited() -> T:
        return await asyncio.wait_for(work, timeout)

    return asyncio.run(limited())


async def records(response: Response) -> AsyncIterator[Record]:
    """The records of a stream, as they come; heartbeats are left out.

    Raises:
        WrongAnswer: When it is no stream of NDJSON.
    """
    if not response.headers.get("content-type", "").startswith(NDJSON):
        raise WrongAnswer(f"This is no stream: {response.headers.get('content-type')}")
    held: list[bytes] = []
    async for piece in response.pieces():
        *lines, rest = piece.split(b"\n")
        for line in lines:
            body = b"".join([*held, line]).strip()
            held.clear()
            if body:
                yield Record(perf_counter() - response.started, body)
        held.append(rest)


async def stream(port: int, path: str) -> Delivery:
    """A stream, from its beginning to its end, to be checked."""
    async with Connection(port) as connection:
        response = await connection.ask(path, accept=NDJSON)
        found = [record async for record in records(response)]
    return Delivery(response.first_byte, found)


async def walk(port: int, path: str) -> Delivery:
    """A walk to its end over one connection, to be checked."""
    found: list[Record] = []
    token: str | None = ""
    async with Connection(port) as connection:
        started = perf_counter()
        while token is not None and len(found) < MOST_CHUNKS:
            response = await connection.ask(f"{path}?cursor={token}" if token else path)
            body = b"".join([piece async for piece in response.pieces()])
            found.append(Record(perf_counter() - started, body))
            token = found[-1].cursor
    return Delivery(found[0].at, found)


async def first_line(port: int, path: str) -> float:
    """Seconds until the first line of a stream was there that is no stream of parts."""
    found = 0.0
    async with Connection(port) as connection:
        response = await connection.ask(path)
        async for piece in response.pieces():
            if not found and b"\n" in piece:
                found = perf_counter() - response.started
    return found


async def drain(
    port: int, path: str, *, accept: str, pace: float | None = None, piece: int = 1 << 18
) -> int:
    """Read an answer, keep nothing of it, and return its size in bytes.

    Args:
        port: The server's.
        path: The view's.
        accept: The media type to ask for.
        pace: Bytes a second that are read at most; None: as fast as they come.
        piece: Bytes that the system and the reader take ahead, if there is a pace.
    """
    size = 0
    async with Connection(port, buffer=piece if pace else None) as connection:
        response = await connection.ask(path, accept=accept)
        started = perf_counter()
        async for data in response.pieces():
            size += len(data)
            if pace:
                await asyncio.sleep(max(0.0, started + size / pace - perf_counter()))
    return size


async def command(port: int, path: str) -> str:
    """The body of an answer, as text."""
    async with Connection(port) as connection:
        response = await connection.ask(path)
        return b"".join([piece async for piece in response.pieces()]).decode()
