"""A proxy that puts a round trip of some time between a client and a server on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds in which the proxy must have started, and ended.
TIMEOUT = 10
#: Pieces of up to 64 KB that may be on their way, in one direction of a connection.
ON_THE_WAY = 1024


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Pass on all bytes, each that much later, at any rate."""
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY)

    async def arrive() -> None:
        with suppress(OSError):
            while True:
                due, data = await way.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    arriving = asyncio.create_task(arrive())
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            await way.put((time.monotonic() + seconds, data))
            if arriving.done():
                break
    if not arriving.done():
        await way.put((time.monotonic() + seconds, b""))
    await arriving


class _Delay(threading.Thread):
    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__(daemon=True)
        self._upstream = port
        self._seconds = round_trip / 2
        self.ready = threading.Event()
        self.port = 0

    def run(self) -> None:
        asyncio.run(self._serve())

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(TIMEOUT)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self._over.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.close()
            return
        with suppress(asyncio.CancelledError):  # The proxy ends.
            await asyncio.gather(
                _carry(reader, others[1], self._seconds), _carry(others[0], writer, self._seconds)
            )


@contextmanager
def delay(port: int, *, round_trip: float) -> Iterator[int]:
    """The port of a proxy before the server at a port; it ends with the context.

    It delays bytes, half of the round trip in each direction, and not the opening of a connection.

    Args:
        port: The server's.
        round_trip: Seconds.
    """
    own = _Delay(port, round_trip)
    own.start()
    try:
        if not own.ready.wait(TIMEOUT):
            raise RuntimeError("The proxy did not start.")
        yield own.port
    finally:
        own.end()
