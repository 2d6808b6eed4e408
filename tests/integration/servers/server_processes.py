"""Servers of the project, each in a process of its own, behind a Unix socket if it can."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.support.concurrency import wait_until
from tests.support.wsgi import Answer

START_TIMEOUT = 60
#: Seconds that a server gives its requests when it stops, by its own options.
GRACE = 20
#: Seconds after which a server that is stopping has failed to.
STOP_TIMEOUT = 60
WSGI = "django.core.wsgi:get_wsgi_application"
ASGI = "django.core.asgi:get_asgi_application"

_GUNICORN = [
    *("gunicorn", f"{WSGI}()", "--bind", "unix:{socket}", "--workers", "1"),
    *("--graceful-timeout", "{grace}", "--no-control-socket"),
]
#: Name -> modules that it needs, and what is started with ``python -m``.
SERVERS = {
    "gunicorn-gevent": (["gunicorn", "gevent"], [*_GUNICORN, "-k", "gevent"]),
    "gunicorn-gthread": (["gunicorn"], [*_GUNICORN, "-k", "gthread", "--threads", "{threads}"]),
    "uvicorn": (
        ["uvicorn"],
        [
            *("uvicorn", ASGI, "--factory", "--uds", "{socket}", "--lifespan", "off"),
            *("--timeout-graceful-shutdown", "{grace}"),
        ],
    ),
    "granian": (
        ["granian"],
        [
            *("granian", ASGI, "--factory", "--uds", "{socket}", "--interface", "asginl"),
            *("--workers-kill-timeout", "{grace}"),
        ],
    ),
}
#: Those that streams are tested with, too: two more whose iterators are sync.
STREAMING = {
    **SERVERS,
    "granian-wsgi": (
        ["granian"],
        [
            *("granian", WSGI, "--factory", "--uds", "{socket}", "--interface", "wsgi"),
            *("--blocking-threads", "{threads}", "--workers-kill-timeout", "{grace}"),
        ],
    ),
    "runserver": ([], ["django", "runserver", "127.0.0.1:{port}", "--noreload", "--skip-checks"]),
    "uvicorn-patient": (
        ["uvicorn"],
        ["uvicorn", ASGI, "--factory", "--uds", "{socket}", "--lifespan", "off"],
    ),
}


class Server:
    """A running server.

    Args:
        process: Its process.
        address: The path of its socket, or its host and port.
        log: The path of its log.
    """

    def __init__(self, process, address, log):
        self._process = process
        self._address = address
        self._log = log

    @property
    def upstream(self):
        """Its address, as nginx wants it."""
        address = self._address
        return f"unix:{address}:" if isinstance(address, str) else ":".join(map(str, address))

    def log(self):
        """What it has logged."""
        return self._log.read_text(errors="replace")

    def connect(self):
        """A new connection, for requests one after the other."""
        connection = http.client.HTTPConnection("localhost", timeout=START_TIMEOUT)
        has_path = isinstance(self._address, str)
        connection.sock = socket.socket(socket.AF_UNIX if has_path else socket.AF_INET)
        connection.sock.settimeout(START_TIMEOUT)
        try:
            connection.sock.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection

    def get(self, path):
        """Its answer to one request, on a connection of its own."""
        with closing(self.connect()) as connection:
            return ask(connection, path)

    def accepts(self):
        """Whether it accepts connections."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def wait_until_ready(self):
        """Return when it answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if self.get("/plain/").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"The server did not start:\n{self.log()}")

    def begin_to_stop(self):
        """Send SIGTERM, and return when it accepts no more connections."""
        self._process.terminate()
        wait_until(lambda: not self.accepts())

    def wait_until_ended(self, seconds=STOP_TIMEOUT):
        """Its exit code."""
        return self._process.wait(seconds)

    def terminate(self):
        """Send SIGTERM; the value is its exit code. It must not need all of its grace."""
        self._process.terminate()
        return self.wait_until_ended(GRACE)


def ask(connection, path):
    """The answer to one request on a connection, which is kept."""
    connection.request("GET", path)
    response = connection.getresponse()
    return Answer(response.status, response.read())


@contextmanager
def serve(name, *, grace=GRACE, threads=4, **environment):
    """A server by name; it is ended whatever happens.

    Args:
        name: One of `STREAMING`.
        grace: Seconds that it gives its requests when it stops.
        threads: How many it has, if each request takes one.
    """
    _, command = STREAMING[name]
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")}
    # Not pytest's directories: the path of a Unix socket has 107 characters at the most.
    with tempfile.TemporaryDirectory(prefix="server-") as directory:
        address, log = f"{directory}/socket", Path(directory, "log")
        values = {"socket": address, "grace": grace, "threads": threads}
        if any("{port}" in word for word in command):
            with socket.create_server(("127.0.0.1", 0)) as free:
                address = free.getsockname()
            values["port"] = address[1]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *(word.format(**values) for word in command)],
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
            server = Server(process, address, log)
            server.wait_until_ready()
            yield server
        finally:
            # Its workers too, if it did not end them.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
