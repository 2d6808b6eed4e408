"""A stream that is written by hand, without partstream."""

from __future__ import annotations

import asyncio
import time

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.views import APIView

#: As long as the opening record of eight parts.
FIRST = b'{"results":[],"text":"' + b"x" * 400 + b'"}\n'
LAST = b'{"results":[]}\n'
#: Seconds between the two, so that they are not sent together.
PAUSE = 0.02


def _pieces():
    yield FIRST
    time.sleep(PAUSE)
    yield LAST


async def _async_pieces():
    yield FIRST
    await asyncio.sleep(PAUSE)
    yield LAST


class PlainView(APIView):
    """Two lines, the first of them at once."""

    def get(self, request):
        is_async = isinstance(request._request, ASGIRequest)
        return StreamingHttpResponse(
            _async_pieces() if is_async else _pieces(),
            content_type="application/x-ndjson",
            headers={"X-Accel-Buffering": "no"},
        )
