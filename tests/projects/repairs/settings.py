"""Bicycle workshops: each is a tenant with a host of its own, behind row-level security."""

from __future__ import annotations

import os

import dj_database_url

SECRET_KEY = "only the project of the workshops uses this key, and it is long enough"
ALLOWED_HOSTS = [".workshops.example"]
DATABASES = {
    "default": {**dj_database_url.parse(os.environ["PROJECT_DATABASE_URL"]), "CONN_MAX_AGE": 60},
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "rest_framework.authtoken",
    "partstream",
    "tests.projects.repairs",
]
MIDDLEWARE = [
    "tests.projects.repairs.correlation.CorrelationMiddleware",
    "tests.projects.repairs.tenants.WorkshopMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "djangorestframework_camel_case.middleware.CamelCaseMiddleWare",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "tests.projects.repairs.backends.StaffBackend",
]
ROOT_URLCONF = "tests.projects.repairs.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECURE_SSL_REDIRECT = False  # The proxy's.
SECURE_HSTS_SECONDS = 31536000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SILENCED_SYSTEM_CHECKS = ["security.W008"]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tests.projects.repairs.permissions.IsStaffOfWorkshop"],
    "DEFAULT_RENDERER_CLASSES": ["djangorestframework_camel_case.render.CamelCaseJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["djangorestframework_camel_case.parser.CamelCaseJSONParser"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_VERSION": "1.0",
    "ALLOWED_VERSIONS": ["1.0", "2.0"],
    "DEFAULT_PAGINATION_CLASS": "tests.projects.repairs.pagination.Pages",
    "EXCEPTION_HANDLER": "tests.projects.repairs.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

# What the team adds for partstream.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"partstream.audit": {"handlers": ["console"], "level": "WARNING"}},
}
HOOKS = {
    "before_call": "tests.projects.repairs.tenants.before_call",
    "after_call": "tests.projects.repairs.tenants.after_call",
}
DJANGO_PARTSTREAM = {
    "PART_EXECUTOR": {
        "BACKEND": "partstream.backends.executors.inline.InlineExecutor",
        "OPTIONS": HOOKS,
    },
    "REQUEST_ID": "tests.projects.repairs.correlation.correlation_id",
    "TRUSTED_PROXIES": ["10.0.0.0/8"],
}
