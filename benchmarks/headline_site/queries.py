"""Middleware that counts the queries of a response."""

from __future__ import annotations

from django.db import connection


def count_queries(get_response):
    """Put the number of queries on the request's connection into the header ``X-Queries``."""

    def middleware(request):
        ran = 0

        def count(execute, sql, params, many, context):
            nonlocal ran
            ran += 1
            return execute(sql, params, many, context)

        with connection.execute_wrapper(count):
            response = get_response(request)
        response.headers["X-Queries"] = str(ran)
        return response

    return middleware
