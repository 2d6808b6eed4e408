"""What the library cannot do, and how its API says so."""

from __future__ import annotations

from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback


class BookLost(Exception):
    """Nothing is to be written for a book that is lost."""


def handle(error, context):
    if isinstance(error, BookLost):
        set_rollback()
        return Response({"detail": str(error)}, status=409)
    return exception_handler(error, context)
