"""Streams that wait for what another process makes: the processor time of their process."""

from __future__ import annotations

import asyncio
import time

from headline_measures.texts import Table

from . import client
from .http import WrongAnswer
from .idle import opened
from .servers import GUNICORN, UVICORN, Server, missing, redis, serve
from .sizes import Sizes

PATH, PARTS = "/waiting/", ("one", "two")
#: Threads of a WSGI worker: one for each stream, and some for the benchmark's own questions.
THREADS = 64
#: Seconds in which all parts have begun, in which streams have joined what has ended, and in which
#: a server becomes calm.
BEGIN, JOIN, CALM = 20, 10, 1.0


def measure(sizes: Sizes) -> tuple[list[Table], list[str]]:
    """Open streams at one process, cut them, and resume them at another."""
    rows, notes = [], []
    for name in (GUNICORN, UVICORN):
        if absent := missing(name, "redis-server", "django_redis"):
            notes.append(f"{name}, joining: left out, since {', '.join(absent)} is not installed.")
            continue
        with (
            redis() as url,
            serve(name, threads=THREADS, STREAMING_REDIS_URL=url) as first,
            serve(name, threads=THREADS, STREAMING_REDIS_URL=url) as second,
        ):
            idle, waiting, own = client.run(_join(first, second, sizes))
        rows.append(
            (
                name,
                str(sizes.joining),
                f"{100 * idle:.1f} %",
                "<= 10 %",
                f"{100 * waiting:.1f} %",
                str(own),
            )
        )
    head = (
        "server",
        "streams",
        "a core, idle",
        "target",
        "a core, while they wait",
        "loaders run a second time",
    )
    title = "Streams that join another process's work"
    return [Table(title, head, rows)] if rows else [], notes


async def _join(first: Server, second: Server, sizes: Sizes) -> tuple[float, float, int]:
    """Shares of a core that the second process uses, idle and waiting, and loaders that it ran."""
    await _warm_up(first, second)
    idle = await _share(second, sizes.watched)
    tokens = await _begin_and_cut(first, sizes.joining)
    streams = [asyncio.create_task(_resume(second, token)) for token in tokens]
    try:
        await asyncio.sleep(CALM)
        waiting = await _share(second, sizes.watched)
        if any(stream.done() for stream in streams):
            raise WrongAnswer("A stream ended before its parts were released.")
        await client.command(first.port, "/waiting/release/")
        # Those that the second process runs itself go on waiting.
        await asyncio.wait(streams, timeout=JOIN)
        await client.command(second.port, "/waiting/release/")
        await asyncio.gather(*streams)
    finally:
        for stream in streams:
            stream.cancel()
    return idle, waiting, int(await client.command(second.port, "/waiting/begun/"))


async def _warm_up(*servers: Server) -> None:
    for server in servers:
        await client.command(server.port, "/waiting/release/")
        (await client.stream(server.port, PATH)).check(("about", *PARTS))
        await client.command(server.port, "/waiting/hold/")


async def _share(server: Server, seconds: float) -> float:
    used, started = server.processor_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    return (server.processor_seconds() - used) / (time.monotonic() - started)


async def _begin_and_cut(server: Server, streams: int) -> list[str]:
    """The cursors of opening records, after which the streams were cut while their parts run."""
    connections, tokens = [], []
    try:
        for _ in range(streams):
            connection, record = await opened(server.port, PATH)
            connections.append(connection)
            if record.cursor is None:
                raise WrongAnswer("The opening record has no cursor.")
            tokens.append(record.cursor)
        await _begun(server, len(PARTS) * streams)
    finally:
        for connection in connections:
            connection.cut()
    return tokens


async def _begun(server: Server, count: int) -> None:
    deadline = time.monotonic() + BEGIN
    while int(await client.command(server.port, "/waiting/begun/")) < count:
        if time.monotonic() > deadline:
            raise WrongAnswer("Not all parts have begun at the first process.")
        await asyncio.sleep(0.05)


async def _resume(server: Server, token: str) -> None:
    (await client.stream(server.port, f"{PATH}?cursor={token}")).check(PARTS)
