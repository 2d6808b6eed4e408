from __future__ import annotations

from rest_framework import pagination


class Windows(pagination.LimitOffsetPagination):
    default_limit = 2


class Soonest(pagination.CursorPagination):
    page_size = 2
    ordering = ("due", "id")
