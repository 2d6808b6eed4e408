"""The query of the request that comes next."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus


def next_query(response: Any, query: str, cursor: str) -> str:
    """The query that goes on after a response: the application's own, with the cursor.

    Args:
        response: A response to Django's test client.
        query: The query of that request.
        cursor: The token.
    """
    parameter = _cursor_parameter(response)
    others = [
        pair
        for pair in query.split("&")
        if pair and unquote_plus(pair.partition("=")[0]) != parameter
    ]
    return "&".join([*others, f"{parameter}={cursor}"])


def _cursor_parameter(response: Any) -> str:
    view = getattr(response, "renderer_context", {}).get("view")
    if view is None:  # REST framework did not render it: it is a stream.
        function = response.resolver_match.func
        view_class = getattr(function, "cls", None)
        view = None if view_class is None else view_class(**function.initkwargs)
    get_parameter = getattr(view, "get_cursor_query_param", None)
    return "cursor" if get_parameter is None else str(get_parameter())
