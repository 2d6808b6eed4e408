"""What ``manage.py check`` reports about the order of the middleware."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings as django_settings
from django.core import checks

_DELIVERY: Final = "partstream.middleware.ProgressiveDeliveryMiddleware"
_FIRST: Final = "django.middleware.security.SecurityMiddleware"

#: Middleware that answers no request to a view in the view's place: it answers other URLs or
#: preflights only, or nothing at all.
_HARMLESS: Final = frozenset(
    {
        _FIRST,
        "corsheaders.middleware.CorsMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django_guid.middleware.guid_middleware",
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_structlog.middlewares.RequestMiddleware",
        "servestatic.middleware.ServeStaticMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
    }
)
#: The same, of packages whose middleware only watches, or chooses a tenant.
_HARMLESS_PACKAGES: Final = ("debug_toolbar.", "django_tenants.", "opentelemetry.", "partstream.")


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Check that ``ProgressiveDeliveryMiddleware`` sees what other middleware answers."""
    middleware = list(django_settings.MIDDLEWARE)
    if _DELIVERY not in middleware:
        return []
    before = [
        path
        for path in middleware[: middleware.index(_DELIVERY)]
        if path not in _HARMLESS and not path.startswith(_HARMLESS_PACKAGES)
    ]
    if not before:
        return []
    return [
        checks.Warning(
            f"{', '.join(before)}: answers of this middleware in a view's place have no "
            "X-Request-ID, and may lack Vary and Cache-Control, since "
            "ProgressiveDeliveryMiddleware comes after it.",
            hint=f'Put "{_DELIVERY}" first in MIDDLEWARE, or right after "{_FIRST}".',
            id="partstream.W017",
        )
    ]
