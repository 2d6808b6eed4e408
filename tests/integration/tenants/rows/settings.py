"""A project whose clients are logged in; the environment says what else it is.

`POLICIES`: row-level security holds, and the middleware is that of the documentation.
`HOOKS`: the executor has the hooks of the documentation.
`STORE`: the store of fragments.
`POOL`: connections are of Django's pool; else they are kept.
"""

from __future__ import annotations

import os

import dj_database_url

POLICIES = bool(os.environ.get("POLICIES"))
POOL = bool(os.environ.get("POOL"))
# So long that whoever waits for it in vain has failed.
POOL_OPTIONS = {"min_size": 1, "max_size": 4, "timeout": 30}

SECRET_KEY = "only this project uses this key, and it is long enough"
ALLOWED_HOSTS = ["red", "blue"]
DATABASES = {"default": dj_database_url.parse(os.environ["TENANTS_URL"])}
if POOL:
    DATABASES["default"]["OPTIONS"] = {"pool": POOL_OPTIONS}
    if POLICIES:
        from mysite.pools import forget_tenant

        POOL_OPTIONS["reset"] = forget_tenant
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "table": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "fragments",
    },
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "partstream",
    "tests.integration.tenants.rows",
]
MIDDLEWARE = [
    *(["mysite.tenants.TenantMiddleware"] if POLICIES else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SESSION_SAVE_EVERY_REQUEST = True
ROOT_URLCONF = "tests.integration.tenants.views"
# Of the tests.
PROJECT = "tests.integration.tenants.rows"
OWNER = "rows.Owner"
CLIENTS = 8
# All connections of the pool are taken at once, by threads that will wait for others.
GATHERS = 4
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

HOOKS = {
    "before_call": "mysite.tenants.before_call",
    "after_call": "mysite.tenants.after_call",
}
# More than clients: each may have a worker that waits for another.
OPTIONS = {"max_workers": 12, **(HOOKS if os.environ.get("HOOKS") else {})}
DJANGO_PARTSTREAM = {
    "ENABLE_RATE_LIMITING": False,
    "MAX_KEYS_PER_REQUEST": 50,
    "CACHE_STORE": os.environ.get(
        "STORE", "partstream.backends.caches.django_cache.DjangoCacheStore"
    ),
    "PART_EXECUTOR": {
        "BACKEND": "partstream.backends.executors.inline.InlineExecutor",
        "OPTIONS": OPTIONS,
    },
}
