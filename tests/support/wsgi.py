"""Asks a project's WSGI application in this thread, as a server would.

Django's test client is no help where connections matter: it keeps Django from giving them back
when a request ends.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the application answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def records(self) -> list[Any]:
        """The records of a stream, or the one envelope of another answer, decoded."""
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]


def ask(application, path, *, host="localhost", cookie="", token="", accept=""):
    """The answer to a GET; its end is the request's end."""
    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_COOKIE": cookie,
        **({"HTTP_AUTHORIZATION": f"Token {token}"} if token else {}),
        **({"HTTP_ACCEPT": accept} if accept else {}),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    said = []
    response = application(environ, lambda status, headers, error=None: said.append(status))
    try:
        body = b"".join(response)
    finally:
        response.close()
    return Answer(int(said[0].split()[0]), body)
