from __future__ import annotations

import os

import dj_database_url

# The tests ask more often than any client may; those of the limits switch them on.
os.environ["PARTSTREAM_ENABLE_RATE_LIMITING"] = "false"

SECRET_KEY = "only the tests use this key, and it is long enough"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1", "other.example"]
DATABASES = {"default": dj_database_url.config(default="sqlite://:memory:")}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "partstream",
    "shop",
    "tests.example",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    },
]
ROOT_URLCONF = "tests.example.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
# Quick: no password of the tests is worth more.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
