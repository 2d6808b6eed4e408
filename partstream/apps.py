"""The Django app configuration."""

from __future__ import annotations

from django.apps import AppConfig


class PartstreamConfig(AppConfig):
    """Registers the checks and the audit trail. It reads no setting, so it cannot fail."""

    name = "partstream"
    verbose_name = "Partstream"

    def ready(self) -> None:
        """Register the checks and connect the audit trail."""
        from . import checks
        from .security import audit

        checks.register()
        audit.connect()
