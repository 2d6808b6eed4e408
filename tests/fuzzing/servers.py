"""A gunicorn that serves what is fuzzed, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .connections import Connection

START_TIMEOUT = 60
STOP_TIMEOUT = 10
THREADS = 2
APPLICATION = "django.core.wsgi:get_wsgi_application()"

# Only partstream's bounds shall hold, so gunicorn's are lifted.
OPTIONS = [
    *("--workers", "1", "--worker-class", "gthread", "--threads", str(THREADS)),
    *("--keep-alive", "60", "--timeout", "0", "--graceful-timeout", "2"),
    *("--limit-request-line", "0", "--limit-request-field_size", "65536"),
    *("--log-level", "error", "--no-control-socket"),
]


class ServerError(Exception):
    """The server could not be started, or has ended."""


class Server:
    """A running server.

    Attributes:
        address: Host and port.
        process: gunicorn's.
    """

    def __init__(self, address: tuple[str, int], process: subprocess.Popen[Any], log: Path):
        self.address = address
        self.process = process
        self._log = log

    def log(self) -> str:
        """The end of what it has logged."""
        lines = self._log.read_text(errors="replace").splitlines()
        # gunicorn tells of each HEAD that Django's answer had a body, which nobody gets.
        return "\n".join([line for line in lines if "no-body response" not in line][-60:])


@contextmanager
def server(directory: Path, **environment: str) -> Iterator[Server]:
    """A server on the loopback; it is ended whatever happens.

    Args:
        directory: Where it may write.
        environment: Variables of its environment.
    """
    inherited = {
        name: text for name, text in os.environ.items() if not name.startswith("PARTSTREAM_")
    }
    log = directory / "log"
    # It gets a socket that listens, so that nobody else can take the port.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening, log.open("wb") as output:
        number = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *OPTIONS, f"--bind=fd://{number}", APPLICATION],
            # Python looks into the current directory first, and there is nothing here.
            cwd=directory,
            env={
                **inherited,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "DJANGO_SETTINGS_MODULE": "tests.fuzzing.settings",
                "PARTSTREAM_TEST_FUZZING": str(directory),
                **environment,
            },
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for this process, which ends that one
        )
        try:
            started = Server(listening.getsockname(), process, log)
            _wait_until_ready(started)
            yield started
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(started: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    connection = Connection(started.address)
    try:
        # The socket listens already: the answer comes when there is somebody to give it.
        connection.send(b"GET /fuzzed/manifest/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while started.process.poll() is None and time.monotonic() < deadline:
            if connection.answers_within(0.2):
                if connection.receive().status == 200:
                    return
                break
    except OSError:
        pass
    finally:
        connection.close()
    raise ServerError(f"The server did not start:\n{started.log()}")
