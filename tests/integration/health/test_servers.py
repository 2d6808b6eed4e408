"""The health check of projects whose servers hang, die, or do not let them in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from io import StringIO
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import path

from partstream.backends.loader import get_cache_store, get_rate_limit_store
from partstream.health import HealthCheckView, run_probes
from partstream.health.shared_run import get_shared_run
from tests.docs.markdown import DOCS, blocks
from tests.docs.runner import commands, same_output
from tests.support import marks, memcached
from tests.support.concurrency import PATIENCE, soon, wait_until
from tests.support.contracts.redis_faults import killed, locked, read_only, stopped
from tests.support.memcached import needs_pymemcache
from tests.support.redis import needs_redis

#: Seconds that the clients of these caches would wait.
LONG = 600
#: Seconds that the health check may take: a busy machine needs them for what works.
TIMEOUT = 3

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"
MEMCACHED = "django.core.cache.backends.memcached.PyMemcacheCache"
STORES = {
    "stores in Redis": (
        "partstream.backends.caches.redis.RedisCacheStore",
        "partstream.backends.rate_limits.redis.RedisRateLimitStore",
    ),
    "stores over a cache": (
        "partstream.backends.caches.django_cache.DjangoCacheStore",
        "partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore",
    ),
}
OF_SERVERS = ["cache_store", "rate_limit_store"]


def cache_at(url, backend=DJANGO_REDIS):
    """The settings of a cache that waits as long as it can."""
    timeouts = ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
    if backend == DJANGO:
        timeouts = tuple(map(str.lower, timeouts))
    # django-redis keeps a pool for each URL.
    unshared = f"{url}{'&' if '?' in url else '?'}client_name={uuid4().hex}"
    return {"BACKEND": backend, "LOCATION": unshared, "OPTIONS": dict.fromkeys(timeouts, LONG)}


def configured(kind, **others):
    cache_store, rate_limit_store = STORES[kind]
    return {
        "CACHE_STORE": cache_store,
        "RATE_LIMIT_STORE": rate_limit_store,
        "ENABLE_RATE_LIMITING": True,
        **others,
    }


@pytest.fixture(params=STORES)
def kind(request):
    return request.param


@pytest.fixture
def project(settings, mount):
    """Makes this process's project use a cache, and waits for the end of the threads it left."""

    def project(cache, kind):
        settings.CACHES = {"default": cache}
        settings.DJANGO_PARTSTREAM = configured(kind)
        mount(path("health/", HealthCheckView.as_view(timeout=TIMEOUT)))

    yield project
    caches["default"].close()
    wait_until(lambda: not probe_threads())


def probe_threads():
    return [thread for thread in threading.enumerate() if thread.name == "partstream-probe"]


def failed(results):
    return {result.name: result.message for result in results if not result.ok}


def run_command(tmp_path, cache, declared, *arguments):
    """The exit code of the command in a process of its own, and what it writes."""
    (tmp_path / "own_settings.py").write_text(
        "import os\n"
        "from tests.settings import *\n"
        'del os.environ["PARTSTREAM_ENABLE_RATE_LIMITING"]\n'
        f"CACHES = {{'default': {cache!r}}}\nDJANGO_PARTSTREAM = {declared!r}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "django", "partstream_health_check", *arguments],
        env={
            **{name: text for name, text in os.environ.items() if "PARTSTREAM" not in name},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), *sys.path])),
            "DJANGO_SETTINGS_MODULE": "own_settings",
        },
        capture_output=True,
        text=True,
        # Far less than its clients would wait.
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


# Hanging


@marks.timed
@needs_redis
@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGO])
def test_command__of_a_server_that_hangs_ends_in_time_with_exit_code_1(
    tmp_path, redis_server, backend
):
    cache = cache_at(redis_server.url, backend)
    declared = configured("stores over a cache")
    code, out, _ = run_command(tmp_path, cache, declared, "--format=json", "--timeout=10")
    assert (code, json.loads(out)["status"]) == (0, "ok")
    with redis_server.paused():
        code, out, error = run_command(tmp_path, cache, declared, "--format=json", "--timeout=2")
    assert code == 1
    assert error == "CommandError: 2 of 5 probes failed: cache_store, rate_limit_store.\n"
    report = json.loads(out)
    assert report["status"] == "error"
    for probe in report["probes"]:
        assert probe["ok"] is (probe["name"] not in OF_SERVERS)
        if not probe["ok"]:
            assert probe["message"] == "no answer within 2 s"
            assert 1.5 < probe["seconds"] < 2 + 10


@marks.timed
@needs_redis
def test_command__says_of_a_server_that_hangs_what_the_documentation_says(tmp_path, redis_server):
    [shown] = [
        block for block in blocks(DOCS / "health.md") if "redis.TimeoutError" in block.source
    ]
    [(_, output)] = commands(shown.source)
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": redis_server.url}
    with redis_server.paused():
        _, out, error = run_command(tmp_path, cache, configured("stores in Redis"))
    assert same_output(output, f"{out}{error}".strip())


@marks.timed
@needs_redis
def test_command__knows_a_hanging_server_by_the_timeouts_of_the_stores(tmp_path, redis_server):
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": redis_server.url}
    with redis_server.paused():
        code, out, _ = run_command(
            tmp_path, cache, configured("stores in Redis"), "--format=json", "--timeout=30"
        )
    assert code == 1
    found = {probe["name"]: probe["message"] for probe in json.loads(out)["probes"]}
    assert "redis.TimeoutError" in found["cache_store"]
    assert "redis.TimeoutError" in found["rate_limit_store"]


