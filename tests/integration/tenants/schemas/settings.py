"""A project of django-tenants on kept connections; HOOKS in the environment sets ours."""

from __future__ import annotations

import os

import dj_database_url

SECRET_KEY = "only this project uses this key, and it is long enough"
ALLOWED_HOSTS = ["red", "blue"]
DATABASES = {
    "default": {
        **dj_database_url.parse(os.environ["TENANTS_URL"]),
        "ENGINE": "django_tenants.postgresql_backend",
        "CONN_MAX_AGE": 60,
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "tests.integration.tenants.schemas"]
TENANT_APPS = ["django.contrib.contenttypes", "tests.integration.tenants.schemas"]
INSTALLED_APPS = [*SHARED_APPS, "rest_framework", "partstream"]
TENANT_MODEL = "schemas.Tenant"
TENANT_DOMAIN_MODEL = "schemas.Domain"
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
ROOT_URLCONF = "tests.integration.tenants.views"
# Of the tests.
PROJECT = "tests.integration.tenants.schemas"
OWNER = "schemas.Owner"
CLIENTS = 6
GATHERS = 1
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

HOOKS = {
    "before_call": "partstream.contrib.django_tenants.before_call",
    "after_call": "partstream.contrib.django_tenants.after_call",
}
# More than clients: each may have a worker that waits for another.
OPTIONS = {"max_workers": 12, **(HOOKS if os.environ.get("HOOKS") else {})}
DJANGO_PARTSTREAM = {
    "ENABLE_RATE_LIMITING": False,
    "MAX_KEYS_PER_REQUEST": 50,
    "PART_EXECUTOR": {
        "BACKEND": "partstream.backends.executors.inline.InlineExecutor",
        "OPTIONS": OPTIONS,
    },
}
