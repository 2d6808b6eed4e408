"""Settings of the demo site. By default, DEBUG is on and the key is public.

docs/deployment.md serves the shop as in production, with these environment variables:
    DATABASE_URL: a database to use instead of the SQLite file next to manage.py, such as
        postgres://user:password@localhost/shop (needs psycopg).
    REDIS_URL: the Redis server that all processes share; without it, each has its own cache.
    SHOP_ALLOWED_HOSTS: ALLOWED_HOSTS, separated by commas.
    SHOP_DEBUG: "0" turns DEBUG off.
    SHOP_EXCHANGE_RATES_URL: the service that the dashboard gets exchange rates from.
    SHOP_METRICS: "1" serves metrics for Prometheus (needs the extra prometheus).
    SHOP_SECRET_KEY: replaces the public demo key.
    SHOP_STATIC_ROOT: the folder that collectstatic fills.
    SHOP_TRUSTED_PROXIES: TRUSTED_PROXIES, separated by commas.
"""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("SHOP_DEBUG", "1") != "0"
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "demo-only-" + "this-key-is-public-" * 3)


def _listed(variable: str, default: str = "") -> list[str]:
    return [entry for entry in os.environ.get(variable, default).split(",") if entry]


ALLOWED_HOSTS = _listed("SHOP_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "shop",  # before rest_framework, whose template of the browsable API it extends
    "rest_framework",
    "drf_spectacular",
    "partstream",
]

MIDDLEWARE = [
    "partstream.middleware.PerformanceMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "partstream.middleware.ProgressiveDeliveryMiddleware",
    "partstream.middleware.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "shopsite.urls"
WSGI_APPLICATION = "shopsite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": dj_database_url.config(default=f"sqlite:///{BASE_DIR / 'shop.sqlite3'}"),
}
# The demo runs in one process, which counts requests by itself. The limits are the defaults: each
# load of the page begins one walk, so ten loads in ten seconds are within the limit.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
DJANGO_PARTSTREAM = {
    # The parts of a chunk run side by side, and so do those of a stream.
    "PART_EXECUTOR": "partstream.backends.executors.threads.ThreadExecutor",
    "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
    "TRUSTED_PROXIES": _listed("SHOP_TRUSTED_PROXIES"),
}

if "REDIS_URL" in os.environ:
    # Several processes share their cached parts, their counts and their figures.
    CACHES["partstream"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ["REDIS_URL"],
        "KEY_PREFIX": "shop",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.25, "SOCKET_TIMEOUT": 0.25},
    }
    DJANGO_PARTSTREAM |= {
        "CACHE_STORE": {
            "BACKEND": "partstream.backends.caches.redis.RedisCacheStore",
            "OPTIONS": {"alias": "partstream"},
        },
        "RATE_LIMIT_STORE": {
            "BACKEND": "partstream.backends.rate_limits.redis.RedisRateLimitStore",
            "OPTIONS": {"alias": "partstream"},
        },
    }

REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Cairn & Co. Outdoor",
    "DESCRIPTION": "The demo shop of django-partstream.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
}

# The seeded rows and all months and days of the dashboard are in this zone.
TIME_ZONE = "UTC"
USE_TZ = True

if not DEBUG:
    # Django itself logs to the console under DEBUG only.
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "partstream.logs.RequestIDFilter"}},
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"}
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "filters": ["request_id"],
                "formatter": "line",
            }
        },
        "root": {"handlers": ["console"], "level": "INFO"},
    }

STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("SHOP_STATIC_ROOT", BASE_DIR / "static")

# Nothing listens on port 9 of this machine, so the call really fails, and the dashboard shows its
# fallback until you set the URL of a real service here.
SHOP_EXCHANGE_RATES_URL = os.environ.get("SHOP_EXCHANGE_RATES_URL", "http://127.0.0.1:9/latest")
