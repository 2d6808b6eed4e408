"""`manage.py seed_shop`: fill the shop with rows."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from shop import seeding

MAX_ORDERS = 5_000_000


class Command(BaseCommand):
    """Fill the shop with the same rows on every machine and database."""

    help = (
        "Fills the shop with customers, products, stock and two years of orders. The same "
        "--orders, --today and --random-seed give the same rows on every machine and database."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--orders",
            type=int,
            default=50_000,
            help="the number of orders; other tables grow with it (default: %(default)s)",
        )
        parser.add_argument(
            "--today",
            default=seeding.DEFAULT_TODAY.isoformat(),
            metavar="YYYY-MM-DD",
            help="the day of the newest order, the dashboard's today (default: %(default)s)",
        )
        parser.add_argument(
            "--random-seed",
            type=int,
            default=1,
            help="a different number makes a different shop (default: %(default)s)",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="delete the shop's existing rows first",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the options, refuse to overwrite rows without --replace, and seed."""
        orders: int = options["orders"]
        if not 1 <= orders <= MAX_ORDERS:
            raise CommandError(f"--orders must be between 1 and {MAX_ORDERS:,}, not {orders:,}.")
        today = _date(options["today"])
        if not (options["replace"] or seeding.is_empty()):
            raise CommandError(
                "The shop already has rows. Add --replace to delete them and seed again."
            )
        started = time.perf_counter()
        quiet = options["verbosity"] == 0 or not sys.stderr.isatty()
        with tqdm(total=orders, desc="Seeding", unit=" orders", disable=quiet) as bar:
            counts = seeding.seed(
                orders, today=today, random_seed=options["random_seed"], progress=bar.update
            )
        if options["verbosity"] > 0:
            self.stdout.write(
                f"Seeded {counts.orders:,} orders with {counts.lines:,} lines, "
                f"{counts.customers:,} customers, {counts.products:,} products and "
                f"{counts.stock:,} stock rows in {time.perf_counter() - started:.1f} s."
            )


def _date(text: str) -> dt.date:
    """Read `--today`; two years of orders must fit before it."""
    try:
        today = dt.date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--today must be a date such as 2026-11-20, not {text!r}.") from None
    if not 1975 <= today.year <= 9000:
        raise CommandError(f"--today must be a date between 1975 and 9000, not {text!r}.")
    return today
