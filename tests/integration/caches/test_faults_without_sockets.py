"""A process that has no file descriptor left."""

from __future__ import annotations

import pytest

from tests.support.processes import run_python


def test_fault__of_redis_without_a_socket_is_the_processs(tmp_path):
    pytest.importorskip("redis")
    code = """if True:
        import os, resource, redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
        from partstream.backends.faults import fault_of
        client = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1,) * 2)
        try:
            client.ping()
        except redis.ConnectionError as error:
            print(fault_of(error).name)
    """
    assert run_python(code, tmp_path) == "STARVED"
