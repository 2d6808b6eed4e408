"""Runs a quick start as its reader does: in a new project, with its commands and its server."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from threading import Event
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.support.concurrency import LONG_PATIENCE

from .runner import Page, PageError

#: What the reader types where the page says so.
PASSWORD = "PASSWORD"


class Project(Page):
    """A page whose files, commands and requests are those of a project in processes of its own."""

    def __init__(self, path, directory):
        super().__init__(path, directory)
        self.environment = {
            **{key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM")},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        self.server, self.address = None, ""

    def close(self):
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        super().close()

    def python(self, block):
        if block.path is None:
            raise PageError("the first line does not name the file")
        file = self.directory / block.path
        if not file.parent.is_dir():
            raise PageError("the project has no such directory")
        if file.name == "settings.py":
            with file.open("a", encoding="utf-8") as settings:
                settings.write(block.source)
        else:
            file.write_text(block.source, encoding="utf-8")

    def command(self, line, output, **marks):
        program, *arguments = shlex.split(line)
        if program == "django-admin":
            self.call("-m", "django", *arguments)
        elif program != "python":
            return super().command(line, output, **marks)
        elif arguments == ["manage.py", "runserver"]:
            self.call("manage.py", "check", "--fail-level", "WARNING")
            self.start_server()
        elif arguments[1] == "createsuperuser":
            self.call(*arguments, "--noinput")
        else:
            self.call(*arguments)
        return True

    def call(self, *arguments):
        """Run a Python that has to succeed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONG_PATIENCE,
        )
        if done.returncode:
            raise PageError(f"it says:\n{done.stdout}")

    def start_server(self):
        """Start the project's server on a free port, and wait until it has imported the views."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        log = (self.directory / "server.log").open("w", encoding="utf-8")
        with log:
            self.server = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", "--noreload", self.address],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for _ in range(LONG_PATIENCE * 10):
            try:
                return urlopen(f"http://{self.address}/api/dashboard/manifest/").close()
            except URLError:
                Event().wait(0.1)  # `time.sleep` does nothing here.
            if self.server.poll() is not None:
                break
        raise PageError((self.directory / "server.log").read_text(encoding="utf-8"))

    def ask(self, method, path, headers, data):
        request = Request(
            f"http://{self.address}{path}", data.encode() or None, headers, method=method
        )
        try:
            return Answer(urlopen(request))
        except HTTPError as refusal:
            return Answer(refusal)


class Answer:
    """A server's answer, with the names that the answers of Django's test client have."""

    def __init__(self, answer):
        with answer:
            self.status_code, self.reason_phrase = answer.status, answer.reason
            self.headers, self.body = answer.headers, answer.read()

    def __iter__(self):
        return iter([self.body])

    def close(self):
        """It is read."""

    def json(self):
        return json.loads(self.body)
