"""The application, for ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig


class PartstreamConfig(AppConfig):
    """Registers the checks. It reads no setting, so it cannot fail."""

    name = "partstream"
    verbose_name = "Partstream"

    def ready(self) -> None:
        """Register the checks, once the applications are there."""
        from . import checks

        checks.register()
