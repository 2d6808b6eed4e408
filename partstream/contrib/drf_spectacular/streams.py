"""Streams, as a schema describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from partstream.conf import get_settings
from partstream.mixins import StreamMixin
from partstream.renderers import STREAM_RENDERERS, NDJSONRenderer, SSERenderer

from .envelopes import envelope_of

#: What the description of a walk's response adds.
STREAMS_ADDED: Final = (
    " As `application/x-ndjson`: all parts that remain, one record a line. As `text/event-stream`: "
    "the same, one record an event, whose `id` is its cursor."
)
_NO_STREAM: Final = (
    "There is nothing to stream (`text/event-stream`): the stream has ended, or streams are "
    "switched off. A browser stops reconnecting."
)
#: Why a stream is refused, with status 503.
STREAMS_FULL: Final = "There is no room for another stream (`capacity`)."


def offers_streams(view: Any) -> bool:
    """Whether the walk of a view can be a stream."""
    return (
        isinstance(view, StreamMixin)
        and view.offers_streams(vars(view))
        and get_settings().MAX_STREAMS != 0
    )


def streams_among(media_types: Iterable[str]) -> list[str]:
    """The media types of streams, of those of a view's renderers."""
    own = set(media_types)
    return [each.media_type for each in STREAM_RENDERERS if each.media_type in own]


def without_streams(found: Iterable[Any], attribute: str) -> list[Any]:
    """Attributes of a view's renderers, without those of the renderers of streams."""
    of_streams = {getattr(each, attribute) for each in STREAM_RENDERERS}
    return [each for each in found if each not in of_streams]


def header_parameters(media_types: Iterable[str], schema: Mapping[str, Any]) -> list[Any]:
    """The header that resumes a stream, if one of these streams has it.

    Args:
        media_types: The media types of the streams that an operation offers.
        schema: The schema of a cursor.
    """
    if SSERenderer.media_type not in media_types:
        return []
    text = (
        "The `id` of the last event: `text/event-stream` goes on after it, whatever the "
        "cursor in the query. A browser's EventSource sends it by itself."
    )
    return [
        OpenApiParameter("Last-Event-ID", dict(schema), OpenApiParameter.HEADER, description=text)
    ]


def stream_responses(auto_schema: AutoSchema, media_types: Iterable[str]) -> dict[Any, Any]:
    """The responses that are streams, and the one that ends a browser's stream.

    Args:
        auto_schema: The schema of the view.
        media_types: The media types of the streams that the operation offers.
    """
    found: dict[Any, Any] = {}
    for media_type in media_types:
        # The schema of NDJSON is that of a line: OpenAPI knows no other way before 3.2.
        is_ndjson = media_type == NDJSONRenderer.media_type
        record = envelope_of(auto_schema, is_record=True) if is_ndjson else {"type": "string"}
        found[200, media_type] = OpenApiResponse(record)
    if SSERenderer.media_type in media_types:
        found[204] = OpenApiResponse(None, _NO_STREAM)
    return found
