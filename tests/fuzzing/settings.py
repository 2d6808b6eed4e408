"""Settings of the server that is fuzzed, and of the process that makes its tokens.

Environment variables:
    PARTSTREAM_TEST_FUZZING: a directory for the database.
    PARTSTREAM_TEST_LIMITS: "1" switches limits, trusted proxies and all middleware on.
"""

from __future__ import annotations

import os

#: What never may be in an answer.
CANARY = "canary"
LIMITS = os.environ.get("PARTSTREAM_TEST_LIMITS") == "1"

DEBUG = False
SECRET_KEY = f"{CANARY}-secret-of-the-server-that-is-fuzzed-and-long-enough"
ALLOWED_HOSTS = ["localhost"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "partstream",
]
MIDDLEWARE = [
    *(["partstream.middleware.ProgressiveDeliveryMiddleware"] if LIMITS else []),
    *(["partstream.middleware.SecurityMiddleware"] if LIMITS else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["PARTSTREAM_TEST_FUZZING"], "fuzzing.sqlite3"),
    }
}
ROOT_URLCONF = "tests.fuzzing.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Quick: junk in Authorization costs a hash each time.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = {"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]}
DJANGO_PARTSTREAM = {
    "ENABLE_RATE_LIMITING": LIMITS,
    # So few that a run reaches the bound.
    "RATE_LIMIT_STORE": {
        "BACKEND": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
        "OPTIONS": {"max_keys": 500},
    },
    "TRUSTED_PROXIES": ["127.0.0.1", "10.0.0.0/8"] if LIMITS else [],
    "IP_BLOCKLIST": ["198.51.100.0/24"] if LIMITS else [],
}
# What the server logs of a 500 is what somebody wants to read; refusals would be millions of lines.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "stderr": {"class": "logging.StreamHandler"},
        "null": {"class": "logging.NullHandler"},
    },
    "loggers": {
        "django": {"level": "ERROR", "handlers": ["stderr"], "propagate": False},
        "django.security": {"handlers": ["null"], "propagate": False},
        "partstream": {"handlers": ["null"], "propagate": False},
    },
}
