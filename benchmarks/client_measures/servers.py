"""Servers for these measures, in processes of their own, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PATIENCE = 180  # seconds, in which the demo makes its rows


def _environment(directory: str) -> dict[str, str]:
    paths = [str(TREE), str(TREE / "testproject"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{directory}/shop.sqlite3",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@contextmanager
def demo() -> Iterator[str]:
    """The address of `manage.py demo`, with all its rows and a database of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        process = subprocess.Popen(
            [sys.executable, TREE / "testproject" / "manage.py", "demo", "--port", str(port)],
            # So that the measures may ask what each part costs.
            env={**_environment(directory), "PARTSTREAM_ENABLE_DEBUG_LOGGING": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"http://127.0.0.1:{port}/"
        try:
            _wait_for(f"{address}api/dashboard/", process)
            yield address
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextmanager
def scripted() -> Iterator[str]:
    """The address of the project of the client's tests, whose views are declared by requests."""
    with tempfile.TemporaryDirectory(prefix="scripted-") as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.client.project"],
            env={
                **_environment(directory),
                "DJANGO_SETTINGS_MODULE": "tests.integration.client.project.settings",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError("The project did not start.")
            yield address
        finally:
            process.stdin.close()
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()
