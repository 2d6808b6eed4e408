"""npm's packages for the tests, and the browser client among them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import partstream

HERE = Path(__file__).parent
#: The folder of the client, which is an npm package.
CLIENT = Path(partstream.__file__).parent / "static" / "partstream"
#: Seconds that a command may take; a busy machine is much slower than its commands are.
PATIENCE = 600


def unavailable(reason):
    """Skip the test; fail where CI is set."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def run(command, directory, *, patience=PATIENCE, **environment):
    """What a command prints; the test fails with it if the command does, or does not end."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"It did not end in {patience} s. It printed:\n{output}")
    assert process.returncode == 0, output
    return output


class Packages:
    """The packages of `package.json`, installed.

    Attributes:
        directory: What is below it can import them, and the client as ``django-partstream``.
    """

    def __init__(self, directory):
        self.directory = directory

    def copy(self, folder, pattern):
        """A new directory with the files of a folder; the files can import the packages."""
        copy = self.directory / folder.name
        copy.mkdir(exist_ok=True)
        for file in folder.glob(pattern):
            shutil.copy(file, copy)
        return copy

    def run(self, name, *arguments, directory=None):
        """What the command of a package prints."""
        command = self.directory / "node_modules" / ".bin" / name
        return run([command, *arguments], directory or self.directory)


def install(directory):
    """The packages, in a directory; the test is skipped without node and npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are not on the path")
    for name in (".npmrc", "package.json", "package-lock.json"):
        shutil.copy(HERE / name, directory)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(
        [npm, "ci", *options], cwd=directory, capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode != 0:
        unavailable(f"npm ci: {done.stderr}")
    (directory / "node_modules" / "django-partstream").symlink_to(CLIENT)
    return Packages(directory)
