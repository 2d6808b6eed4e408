"""Idle streams in one process: the memory of each."""

from __future__ import annotations

import asyncio
import time

from headline_measures.texts import Table, size

from . import client
from .client import NDJSON, Record
from .http import Connection, WrongAnswer
from .servers import UVICORN, Server, missing, serve
from .sizes import Sizes

#: Name of the parts -> the view's path.
WAYS = {
    "plain loaders, in threads": "/waiting/",
    "coroutines": "/waiting/coroutines/",
}
#: Seconds in which a server becomes calm after the streams have opened.
CALM = 1.0


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Open more and more streams whose parts wait."""
    if absent := missing(UVICORN):
        return [], [f"Idle streams: left out, since {', '.join(absent)} is not installed."]
    rows = []
    for way, path in WAYS.items():
        with serve(UVICORN) as server:
            server.ask("/waiting/release/")
            for _ in range(3):  # Loads what a stream needs, and starts its threads.
                client.run(client.stream(server.port, path)).check(("about", "one", "two"))
            server.ask("/waiting/hold/")
            time.sleep(CALM)
            rows += client.run(_open(server, way, path, sizes))
    head = (
        "parts that wait",
        "idle streams",
        "target",
        "memory each",
        "each of those added",
        "threads more",
    )
    return [Table("Idle streams under uvicorn", head, rows)], []


async def _open(server: Server, way: str, path: str, sizes: Sizes) -> list[tuple[str, ...]]:
    idle, threads = server.memory(), server.status("Threads")
    connections: list[Connection] = []
    rows, before, number = [], idle, 0
    try:
        for count in sizes.idle:
            while len(connections) < count:
                connections.append((await opened(server.port, path))[0])
            await asyncio.sleep(CALM)
            memory = server.memory()
            rows.append(
                (
                    way,
                    str(count),
                    "<= 100 kB",
                    size((memory - idle) / count),
                    size((memory - before) / (count - number)),
                    str(server.status("Threads") - threads),
                )
            )
            before, number = memory, count
        await client.command(server.port, "/waiting/release/")
    finally:
        for connection in connections:
            connection.cut()
    return rows


async def opened(port: int, path: str) -> tuple[Connection, Record]:
    """A stream of which only the opening record was read: its connection, and that record."""
    connection = await Connection(port).open()
    response = await connection.ask(path, accept=NDJSON)
    async for record in client.records(response):
        return connection, record
    raise WrongAnswer("The stream has no opening record.")
