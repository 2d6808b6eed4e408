"""Runs a command on PostgreSQL: `python -m tests.postgresql COMMAND...`.

Where `DATABASE_URL` is set, the command gets that server. Else a throw-away server is started
from the system's binaries, and stopped and deleted when the command ends. Where there are no
binaries the command does not run: that is a failure where `CI` is set, and said and forgiven
elsewhere.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

START_TIMEOUT = 60
STOP_TIMEOUT = 30

INITDB_OPTIONS = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
]
# A socket only, and nothing that makes data outlive a crash.
SERVER_OPTIONS = [
    "--listen_addresses=",
    "--fsync=off",
    "--synchronous_commit=off",
    "--full_page_writes=off",
]


class ServerError(Exception):
    """The throw-away server could not be started."""


def find_binaries() -> Path | None:
    """The directory of the newest PostgreSQL server on this machine."""
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if debian:
        return max(debian, key=lambda path: [int(number) for number in path.parent.name.split(".")])
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


@contextmanager
def server(binaries: Path) -> Iterator[str]:
    """A PostgreSQL server behind a Unix socket in a temporary directory; the value is its URL."""
    owner: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        data = f"{directory}/data"
        initdb = subprocess.run(
            [binaries / "initdb", "--pgdata", data, *INITDB_OPTIONS],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **owner,
        )
        if initdb.returncode:
            raise ServerError(f"initdb failed:\n{initdb.stdout}")
        with open(f"{directory}/log", "w+") as log:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", directory, *SERVER_OPTIONS],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the command; this server outlives it
                **owner,
            )
            try:
                wait_until_ready(process, binaries, directory, log)
                yield f"postgres://postgres@{quote(directory, safe='')}/postgres"
            finally:
                process.send_signal(signal.SIGINT)  # "fast shutdown": open connections are closed
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def wait_until_ready(process, binaries: Path, directory: str, log) -> None:
    """Return when the server takes connections."""
    deadline = time.monotonic() + START_TIMEOUT
    while subprocess.run([binaries / "pg_isready", "--quiet", "--host", directory]).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise ServerError(f"The PostgreSQL server did not start:\n{log.read()}")
        time.sleep(0.05)


def main(command: list[str]) -> int:
    """Run the command; its exit code is the result."""
    if not command:
        print("Usage: python -m tests.postgresql COMMAND...", file=sys.stderr)
        return 2
    url = os.environ.get("DATABASE_URL")
    if url:
        if not url.startswith(("postgres://", "postgresql://")):
            print("DATABASE_URL is set, but not to a postgres:// address.", file=sys.stderr)
            return 2
        return subprocess.run(command).returncode
    binaries = find_binaries()
    if binaries is None:
        print("Not run: there is no PostgreSQL server here, and DATABASE_URL is not set.")
        return 1 if os.environ.get("CI") else 0
    # An end by a signal must stop the server, too.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        with server(binaries) as url:
            return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}).returncode
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
