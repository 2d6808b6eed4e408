"""``manage.py partstream_health_check``: try what the project uses, and say what works."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from partstream.health import ProbeResult, run_probes
from partstream.health.setting_values import SettingValue, get_setting_values
from partstream.setting_kinds import SECONDS


class Command(BaseCommand):
    """Exits with 0 if all that the project uses works, and with 1 if not."""

    help = "Try what partstream uses here: keys, cache store, rate-limit store, executors."
    #: None: some of them wait for the servers that may hang.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--format`` and ``--timeout``."""
        parser.add_argument(
            "--format",
            choices=["text", "json"],
            default="text",
            help="Lines for people, or one JSON object (default: %(default)s).",
        )
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=5,
            help="Seconds for all probes together (default: %(default)s).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the probes and write what they found.

        Raises:
            CommandError: When one of them failed, or an option is not valid.
        """
        try:
            timeout = _seconds(options["timeout"])
        except ArgumentTypeError as error:
            raise CommandError(f"--timeout: {error}") from error
        results = run_probes(timeout)
        settings = get_setting_values() if options["verbosity"] > 1 else None
        if options["format"] == "json":
            self.stdout.write(json.dumps(_as_json(results, settings), indent=2))
        else:
            self._write_text(results, settings)
        # Before the error, which goes to another channel.
        self.stdout.flush()
        failed = [result.name for result in results if not result.ok]
        if failed:
            raise CommandError(
                f"{len(failed)} of {len(results)} probes failed: {', '.join(failed)}."
            )

    def _write_text(
        self, results: Sequence[ProbeResult], settings: Sequence[SettingValue] | None
    ) -> None:
        width = max(len(result.name) for result in results)
        for name, ok, message, seconds in results:
            status = self.style.SUCCESS("ok    ") if ok else self.style.ERROR("failed")
            self.stdout.write(f"{name:{width}}  {status}  {seconds:6.3f} s  {message}")
        if settings is None:
            return
        self.stdout.write()
        names, sources = (max(len(each[place]) for each in settings) for place in (0, 2))
        for name, value, source in settings:
            self.stdout.write(f"{name:{names}}  {source:{sources}}  {value!r}")


def _as_json(
    results: Sequence[ProbeResult], settings: Sequence[SettingValue] | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "status": "ok" if all(result.ok for result in results) else "error",
        "probes": [
            {"name": name, "ok": ok, "message": message, "seconds": round(seconds, 3)}
            for name, ok, message, seconds in results
        ],
    }
    if settings is not None:
        report["settings"] = {
            name: {"value": value, "source": source} for name, value, source in settings
        }
    return report


def _seconds(given: Any) -> float:
    """A number of seconds, from the command line or from ``call_command()``."""
    try:
        seconds: float = SECONDS.take(SECONDS.parse(given) if isinstance(given, str) else given)
    except ValueError as error:
        raise ArgumentTypeError(f"{given!r} is no number of seconds above 0, such as 5.") from error
    return seconds
