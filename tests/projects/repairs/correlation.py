"""The project's own ids of requests."""

from __future__ import annotations

from uuid import uuid4


class CorrelationMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.correlation_id = request.headers.get("X-Correlation-ID") or str(uuid4())
        response = self.get_response(request)
        response["X-Correlation-ID"] = request.correlation_id
        return response


def correlation_id(request):
    """For the setting `REQUEST_ID` of partstream."""
    return request.correlation_id
