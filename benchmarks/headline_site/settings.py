"""Settings of the headline benchmark: those of the demo site, as a server would have them.

Environment variables, beyond those of the demo site:
    HEADLINE_COUNT_QUERIES: "1" puts the number of queries of each response into its headers.
"""

from __future__ import annotations

import os

import dj_database_url

from shopsite.settings import *  # noqa: F403
from shopsite.settings import INSTALLED_APPS, MIDDLEWARE

DEBUG = False
SECRET_KEY = "the benchmarks' own secret, of a good length"
ROOT_URLCONF = "headline_site.urls"
WSGI_APPLICATION = None
INSTALLED_APPS = [*INSTALLED_APPS, "headline_site"]
if os.environ.get("HEADLINE_COUNT_QUERIES") == "1":
    MIDDLEWARE = ["headline_site.queries.count_queries", *MIDDLEWARE]
# A connection is kept between requests, as a server with some load would have it.
DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# All clients of the benchmark have one address, so the limits of one client would stop them.
DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False}
# The view with a time budget is served by one process.
SILENCED_SYSTEM_CHECKS = ["partstream.W006"]
LOGGING_CONFIG = None
