"""What ``manage.py check`` reports about monitoring."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from partstream.backends.loader import get_cache_store
from partstream.conf import get_problems, get_settings

MIDDLEWARE: Final = "partstream.middleware.PerformanceMiddleware"


def check_monitoring(**_: Any) -> list[checks.CheckMessage]:
    """Check that the processes see each other's figures."""
    if MIDDLEWARE not in django_settings.MIDDLEWARE or get_problems():
        return []
    if not get_settings().ENABLE_MONITORING:
        return []
    try:
        store = get_cache_store()
    except ImproperlyConfigured:
        return []  # Another check reports it.
    if store.shared and store.keeps:
        return []
    return [
        checks.Warning(
            "Processes do not share the cache store, so PerformanceMonitor and the exporters see "
            "the figures of one process only.",
            hint=(
                "Set CACHE_STORE to a store in Redis or Memcached. A command or a cron job is a "
                "process of its own, too. If one process serves and reads all figures, add "
                '"partstream.W016" to SILENCED_SYSTEM_CHECKS.'
            ),
            id="partstream.W016",
        )
    ]
