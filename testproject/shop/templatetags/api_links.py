"""The links of an answer of the API, for its page in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import template
from django.http import QueryDict
from django.urls import NoReverseMatch, reverse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

register = template.Library()


@register.simple_tag
def api_links(view: APIView, request: Request, response: Response) -> list[tuple[str, str]]:
    """Where an answer leads, as pairs of a text and an address.

    The application's own query, such as `?visit=ID`, is kept: cursors are bound to it.
    """
    return [*_links(view, request, response)]


def _links(view: APIView, request: Request, response: Response) -> Iterator[tuple[str, str]]:
    query = request.query_params.copy()
    if hasattr(view, "get_protocol_parameters"):
        for name in view.get_protocol_parameters():
            query.pop(name, None)
    data: dict[str, Any] = response.data if isinstance(response.data, dict) else {}
    if data.get("cursor"):
        yield "Next chunk", _address(request.path, query, cursor=data["cursor"])
    for error in data.get("errors", ()):
        if "retry_cursor" in error:
            address = _address(request.path, query, cursor=error["retry_cursor"])
            yield f"Retry {error['part']}", address
    routes = view.get_links(request) if hasattr(view, "get_links") else {}
    if routes:
        yield "First chunk", _address(routes["walk"], query)
        yield "Manifest", _address(routes["manifest"], query)
        for name in data.get("parts", ()):
            yield f"Part {name}", _address(routes["parts"], query, keys=name)
    try:
        yield "Schema", reverse("schema")
    except NoReverseMatch:  # A site without one.
        return


def _address(path: str, query: QueryDict, **more: str) -> str:
    asked = query.copy()
    for name, value in more.items():
        asked[name] = value
    return f"{path}?{asked.urlencode()}" if asked else path
