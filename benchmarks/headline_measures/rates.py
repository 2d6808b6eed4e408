"""The exchange-rate service that the shop asks: a local one, which waits as a remote one would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Seconds that the service takes.
SECONDS = 0.1
_BODY = json.dumps({"base": "EUR", "rates": {"CHF": 0.94, "GBP": 0.86, "USD": 1.08}}).encode()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        pass  # A worker that was ended while it waited.


@contextmanager
def exchange_rates() -> Iterator[str]:
    """The URL of the service."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/latest"
        finally:
            server.shutdown()
