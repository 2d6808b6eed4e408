"""The response: its content is ready when it is made, put together from fragments."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from django.http import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils.cache import get_conditional_response
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from .prototypes import Prototype
from .renderers import JSON, is_json, own_json_renderer, show_unchanged

#: The maximum length of ``Link`` in characters. It keeps all of partstream's headers below 2 KB: a
#: proxy's buffer for response headers may hold only 4 KB, including the project's own.
LONGEST_LINK: Final = 1500

#: ``Cache-Control``: each response is for one client alone.
NOT_STORED: Final = "private, no-store"
#: ``Vary``: the headers of the request that a response depends on.
VARY: Final = "Accept, Authorization, Cookie"


_get_content: Final[Any] = SimpleTemplateResponse.content.fget
_set_content: Final[Any] = SimpleTemplateResponse.content.fset


@lru_cache(maxsize=8)
def _prototype(cache_control: str) -> Prototype:
    return Prototype({"Content-Type": JSON, "Cache-Control": cache_control, "Vary": VARY})


class _Unread(Enum):
    """Marks the data of a response as not yet read. An enum keeps its identity in a cache."""

    UNREAD = "unread"


_UNREAD: Final = _Unread.UNREAD


class PartsResponse(Response):
    """A DRF response whose JSON bytes are ready from the start.

    ``content`` can be read at any time. ``data`` is decoded at its first use. `render` renders it
    as DRF does if something has read or assigned it before (a project's ``finalize_response``, a
    middleware), or if no JSON renderer was negotiated. The project's JSON renderer has written the
    data of the parts already, so it is not asked again: it would change the protocol's own keys.

    Args:
        body: The JSON bytes.
        cache_control: The ``Cache-Control`` header.
    """

    def __init__(self, body: bytes = b"", cache_control: str = NOT_STORED) -> None:
        # Skips DRF's own constructor, which prepares data for rendering.
        self.__dict__ = _prototype(cache_control).attributes()
        self.exception = False
        # None lets DRF's rendering set the content type.
        self.content_type = None
        self._body = body
        self._data: Any = _UNREAD

    @property
    def data(self) -> Any:
        """The envelope as Python data."""
        if self._data is _UNREAD:
            self._data = json.loads(self._body) if self._body else {}
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._data = value

    @property
    def content(self) -> bytes:
        """The bytes: the JSON at first, the negotiated renderer's output after `render`."""
        body: bytes = _get_content(self) if self.is_rendered else self._body
        return body

    @content.setter
    def content(self, value: Any) -> None:
        _set_content(self, value)

    @property
    def rendered_content(self) -> Any:
        """The bytes for the negotiated renderer: the original ones if they still fit."""
        if self._can_serve_body():
            return self._body
        if self._data is not _UNREAD:
            self.headers.pop("ETag", None)  # It belonged to the data as it was.
        self._keep_keys()
        return super().rendered_content

    def _keep_keys(self) -> None:
        """Let no renderer of the project's rename the protocol's keys."""
        renderer: Any = getattr(self, "accepted_renderer", None)
        if is_json(renderer):
            self.accepted_renderer = JSONRenderer()
        elif isinstance(renderer, BrowsableAPIRenderer):
            view = (getattr(self, "renderer_context", None) or {}).get("view")
            if view is not None and own_json_renderer(view.get_renderers()) is not None:
                show_unchanged(renderer, self.data)

    def _can_serve_body(self) -> bool:
        return self._data is _UNREAD and (not self._body or self._is_plain_json())

    def _is_plain_json(self) -> bool:
        renderer: Any = getattr(self, "accepted_renderer", None)
        return (
            is_json(renderer)
            and getattr(renderer, "compact", True)
            and getattr(self, "accepted_media_type", None) == JSON
            and (getattr(self, "renderer_context", None) or {}).get("indent") is None
        )


def next_link(query: str) -> str | None:
    """The ``Link`` to the next chunk (RFC 8288), from the query that asks for it.

    Returns:
        None if it would be longer than `LONGEST_LINK`: the body has the token, too.
    """
    link = f'<{query}>; rel="next"'
    return link if len(link) <= LONGEST_LINK else None


def conditional(request: Request, response: PartsResponse) -> HttpResponseBase:
    """The response with an ETag, or 304 if the client has the same response already."""
    body = response.content
    digest = hashlib.sha256(body + request.accepted_media_type.encode()).hexdigest()[:32]
    etag = response.headers["ETag"] = f'W/"{digest}"'
    answer: HttpResponseBase | None = get_conditional_response(
        request._request, etag, response=response
    )
    if answer is not None and answer.status_code == 304:
        # Like the original without its body: a project's finalize_response finds what it expects.
        unchanged = PartsResponse(cache_control=response.headers["Cache-Control"])
        unchanged.status_code = 304
        unchanged.headers["ETag"] = etag
        del unchanged.headers["Content-Type"]
        return unchanged
    return answer or response
