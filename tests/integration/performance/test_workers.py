"""Several workers over one Redis: their figures together are exact."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from partstream.performance import PerformanceMonitor
from partstream.performance.publication import publisher
from partstream.performance.recorder import recorder
from tests.support.processes import run_python
from tests.support.redis import needs_redis

pytestmark = needs_redis

WORKERS, THREADS, EACH = 4, 16, 10
REQUESTS = WORKERS * THREADS * EACH


@pytest.fixture
def redis_store(redis_server, settings):
    """This process is no worker, but shares the store."""
    settings.SECRET_KEY = "only these tests use this key, and it is long enough"
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_server.url}
    }
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore"}
    recorder.reset()
    publisher.reset()
    yield redis_server
    recorder.reset()
    publisher.reset()


def run_workers(url, tmp_path, count=WORKERS):
    code = f"import runpy, sys; sys.argv = ['worker', {url!r}, '{THREADS}', '{EACH}']; "
    code += "runpy.run_module('tests.integration.performance.worker', run_name='__main__')"
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: run_python(code, tmp_path), range(count)))


def test_workers__counts_are_exact(redis_store, tmp_path):
    run_workers(redis_store.url, tmp_path)
    monitor = PerformanceMonitor(window=900)
    assert monitor.get_workers() == WORKERS
    assert monitor.get_count("board/") == REQUESTS
    assert monitor.get_outcomes("board/") == {"part_errors": REQUESTS}
    assert monitor.get_error_rate() == 1
    assert monitor.get_outcomes("board/", "orders") == {"loader": REQUESTS}
    assert monitor.get_outcomes("board/", "rates") == {"part_failed": REQUESTS}
    assert monitor.get_average_queries("board/") == 0
    assert monitor.get_average_response_time() > 0
    # Not the sum: the largest worker.
    assert monitor.get_memory_usage() < monitor.get_gauges()["memory"]
    # Others continue the totals of workers that have ended, and add to them.
    run_workers(redis_store.url, tmp_path, 1)
    assert publisher.read(900).totals.select("response").count == REQUESTS + THREADS * EACH


def test_monitor__answers_while_redis_hangs(redis_store, tmp_path, caplog):
    run_workers(redis_store.url, tmp_path, 1)
    with redis_store.paused():
        # Redis itself would never answer.
        assert PerformanceMonitor().get_count() == 0
    assert "RedisCacheStore failed" in caplog.text


def test_monitor__without_the_secret_sees_nothing(redis_store, tmp_path, settings, caplog):
    run_workers(redis_store.url, tmp_path, 1)
    settings.SECRET_KEY = "another key of the same length, which signs other entries"
    assert PerformanceMonitor().get_count() == 0
    assert "is not used" in caplog.text
