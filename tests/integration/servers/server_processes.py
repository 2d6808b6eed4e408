"""Servers of the project, each behind a Unix socket, in a process of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.wsgi import Answer

START_TIMEOUT = 60
#: Seconds that a server is given to end, by its own options.
GRACE = 20
WSGI = "django.core.wsgi:get_wsgi_application"
ASGI = "django.core.asgi:get_asgi_application"

_GUNICORN = [
    *("gunicorn", f"{WSGI}()", "--bind", "unix:{socket}", "--workers", "1"),
    *("--graceful-timeout", str(GRACE), "--no-control-socket"),
]
#: Name -> modules that it needs, and what is started with ``python -m``.
SERVERS = {
    "gunicorn-gevent": (["gunicorn", "gevent"], [*_GUNICORN, "-k", "gevent"]),
    "gunicorn-gthread": (["gunicorn"], [*_GUNICORN, "-k", "gthread", "--threads", "4"]),
    "uvicorn": (
        ["uvicorn"],
        [
            *("uvicorn", ASGI, "--factory", "--uds", "{socket}", "--lifespan", "off"),
            *("--timeout-graceful-shutdown", str(GRACE)),
        ],
    ),
    "granian": (
        ["granian"],
        [
            *("granian", ASGI, "--factory", "--uds", "{socket}", "--interface", "asginl"),
            *("--workers-kill-timeout", str(GRACE)),
        ],
    ),
}


class Server:
    """A running server."""

    def __init__(self, process, path, log):
        self._process = process
        self._path = path
        self._log = log

    def log(self):
        """What it has logged."""
        return self._log.read_text(errors="replace")

    def get(self, path):
        """Its answer to one request, on a connection of its own."""
        connection = http.client.HTTPConnection("localhost", timeout=START_TIMEOUT)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(START_TIMEOUT)
        try:
            connection.sock.connect(self._path)
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def wait_until_ready(self):
        """Return when it answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if self.get("/plain/").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"The server did not start:\n{self.log()}")

    def terminate(self):
        """Send SIGTERM; the value is its exit code."""
        self._process.terminate()
        return self._process.wait(GRACE)


@contextmanager
def serve(name, **environment):
    """A server by name; it is ended whatever happens."""
    _, command = SERVERS[name]
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")}
    # Not pytest's directories: the path of a Unix socket has 107 characters at the most.
    with tempfile.TemporaryDirectory(prefix="server-") as directory:
        path, log = f"{directory}/socket", Path(directory, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *(word.replace("{socket}", path) for word in command)],
                cwd=directory,
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "DJANGO_SETTINGS_MODULE": "tests.integration.servers.settings",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for the tests, which end the server
            )
        try:
            server = Server(process, path, log)
            server.wait_until_ready()
            yield server
        finally:
            # Its workers too, if it did not end them.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
