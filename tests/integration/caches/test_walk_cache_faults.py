"""A walk whose cache store goes down."""

from __future__ import annotations

import pytest

from partstream import cached_for, lazy
from tests.support.redis import needs_redis
from tests.support.walk_client import first_cursor, merged, walk
from tests.unit.walks.test_walk_cache import Shop

pytestmark = pytest.mark.usefixtures("empty_cache")


@needs_redis
@pytest.mark.parametrize("how", ["kill", "paused"])
def test_caching__where_the_store_is_down_all_is_delivered(
    client, serve, settings, redis_server, how, caplog
):
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis_server.url,
            "OPTIONS": {
                "SOCKET_TIMEOUT": 0.1,
                "SOCKET_CONNECT_TIMEOUT": 0.1,
                "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
            },
        }
    }
    settings.DJANGO_PARTSTREAM = {
        "CACHE_STORE": "partstream.backends.caches.redis.RedisCacheStore",
        "CACHE_MIN_DURATION": 0,
    }
    shop = Shop()
    parts = [*shop.parts(), ("kept", lazy(cached_for(60, shared=True)(shop.loader("kept"))))]
    url = serve(parts=parts, chunk_size=1)
    token = first_cursor(client, url)
    if how == "kill":
        redis_server.kill()
        rest = merged(walk(client, url, token))
    else:
        with redis_server.paused():
            rest = merged(walk(client, url, token))
    assert rest.keys() == {"news", "orders", "stock", "plan", "kept"}
    assert rest["orders"][2][0] == "rates"
    outages = [record for record in caplog.records if "is not used until" in record.getMessage()]
    assert len(outages) == 1
