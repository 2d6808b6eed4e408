from __future__ import annotations

import pytest
from django.core.checks import run_checks

DELIVERY = "partstream.middleware.ProgressiveDeliveryMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"


def warnings():
    return [message for message in run_checks() if message.id == "partstream.W017"]


@pytest.mark.parametrize(
    "middleware",
    [
        [],
        [SESSION, COMMON],
        [DELIVERY, SESSION],
        (SECURITY, DELIVERY, SESSION),
        [
            "corsheaders.middleware.CorsMiddleware",
            "whitenoise.middleware.WhiteNoiseMiddleware",
            "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware",
            SESSION,
            "partstream.middleware.PerformanceMiddleware",
            "partstream.middleware.SecurityMiddleware",
            DELIVERY,
        ],
    ],
)
def test_w017__a_sound_order_is_silent(settings, middleware):
    settings.MIDDLEWARE = middleware
    assert warnings() == []


def test_w017__names_what_stands_before(settings):
    settings.MIDDLEWARE = [SECURITY, COMMON, SESSION, "your.Own", DELIVERY, "mine.Middleware"]
    (message,) = warnings()
    assert message.msg.startswith(f"{COMMON}, your.Own: ")
    assert message.hint == f'Put "{DELIVERY}" first in MIDDLEWARE, or right after "{SECURITY}".'
