"""A project for servers: DEBUG is on, so that an answer says why it failed.

`HEALTH_CHECKS` in the environment has Django look after kept connections, and `SERVERS_URLCONF`
names other views. `SERVERS_OPTIONS` is for the database, and `SERVERS_SETTINGS` replaces settings:
both are JSON objects.
"""

from __future__ import annotations

import json
import os

import dj_database_url

SECRET_KEY = "only this project uses this key, and it is long enough"
DEBUG = True
ALLOWED_HOSTS = ["localhost"]
DATABASES = {"default": dj_database_url.parse(os.environ["SERVERS_URL"], conn_max_age=600)}
DATABASES["default"]["CONN_HEALTH_CHECKS"] = bool(os.environ.get("HEALTH_CHECKS"))
# Of one table, whichever process asks: the locks of parts that are made are there.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "fragments",
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "partstream",
]
MIDDLEWARE = []
ROOT_URLCONF = os.environ.get("SERVERS_URLCONF", "tests.integration.servers.urls")
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False}
DATABASES["default"].update(json.loads(os.environ.get("SERVERS_OPTIONS", "{}")))
globals().update(json.loads(os.environ.get("SERVERS_SETTINGS", "{}")))
