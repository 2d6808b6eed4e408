from __future__ import annotations

import json
import os

import pytest

from tests.support.processes import run_python
from tests.support.requirements import demand

from .gates import gate
from .server_processes import STREAMING, serve

LOCAL_MEMORY = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}

MIGRATE = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createcachetable", verbosity=0)
"""


@pytest.fixture
def project(request, tmp_path):
    """The environment of a project with a database: PostgreSQL's, where the tests have that."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        url = request.getfixturevalue("database").url
    else:
        url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    environment = {
        "SERVERS_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.integration.servers.settings",
    }
    run_python(MIGRATE, tmp_path, **environment)
    return environment


@pytest.fixture
def on_postgresql(database, tmp_path):
    """The same, on PostgreSQL in any case."""
    environment = {
        "SERVERS_URL": database.url,
        "DJANGO_SETTINGS_MODULE": "tests.integration.servers.settings",
    }
    run_python(MIGRATE, tmp_path, **environment)
    return environment


def redis_cache(server):
    """The `cache` of `stream_from` for what several processes share."""
    demand("django_redis")
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}


@pytest.fixture
def opened():
    """The gate where loaders wait."""
    with gate() as opened:
        yield opened


@pytest.fixture
def stream_from(opened):
    """Starts servers of views that stream.

    ``stream_from(name, MIDDLEWARE=[...])`` is a context. Names in capitals are settings; others are
    arguments of `serve`, and variables of the environment in `environment`.
    """

    def start(name, *, environment=None, cache=None, **options):
        demand(*STREAMING[name][0])
        settings = {key: options.pop(key) for key in list(options) if key.isupper()}
        settings["CACHES"] = {"default": cache or LOCAL_MEMORY}
        return serve(
            name,
            **options,
            **{
                "SERVERS_URL": "sqlite://:memory:",
                "SERVERS_URLCONF": "tests.integration.servers.streaming_urls",
                "SERVERS_SETTINGS": json.dumps(settings),
                **opened.environment,
                **(environment or {}),
            },
        )

    return start
