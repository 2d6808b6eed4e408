"""Views whose streams are written by hand: their own walk, a chunk a record."""

from __future__ import annotations

import json
from io import BytesIO

from django.core.handlers.wsgi import WSGIRequest
from django.http import StreamingHttpResponse
from rest_framework.renderers import BaseRenderer

from partstream import HybridProgressiveView
from partstream.security.exemptions import is_exempt


class NDJSON(BaseRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def render(self, data, *args, **kwargs):
        return json.dumps(data).encode()


class SSE(NDJSON):
    media_type = "text/event-stream"
    format = "sse"


class ByHandMixin:
    """Streams a chunk a record; the stream ends after ``most_records``, as if its time was over."""

    most_records = 1000
    chunk_size = 1

    def get_renderers(self):
        return [*super().get_renderers(), NDJSON(), SSE()]

    def walk_response(self, request):
        form = request.accepted_renderer.format
        if form not in ("ndjson", "sse"):
            return super().walk_response(request)
        records = self.records(request, form == "sse")
        response = StreamingHttpResponse(records, request.accepted_renderer.media_type)
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def records(self, request, is_sse):
        environ = {**request._request.META, "wsgi.input": BytesIO(), "HTTP_ACCEPT": "*/*"}
        query = list(filter(None, environ["QUERY_STRING"].split("&")))
        if is_sse and (event_id := environ.pop("HTTP_LAST_EVENT_ID", None)):
            query = [pair for pair in query if not pair.startswith("cursor=")]
            query.append(f"cursor={event_id}")
        match, name = request._request.resolver_match, self.get_cursor_query_param()
        if is_sse:
            yield b"retry: 1000\n"
        for _ in range(self.most_records):
            environ["QUERY_STRING"] = "&".join(query)
            inner = WSGIRequest(dict(environ))
            inner.user, inner.resolver_match = request.user, match
            token = is_exempt.set(True)
            try:
                response = match.func(inner, *match.args, **match.kwargs)
            finally:
                is_exempt.reset(token)
            assert response.status_code == 200, response.data
            record, cursor = response.content, response.data["cursor"]
            if is_sse:
                yield b":\n\nid: " + (cursor or "END").encode() + b"\ndata: "
                yield record + b"\n\n"
            else:
                yield b" "
                yield record + b"\n"
            if cursor is None:
                return
            query = [pair for pair in query if not pair.startswith(f"{name}=")]
            query.append(f"{name}={cursor}")


class ByHand(ByHandMixin, HybridProgressiveView):
    """A view of that kind."""
