"""The Django app configuration."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps


class PartstreamConfig(AppConfig):
    """Registers the checks, the audit trail and the schema. It reads no setting of ours."""

    name = "partstream"
    verbose_name = "Partstream"

    def ready(self) -> None:
        """Register the checks, connect the audit trail, and describe views to drf-spectacular."""
        from . import checks
        from .security import audit

        checks.register()
        audit.connect()
        if apps.is_installed("drf_spectacular"):
            # By name: only projects that use it import it.
            import_module(".contrib.drf_spectacular", __package__)
