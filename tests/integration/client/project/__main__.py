"""Serves the project on a free port, whose address it prints, until its standard input ends."""

from __future__ import annotations

import sys
from threading import Thread

from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

ORDERS = 300


def main():
    application = get_wsgi_application()
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    from shop import seeding

    call_command("migrate", verbosity=0)
    seeding.seed(ORDERS)
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(StaticFilesHandler(application))
    Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