@contextmanager
def full_backlog():
    """The URL of a server that never takes a connection: its queue of them is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(50):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@marks.timed
@needs_redis
def test_command__of_a_server_that_takes_no_connection_ends_in_time(tmp_path):
    with full_backlog() as url:
        code, out, _ = run_command(
            tmp_path,
            cache_at(url),
            configured("stores over a cache"),
            "--format=json",
            "--timeout=2",
        )
    assert code == 1
    found = {probe["name"]: probe["message"] for probe in json.loads(out)["probes"]}
    assert [found[name] for name in OF_SERVERS] == ["no answer within 2 s"] * 2


@marks.timed
@needs_redis
def test_view__of_a_server_that_hangs_is_503_and_200_when_it_goes_on(project, redis_server):
    project(cache_at(redis_server.url), "stores over a cache")
    assert Client().get("/health/").status_code == 200
    get_shared_run().reset()
    with redis_server.paused(), soon():
        answer = Client().get("/health/")
        assert (answer.status_code, answer.json()) == (503, {"status": "error"})
    wait_until(lambda: not probe_threads())
    get_shared_run().reset()
    assert Client().get("/health/").status_code == 200


@marks.timed
@needs_redis
def test_probes__of_a_server_that_hangs_do_not_pile_up(project, redis_server):
    project(cache_at(redis_server.url), "stores over a cache")
    assert failed(run_probes(PATIENCE)) == {}
    with redis_server.paused():
        assert failed(run_probes(0.5)) == dict.fromkeys(OF_SERVERS, "no answer within 0.5 s")
        with soon():
            for _ in range(30):
                again = failed(run_probes(0.5))
                assert list(again) == OF_SERVERS
                assert all(text.startswith("still no answer, ") for text in again.values())
        assert len(probe_threads()) == len(OF_SERVERS)
        # Requests are served meanwhile: no breaker is open, and none is needed.
        assert get_cache_store()._breaker._retry_at is None
        assert get_rate_limit_store()._breaker._retry_at is None
    wait_until(lambda: not probe_threads())
    assert failed(run_probes(PATIENCE)) == {}


# Gone

#: Fault -> a part of what is said of it.
SAYS = {
    killed: "Connection",
    stopped: "",
    read_only: "redis.ReadOnlyError",
    locked: "redis.AuthenticationError",
}


@marks.timed
@needs_redis
@pytest.mark.parametrize("fault", SAYS)
def test_probes__find_a_fault_and_its_end(project, redis_server, kind, fault):
    project(cache_at(redis_server.url), kind)
    assert failed(run_probes(PATIENCE)) == {}
    with fault(redis_server, None):
        found = failed(run_probes(TIMEOUT))
        assert list(found) == OF_SERVERS
    wait_until(lambda: not probe_threads())
    assert failed(run_probes(PATIENCE)) == {}
    for text in found.values():
        assert SAYS[fault] in text


@needs_redis
def test_probes__find_a_cache_that_ignores_that_its_server_is_gone(project):
    cache = cache_at("unix:///no/such.sock")
    cache["OPTIONS"]["IGNORE_EXCEPTIONS"] = True
    project(cache, "stores over a cache")
    assert failed(run_probes(PATIENCE)) == {
        "cache_store": "DjangoCacheStore: an entry was written, and not found again",
        "rate_limit_store": "DjangoCacheRateLimitStore: partstream.ServiceFault",
    }


@needs_pymemcache
def test_probes__find_that_memcached_is_gone(project):
    with memcached.server(memcached.demand_server()) as location:
        project({"BACKEND": MEMCACHED, "LOCATION": location}, "stores over a cache")
        assert failed(run_probes(PATIENCE)) == {}
    reason = "FileNotFoundError (No such file or directory)"
    assert failed(run_probes(PATIENCE)) == {
        "cache_store": f"DjangoCacheStore: {reason}",
        "rate_limit_store": f"DjangoCacheRateLimitStore: {reason}",
    }


@needs_redis
def test_probes__leave_nothing_behind(project, redis_server, kind):
    project(cache_at(redis_server.url), kind)
    assert failed(run_probes(PATIENCE)) == {}
    # A counter in Redis ends with its window of a second.
    wait_until(lambda: caches["default"].keys("*") == [])


# Secrets


@needs_redis
@pytest.mark.parametrize(
    "location",
    [
        "unix://:hunter2@SOCKET?db=0",
        "unix://SOCKET?db=0&password=hunter2",
        "redis://:hunt/er2@host:6379",
        "redis://:hunter2@127.0.0.1:1/0",
        "hunter2://127.0.0.1",
    ],
)
def test_command__shows_no_password_of_a_cache(settings, redis_server, kind, location):
    settings.CACHES = {
        "default": {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": location.replace("SOCKET", redis_server.socket),
        }
    }
    settings.DJANGO_PARTSTREAM = configured(kind)
    out = StringIO()
    with locked(redis_server, None), pytest.raises(CommandError) as caught:
        call_command("partstream_health_check", "--verbosity=2", stdout=out, no_color=True)
    text = out.getvalue() + str(caught.value)
    assert "cache_store, rate_limit_store" in text
    assert "hunt" not in text
    assert "er2" not in text


@needs_redis
@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1", "redis://:hunt/er2@127.0.0.1:1"])
def test_command__shows_no_password_of_a_cluster(tmp_path, url):
    declared = configured("stores in Redis")
    for name in ("CACHE_STORE", "RATE_LIMIT_STORE"):
        declared[name] = {"BACKEND": declared[name], "OPTIONS": {"cluster_url": url}}
    cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    code, out, error = run_command(tmp_path, cache, declared, "--verbosity=2", "--traceback")
    assert code == 1
    assert "cache_store, rate_limit_store" in error
    assert "hunt" not in out + error
    assert "er2" not in out + error
