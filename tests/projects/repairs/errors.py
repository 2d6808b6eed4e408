"""Errors of the domain, and how this API says errors."""

from __future__ import annotations

from rest_framework.response import Response
from rest_framework.views import exception_handler


class RepairError(Exception):
    """What the workshop cannot do; its text is for clients."""


class OutOfStock(RepairError):
    pass


def handle(error, context):
    if isinstance(error, RepairError):
        return Response({"error_code": type(error).__name__, "error_text": str(error)}, status=409)
    response = exception_handler(error, context)
    if response is not None:
        response.data = {"error_code": type(error).__name__, "error_text": response.data}
    return response
