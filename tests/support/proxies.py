"""A proxy before a server that cuts or delays what the server answers."""

from __future__ import annotations

import os
import selectors
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


class Proxy:
    """Passes on what goes through a Unix socket, in one thread.

    Attributes:
        url: Where it listens, as a Redis URL.
        cut_after: Bytes of an answer that come through, and then the connection is closed;
            None: all.
        delay: Seconds by which an answer comes late.
    """

    def __init__(self, path: str, upstream: str) -> None:
        self.url = f"unix://{path}?db=0"
        self.cut_after: int | None = None
        self.delay = 0.0
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(128)
        self._woken, self._waker = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        #: The other end of each socket.
        self._peers: dict[socket.socket, socket.socket] = {}
        self._servers: set[socket.socket] = set()
        #: Answers that wait: when they are due, and of which socket.
        self._late: list[tuple[float, socket.socket, bytes]] = []
        self._thread = Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Close all connections, and return when the thread has ended."""
        os.write(self._waker, b"x")
        self._thread.join(30)
        for open_socket in [self._listener, *self._peers]:
            open_socket.close()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def _run(self) -> None:
        while True:
            wait = max(0, self._late[0][0] - time.monotonic()) if self._late else None
            for key, _ in self._selector.select(wait):
                if key.fileobj == self._woken:
                    return
                if key.fileobj is self._listener:
                    self._take_connection()
                elif key.fileobj in self._peers:
                    self._pass_on(key.fileobj)
            while self._late and self._late[0][0] <= time.monotonic():
                _, server, data = self._late.pop(0)
                self._send(server, data)

    def _take_connection(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._upstream)
        except OSError:
            client.close()
            server.close()
            return
        for one, other in ((client, server), (server, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._servers.add(server)

    def _pass_on(self, source: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = source.recv(65536)
        if not data:
            self._close(source)
        elif source in self._servers and self.cut_after is not None:
            self._send(source, data[: self.cut_after])
            self._close(source)
        elif source in self._servers and self.delay:
            self._late.append((time.monotonic() + self.delay, source, data))
        else:
            self._send(source, data)

    def _send(self, source: socket.socket, data: bytes) -> None:
        if source in self._peers:
            try:
                self._peers[source].sendall(data)
            except OSError:  # Nobody waits any longer.
                self._close(source)

    def _close(self, one: socket.socket) -> None:
        if one not in self._peers:
            return
        for end in (one, self._peers[one]):
            self._selector.unregister(end)
            del self._peers[end]
            self._servers.discard(end)
            end.close()


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the Unix socket of a server."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as directory:
        own = Proxy(f"{directory}/proxy.sock", upstream)
        try:
            yield own
        finally:
            own.end()
