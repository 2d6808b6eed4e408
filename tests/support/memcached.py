"""A memcached server for the tests, from the machine's own binary.

Where there is none the tests are skipped; where `CI` is set, they fail.
"""

from __future__ import annotations

import os
import shutil
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

needs_pymemcache = pytest.mark.skipif(
    find_spec("pymemcache") is None, reason="pymemcache is not installed"
)


def demand_server() -> str:
    """The server's binary; where there is none, the test is skipped, or fails where CI is set."""
    binary = shutil.which("memcached")
    if binary is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no memcached here.")
    return binary


@contextmanager
def server(binary: str, *options: str) -> Iterator[str]:
    """The ``LOCATION`` of a server of one's own, behind a Unix socket.

    Args:
        binary: That of `demand_server`.
        options: More of its command line, such as ``"-I", "2m"``.
    """
    with tempfile.TemporaryDirectory(prefix="memcached-") as directory:
        path = f"{directory}/memcached.sock"
        command = [binary, "-s", path, *options]
        if os.geteuid() == 0:
            command += ["-u", "root"]
        with open(f"{directory}/log", "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not _answers(path):
                if process.poll() is not None or time.monotonic() > deadline:
                    text = Path(f"{directory}/log").read_text()
                    raise RuntimeError(f"memcached did not start:\n{text}")
                time.sleep(0.02)
            yield f"unix:{path}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"version\r\n")
        return client.recv(7) == b"VERSION"
    return False
