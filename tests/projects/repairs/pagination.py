from __future__ import annotations

from rest_framework import pagination


class Pages(pagination.PageNumberPagination):
    page_size = 2
    page_size_query_param = "page_size"


class Windows(pagination.LimitOffsetPagination):
    default_limit = 2


class Newest(pagination.CursorPagination):
    page_size = 2
    ordering = "-created_at"
