"""Settings of the streaming benchmark: no database, no middleware, no limits.

Environment variables:
    STREAMING_REDIS_URL: The Redis server where fragments are kept; without it, the process's
        memory.
    STREAMING_ORJSON: "1" has orjson write the parts, in place of DRF's encoder.
"""

from __future__ import annotations

import os

DEBUG = False
SECRET_KEY = "the benchmarks' own secret, of a good length"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "streaming_site.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "partstream",
    "streaming_site",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
}
# All clients of the benchmark have one address, so the limits of one client would stop them.
DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False}
REDIS_URL = os.environ.get("STREAMING_REDIS_URL")
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}}
    DJANGO_PARTSTREAM["CACHE_STORE"] = "partstream.backends.caches.redis.RedisCacheStore"
# The views with a time budget are served by one process.
SILENCED_SYSTEM_CHECKS = ["partstream.W006"]
LOGGING_CONFIG = None
