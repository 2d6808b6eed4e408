"""Settings of the demo site. Not a template for production: DEBUG is on and the key is public.

Environment variables:
    DATABASE_URL: a database to use instead of the SQLite file next to manage.py, such as
        postgres://user:password@localhost/shop (needs psycopg).
    SHOP_DEBUG: "0" turns DEBUG off.
    SHOP_SECRET_KEY: replaces the public demo key.
    SHOP_EXCHANGE_RATES_URL: the service that the dashboard gets exchange rates from.
"""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("SHOP_DEBUG", "1") != "0"
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "demo-only-" + "this-key-is-public-" * 3)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "partstream",
    "shop",
]

MIDDLEWARE = [
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
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# The demo runs in one process, which counts requests by itself. The limits are the defaults: each
# load of the page begins one walk, so ten loads in ten seconds are within the limit.
DJANGO_PARTSTREAM = {
    "RATE_LIMIT_STORE": "partstream.backends.rate_limits.memory.MemoryRateLimitStore",
}

# The seeded rows and all months and days of the dashboard are in this zone.
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"

# Nothing listens on port 9 of this machine, so the call really fails, and the dashboard shows its
# fallback until you set the URL of a real service here.
SHOP_EXCHANGE_RATES_URL = os.environ.get("SHOP_EXCHANGE_RATES_URL", "http://127.0.0.1:9/latest")
