"""The headers of an answer: all of ours together are small, whatever is asked."""

from __future__ import annotations

import pytest
from django.test import Client

from partstream import HybridProgressiveView
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.keys import get_key_ring
from tests.support.walk_client import names

OURS = {
    "Link",
    "Content-Type",
    "Cache-Control",
    "ETag",
    "Vary",
    "X-Request-ID",
    "RateLimit-Policy",
    "RateLimit",
    "Retry-After",
    "Server-Timing",
}
QUERIES = {
    "none": "",
    "short": "x=1",
    "just fits": "x=" + "a" * 1300,
    "long": "x=" + "a" * 3003,
    "many": "&".join(f"x{number}=1" for number in range(900)),
    "escaped": "x=" + "%C3%A9" * 600,
    # Written out it is three times as long.
    "unescaped": "x=" + "\xe9" * 2000,
    "longest": "x=" + "a" * 8100,
}


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("size", [1024, 8192])
@pytest.mark.parametrize("count", [3, 2000])
@pytest.mark.parametrize("debugs", [False, True])
def test_headers__ours_are_below_two_kilobytes(serve, settings, query, size, count, debugs):
    settings.DEBUG = debugs
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_DEBUG_LOGGING": debugs,
        "MAX_CURSOR_SIZE": size,
        "MAX_KEYS_PER_REQUEST": 2000,
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT": 100_000,
        "BURST_LIMIT": 100_000,
    }
    keys = [f"{'n' * 60}{number}" for number in range(count)]
    chunk = 50 if debugs else 1
    url = serve(HybridProgressiveView, parts=[(key, 1) for key in keys], chunk_size=chunk)
    client = Client(HTTP_X_REQUEST_ID="r" * 64)
    first = client.get(url, QUERY_STRING=QUERIES[query])
    token = first.json()["cursor"]
    for path, parameter in [
        ("", ""),
        ("", f"cursor={token}"),
        ("", "cursor=" + "x" * 8000),
        ("parts/", "keys=" + ",".join(keys[:100])),
        ("parts/", "keys=?"),
        ("manifest/", ""),
    ]:
        given = "&".join(filter(None, (QUERIES[query], parameter)))
        answer = client.get(url + path, QUERY_STRING=given)
        assert answer.status_code in {200, 400}
        size_of_ours = sum(
            len(f"{name}: {value}\r\n") for name, value in answer.items() if name in OURS
        )
        assert size_of_ours < 2048
        if "Link" in answer.headers:
            assert len(given) < 1500
        elif answer.status_code == 200 and not path and answer.json()["cursor"]:
            assert len(QUERIES[query]) + len(answer.json()["cursor"] or "") > 1000


def test_headers__a_link_of_a_long_token_is_left_out(serve, client, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 8192}

    class Padding(SignedCursorCodec):
        def encode(self, payload, ttl):
            return super().encode(payload, ttl) + "." * 1500

        def decode(self, token, ttl):
            return super().decode(token.rstrip("."), ttl)

    url = serve(
        parts=[("a", 1), ("b", 2)],
        chunk_size=1,
        get_cursor_codec=lambda self: Padding(keys=get_key_ring()),
    )
    first = client.get(url)
    assert "Link" not in first.headers
    assert names(client.get(f"{url}?cursor={first.json()['cursor']}").json()) == ["b"]
