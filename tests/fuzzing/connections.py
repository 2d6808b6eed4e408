"""A client of HTTP/1.1 that sends what it is given, well formed or not."""

from __future__ import annotations

import select
import socket
from typing import NamedTuple

#: Seconds to wait for an answer.
PATIENCE = 60


class Answer(NamedTuple):
    """What a server said. The names of the headers are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    #: All of it, as it was read.
    raw: bytes


class Connection:
    """Keeps alive, and connects again where the server has closed.

    Args:
        address: Host and port.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._read = b""

    def send(self, data: bytes) -> None:
        """Send a whole request."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._read = b""
        self._socket.sendall(data)

    def receive(self, bodiless: bool = False) -> Answer:
        """The answer to what was sent.

        Args:
            bodiless: Whether it has no body whatever its headers say, as that of HEAD.

        Raises:
            OSError: When there is no whole answer.
        """
        try:
            head = self._until(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            status = int(first.split(b" ", 2)[1])
            headers: dict[bytes, bytes] = {}
            for line in lines:
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            raw, body = head, b""
            if bodiless or status in (204, 304):
                pass
            elif b"content-length" in headers:
                body = self._exactly(int(headers[b"content-length"]))
            elif headers.get(b"transfer-encoding") == b"chunked":
                while size := int(self._until(b"\r\n"), 16):
                    body += self._exactly(size)
                    self._exactly(2)
                self._exactly(2)
            else:
                raise ConnectionError(f"An answer of no known length: {head!r}")
        except OSError:
            self.close()
            raise
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return Answer(status, headers, body, raw + body)

    def answers_within(self, seconds: float) -> bool:
        """Whether there is something to read, or will be so soon."""
        return self._socket is not None and bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        """Close it; what is sent after that goes by a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _until(self, end: bytes) -> bytes:
        while (place := self._read.find(end)) < 0:
            self._more()
        place += len(end)
        found, self._read = self._read[:place], self._read[place:]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        found, self._read = self._read[:size], self._read[size:]
        return found

    def _more(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("The server closed the connection without an answer.")
        self._read += data
