"""gunicorn in processes of its own, on loopback, and what its workers use."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .databases import environment

START_TIMEOUT = 60
#: Threads of a worker, where nothing else is said.
THREADS = 4
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A running gunicorn.

    Attributes:
        port: Its port on loopback.
        workers: The process ids of its workers.
    """

    def __init__(self, process: subprocess.Popen, port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = port
        self.workers: list[int] = []

    def wait_for(self, workers: int) -> None:
        """Return when that many workers have answered."""
        deadline = time.monotonic() + START_TIMEOUT
        found: set[int] = set()
        while len(found) < workers:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gunicorn did not start:\n{self._log.read_text()}")
            with suppress(OSError):
                found.add(self._ask_for_process())
            time.sleep(0.02)
        self.workers = sorted(found)

    def _ask_for_process(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_TIMEOUT)
        try:
            connection.request("GET", "/process/")
            return int(connection.getresponse().read())
        finally:
            connection.close()

    def processor_seconds(self) -> float:
        """The processor time that all workers have used so far."""
        ticks = 0
        for worker in self.workers:
            fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def memory(self, name: str) -> int:
        """Bytes of the only worker: ``VmRSS`` now, or ``VmHWM``, the most that it ever had."""
        [worker] = self.workers
        for line in Path(f"/proc/{worker}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)


@contextmanager
def serve(url: str, *, workers: int = 1, threads: int = THREADS, **more: str) -> Iterator[Server]:
    """Start gunicorn on a database; it and its workers end with the context.

    Args:
        url: The database.
        workers: The number of worker processes.
        threads: The threads of each. With one, its class is gunicorn's default, which closes each
            connection after its response.
        more: Additional environment variables.
    """
    with tempfile.TemporaryDirectory(prefix="gunicorn-") as folder, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port, log = listener.getsockname()[1], Path(folder, "log")
        command = [
            *("gunicorn", "django.core.wsgi:get_wsgi_application()"),
            *("--bind", f"fd://{listener.fileno()}"),
            *("--worker-class", "gthread" if threads > 1 else "sync"),
            *("--workers", str(workers), "--threads", str(threads)),
            *("--worker-connections", "4000", "--timeout", "600", "--graceful-timeout", "5"),
            "--no-control-socket",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=environment(url, **more),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # A Ctrl-C is for the benchmark, which ends the server.
            )
        try:
            server = Server(process, port, log)
            server.wait_for(workers)
            yield server
        finally:
            # The workers too, whatever they do.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
