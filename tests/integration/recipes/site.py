"""Servers: of the tests' project, with what it was asked, and of a page of another origin."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from socket import SHUT_RDWR
from threading import Thread
from urllib.parse import parse_qs

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connections

from tests.support.node import CLIENT


@dataclass(frozen=True)
class Seen:
    """A request."""

    method: str
    path: str
    query: dict[str, list[str]]
    accept: str
    host: str
    cookie: str
    agent: str

    @property
    def is_stream(self):
        return "ndjson" in self.accept


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        """Say nothing: a test that fails shows what was asked."""


class ThreadsServer(ThreadedWSGIServer):
    """Closes its connections with itself, and waits for their threads."""

    daemon_threads = False

    def __init__(self, *args, **options):
        self._open = set()
        super().__init__(*args, **options)

    def process_request(self, request, client_address):
        self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request):
        self._open.discard(request)
        super().close_request(request)

    def server_close(self):
        for request in list(self._open):
            with suppress(OSError):  # It has gone in the meantime.
                request.shutdown(SHUT_RDWR)
        super().server_close()


class Server:
    """A WSGI application on a free port.

    Attributes:
        url: Its origin.
    """

    def __init__(self, application):
        # A database in memory has one connection, which is never closed: threads share it.
        self._shared = [
            each for each in connections.all() if each.vendor == "sqlite" and each.is_in_memory_db()
        ]
        for connection in self._shared:
            connection.inc_thread_sharing()
        own = {connection.alias: connection for connection in self._shared}
        self._server = ThreadsServer(("127.0.0.1", 0), Quiet, connections_override=own)
        self._server.set_app(application)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self._shared:
            connection.dec_thread_sharing()


class Site(Server):
    """The project as it is set now.

    Attributes:
        seen: The requests so far.
    """

    def __init__(self, *, serves_static=True):
        application = WSGIHandler()  # It loads the middleware.
        self.seen = []
        self._application = StaticFilesHandler(application) if serves_static else application
        super().__init__(self._note)

    def _note(self, environ, start_response):
        self.seen.append(
            Seen(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                parse_qs(environ["QUERY_STRING"]),
                environ.get("HTTP_ACCEPT", ""),
                environ["HTTP_HOST"],
                environ.get("HTTP_COOKIE", ""),
                environ.get("HTTP_USER_AGENT", ""),
            )
        )
        return self._application(environ, start_response)

    def asked(self, path="/api/dashboard/"):
        """The requests of a path."""
        return [request for request in self.seen if request.path == path]


class PageServer(Server):
    """A page of an origin that has nothing else than the client."""

    def __init__(self):
        self.page = ""
        super().__init__(self._answer)

    def _answer(self, environ, start_response):
        is_module = environ["PATH_INFO"] == "/partstream.js"
        kind = "text/javascript" if is_module else "text/html"
        start_response("200 OK", [("Content-Type", f"{kind}; charset=utf-8")])
        return [(CLIENT / "partstream.js").read_bytes() if is_module else self.page.encode()]
