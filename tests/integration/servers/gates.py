"""Where loaders of a server wait until a test lets them go, or until their process ends.

They meet over a Unix socket, whose path is `SERVERS_GATE` in the server's environment.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import contextmanager

from tests.support.concurrency import PATIENCE

VARIABLE = "SERVERS_GATE"


def wait_at_gate(name):
    """Wait in this thread, for as long as it takes."""
    with socket.socket(socket.AF_UNIX) as visit:
        visit.connect(os.environ[VARIABLE])
        visit.sendall(f"{name}\n".encode())
        if visit.recv(1) != b"1":
            raise AssertionError("nobody let it go")


class Visit:
    """A loader that waits.

    Attributes:
        name: What it calls itself.
    """

    def __init__(self, connection):
        self._connection = connection
        with connection.makefile(encoding="utf-8") as file:
            self.name = file.readline().rstrip("\n")

    def release(self):
        """Let it go."""
        self._connection.sendall(b"1")

    def wait_until_gone(self):
        """Return when its process has ended."""
        assert self._connection.recv(1) == b""

    def close(self):
        self._connection.close()


class Gate:
    """The test's end.

    Attributes:
        environment: What a server needs to find it.
        names: The visitors so far.
    """

    def __init__(self, path):
        self.environment = {VARIABLE: path}
        self.names = []
        self._visits = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._listener.settimeout(PATIENCE)

    def next(self):
        """The next loader that comes."""
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE)
        visit = Visit(connection)
        self._visits.append(visit)
        self.names.append(visit.name)
        return visit

    def is_empty(self):
        """Whether nobody else has come."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(PATIENCE)
        return False

    def close(self):
        self._listener.close()
        for visit in self._visits:
            visit.close()


@contextmanager
def gate():
    """A gate that is open for a test."""
    # Not pytest's directories: the path of a Unix socket has 107 characters at the most.
    with tempfile.TemporaryDirectory(prefix="gate-") as directory:
        opened = Gate(f"{directory}/socket")
        try:
            yield opened
        finally:
            opened.close()
