"""What becomes of requests while a real Redis server is away, hangs, and comes back."""

from __future__ import annotations

import logging
from time import monotonic

import pytest

from partstream.backends.loader import get_rate_limit_store
from tests.support.concurrency import wait_until
from tests.support.redis import needs_redis

pytestmark = needs_redis

STORES = {
    "RedisRateLimitStore": "partstream.backends.rate_limits.redis.RedisRateLimitStore",
    "DjangoCacheRateLimitStore": (
        "partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore"
    ),
}


@pytest.fixture(params=STORES)
def ask(request, redis_server, settings, serve, client):
    """The status of a request, under a policy, and the seconds that it took."""
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis_server.url,
            "OPTIONS": {"SOCKET_TIMEOUT": 0.2, "SOCKET_CONNECT_TIMEOUT": 0.2},
        }
    }

    def under(policy):
        settings.DJANGO_PARTSTREAM = {
            "ENABLE_RATE_LIMITING": True,
            "RATE_LIMIT": 3,
            "BURST_LIMIT": None,
            # Two seconds by default.
            "RATE_LIMIT_STORE": {
                "BACKEND": STORES[request.param],
                "OPTIONS": {"retry_after": 0.3},
            },
            "RATE_LIMIT_ON_STORE_ERROR": policy,
        }
        assert type(get_rate_limit_store()).__name__ == request.param

        def ask():
            started = monotonic()
            answer = client.get(url)
            return answer.status_code, monotonic() - started

        return ask

    return under


POLICIES = {"local": [200, 200, 200, 429], "open": [200] * 4, "closed": [503] * 4}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_fault__the_policy_applies_until_the_server_is_back(
    ask, redis_server, caplog, policy, fault
):
    """Guard 17: no 500, little delay, and counted again soon after the return."""
    caplog.set_level(logging.CRITICAL)
    asked = ask(policy)
    assert asked()[0] == 200
    if fault == "killed":
        redis_server.kill()
        answers = [asked() for _ in range(4)]
        redis_server.start()
    else:
        with redis_server.paused():
            answers = [asked() for _ in range(4)]
    assert [status for status, _ in answers] == POLICIES[policy]
    # One waits for the server; the breaker keeps the others from it.
    assert answers[0][1] < 0.3 + 1  # A second for a busy machine.
    assert sum(seconds for _, seconds in answers[1:]) < 1
    undecided = get_rate_limit_store().undecided
    # It is tried again, with a request that comes then.
    started = monotonic()
    wait_until(lambda: asked() and get_rate_limit_store()._breaker._retry_at is None)
    assert monotonic() - started < 5
    assert undecided >= 4
