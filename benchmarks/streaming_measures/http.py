"""As much of HTTP/1.1 as the benchmark's client needs: an answer is read piece by piece."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from time import perf_counter
from types import TracebackType

#: Bytes that are read at once.
PIECE = 1 << 18


class WrongAnswer(Exception):
    """An answer that is not what the benchmark asked for."""


class Connection:
    """A connection to a server on loopback, for requests one after the other.

    Args:
        port: The server's.
        buffer: Bytes that the system receives ahead of the reader; None: what it likes.
    """

    def __init__(self, port: int, *, buffer: int | None = None) -> None:
        self._port = port
        self._buffer = buffer

    async def __aenter__(self) -> Connection:
        return await self.open()

    async def open(self) -> Connection:
        """The same connection, open; without a context, it is closed by `cut`."""
        own = socket.socket()
        if self._buffer is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self._port))
        self._reader, self._writer = await asyncio.open_connection(
            sock=own, limit=self._buffer or PIECE
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Close it, whatever is under way."""
        self._writer.transport.abort()

    async def ask(self, path: str, *, accept: str = "application/json") -> Response:
        """Send a request, and read the head of its answer.

        The host is the same for all servers, since a cursor is bound to it.

        Raises:
            WrongAnswer: When the status is not 200.
        """
        started = perf_counter()
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        response = Response(self._reader, headers, started)
        if first.split()[1] != "200":
            body = b"".join([piece async for piece in response.pieces()])
            raise WrongAnswer(f"{path}: {first} {body[:500]!r}")
        return response


class Response:
    """An answer whose body is still to be read.

    Attributes:
        headers: Its headers, with names in lower case.
        started: When its request was sent.
        first_byte: Seconds from then to the first byte of its body, once that is there.
    """

    def __init__(
        self, reader: asyncio.StreamReader, headers: dict[str, str], started: float
    ) -> None:
        self._reader = reader
        self.headers = headers
        self.started = started
        self.first_byte = 0.0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        else:
            length = self.headers.get("content-length")
            body = self._plain(None if length is None else int(length))
        async for piece in body:
            if not self.first_byte:
                self.first_byte = perf_counter() - self.started
            yield piece

    async def _plain(self, left: int | None) -> AsyncIterator[bytes]:
        while left is None or left > 0:
            piece = await self._reader.read(PIECE if left is None else min(PIECE, left))
            if not piece:
                if left:
                    raise WrongAnswer(f"The answer was cut {left} bytes before its end.")
                return
            left = None if left is None else left - len(piece)
            yield piece

    async def _chunked(self) -> AsyncIterator[bytes]:
        while size := int((await self._line()).split(b";")[0], 16):
            async for piece in self._plain(size):
                yield piece
            await self._line()
        while await self._line():
            pass  # Trailers.

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise WrongAnswer("The answer was cut.")
        return line.strip()
