"""`manage.py demo`: from an empty checkout to a running dashboard."""

from __future__ import annotations

import argparse
import errno
import socket
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone

from shop import seeding

HOST = "127.0.0.1"
STAFF_NAME = "demo"
STAFF_PASSWORD = "demo"


class Command(BaseCommand):
    """Make the tables, fill them if they are empty, print what to try, and serve."""

    help = (
        "Starts the demo shop: migrates, seeds an empty shop, creates the demo's staff account, "
        "prints what to try, and serves. A second start reuses the existing rows, and moves them "
        "in time, so that the newest order is of now."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--port", type=int, default=8000, help="the port to serve on (default: %(default)s)"
        )
        parser.add_argument(
            "--orders",
            type=int,
            default=50_000,
            help="the number of orders to fill an empty shop with (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, then serve until interrupted."""
        port: int = options["port"]
        self.check_port(port)
        self.prepare(options["orders"], options["verbosity"])
        self.stdout.write(self.instructions(f"http://{HOST}:{port}"))
        self.stdout.flush()
        # Without the reloader, which would do all of the above a second time.
        call_command("runserver", f"{HOST}:{port}", use_reloader=False)

    def check_port(self, port: int) -> None:
        """Fail now, not after half a minute of seeding, if the port is not available."""
        if not 1 <= port <= 65535:
            raise CommandError(f"--port must be between 1 and 65535, not {port}.")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As the server does, so that a port that was released just now counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise CommandError(
                        f"Port {port} is in use. Stop the program that uses it, or choose another: "
                        f"manage.py demo --port {port + 1 if port < 65535 else 8000}"
                    ) from error
                raise CommandError(f"Port {port} cannot be used: {error.strerror}.") from error

    def prepare(self, orders: int, verbosity: int) -> None:
        """Create tables, rows and the staff account, each only if it is missing.

        All rows move in time, so that the newest order was placed within this minute.
        """
        if not settings.DEBUG:
            raise CommandError(
                "demo creates a staff account with a public password, so it needs DEBUG. "
                "Elsewhere use: migrate, seed_shop, runserver."
            )
        call_command("migrate", verbosity=0)
        if seeding.is_empty():
            self.stdout.write(f"Filling the shop with {orders:,} orders. This takes some seconds.")
            self.stdout.flush()
            today = timezone.localdate().isoformat()
            call_command("seed_shop", orders=orders, today=today, verbosity=verbosity)
        seeding.move_to(timezone.now().replace(second=0, microsecond=0))
        if connection.vendor == "sqlite":
            # Kept in the file: nobody who signs in waits for the queries of others.
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode = WAL")
        user_model = get_user_model()
        if not user_model.objects.filter(username=STAFF_NAME).exists():
            user_model.objects.create_user(STAFF_NAME, password=STAFF_PASSWORD, is_staff=True)

    def instructions(self, address: str) -> str:
        """The text that says what to open and what to type."""
        stream = 'curl -N -H "Accept: application/x-ndjson"'
        return f"""
The shop's dashboard, which fills part by part:
  {address}/

Its API in a browser, with links to follow:
  {address}/api/dashboard/

The same by hand, as a walk. Ask again with the cursor of each answer, until it is null:
  curl {address}/api/dashboard/
  curl "{address}/api/dashboard/?cursor=CURSOR"

Some parts by key, the list of all parts, and the schema:
  curl "{address}/api/dashboard/parts/?keys=today,open_orders"
  curl {address}/api/dashboard/manifest/
  curl {address}/api/schema/

A walk whose answers have whatever is ready first:
  curl {address}/api/ready-first/

All parts in one response, each as soon as it is ready:
  {stream} {address}/api/dashboard/

The same data from a plain view, which sends nothing until all of it is ready:
  curl {address}/api/blocking/

Cut the stream after half a second, and resume it with the cursor of its last line:
  {stream} --max-time 0.5 {address}/api/dashboard/
  {stream} "{address}/api/dashboard/?cursor=CURSOR"

A part that fails. Ask again, and it works; take another visit, and it fails once more:
  curl "{address}/api/dashboard/parts/?keys=deliveries&visit=1"

The margins are for staff. Sign in on the page as {STAFF_NAME}, password {STAFF_PASSWORD}, or use
  curl -u {STAFF_NAME}:{STAFF_PASSWORD} "{address}/api/dashboard/parts/?keys=margins"
This account is for the demo only.

The courier is simulated, and there is no exchange-rate service, on purpose: the page shows the last
known rates, and the log below shows the reason each time. Stop the server with Ctrl-C.
"""
