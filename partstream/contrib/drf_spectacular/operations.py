"""The operations of views that deliver parts: GET of a walk, of parts by key, of a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_doc
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from partstream.conf import get_settings
from partstream.security.validation import PART_NAME, TOKEN
from partstream.views import HybridProgressiveView, ProgressiveView
from partstream.viewsets import ProgressiveViewSetMixin
from partstream.wire import schemas

from .envelopes import envelope_of, parts_of, reference_to
from .streams import (
    STREAMS_ADDED,
    STREAMS_FULL,
    header_parameters,
    offers_streams,
    stream_responses,
    streams_among,
    without_streams,
)

_BODIES: Final = {
    "walk": "A chunk of the walk.",
    "parts": "The parts that were requested.",
    "manifest": "The parts that this user has.",
}
_REFUSED: Final = {
    "walk": "The cursor is not valid here (`cursor_invalid`), or the query is malformed "
    "(`request_invalid`).",
    "parts": "The keys are malformed (`keys_invalid`) or not parts of this user "
    "(`part_unknown`), or the query is malformed (`request_invalid`).",
    "manifest": "The query is malformed (`request_invalid`).",
}
_OF_CURSORS: Final = {
    409: "The parts have changed since the walk began (`cursor_stale`): start again.",
    410: "The cursor has expired (`cursor_expired`): start again.",
}


def delivery_of(view_class: type, initkwargs: Mapping[str, Any]) -> str | None:
    """What GET delivers on a route: ``walk``, ``parts`` or ``manifest``; None: something else.

    Args:
        view_class: The view.
        initkwargs: The arguments of ``as_view()`` for the route.
    """
    found: str | None = None
    if issubclass(view_class, ProgressiveViewSetMixin):
        found = initkwargs.get("progressive_delivery")
    elif issubclass(view_class, HybridProgressiveView):
        found = initkwargs.get("delivery", view_class.delivery) or "walk"
    elif issubclass(view_class, ProgressiveView):
        found = "walk"
    return found


class PartsSchema(AutoSchema):
    """drf-spectacular's schema of a view, where GET delivers parts."""

    @property
    def delivery(self) -> str | None:
        """What the operation delivers; None: it is not one of ours."""
        return delivery_of(type(self.view), vars(self.view)) if self.method == "GET" else None

    @property
    def streams(self) -> list[str]:
        """The media types of streams that the operation offers."""
        if self.delivery != "walk" or not offers_streams(self.view):
            return []
        return streams_among(super().map_renderers("media_type"))

    def map_renderers(self, attribute: str) -> list[Any]:
        """drf-spectacular's; of streams, only what ``?format=`` may be on the walk."""
        found: list[Any] = super().map_renderers(attribute)
        if attribute == "format" and self.streams:
            return found
        # An answer that is no stream is never written by their renderers.
        return without_streams(found, attribute)

    def get_operation_id(self) -> str:
        """drf-spectacular's, with the names of the path's arguments, so that it is unique."""
        path = self.path
        kept = api_settings.FORMAT_SUFFIX_KWARG
        try:
            if self.delivery is not None:
                self.path = re.sub(rf"\{{(?!{kept}\}})([\w-]+)\}}", r"\1", path)
            return super().get_operation_id()
        finally:
            self.path = path

    def get_description(self) -> str:  # type: ignore[override]
        """The docstring of the action or of the method, or of the project's view."""
        view: Any = self.view
        name = getattr(view, "action", self.method.lower())
        handler = getattr(type(view), name, None)
        text = "" if _is_ours(handler) else get_doc(handler)
        return text or next(filter(None, map(get_doc, self._get_classes())), "")

    def _get_classes(self) -> Iterator[type]:
        """The project's classes of which the view is made, each alone."""
        libraries = spectacular_settings.GET_LIB_DOC_EXCLUDES()
        for kind in type(self.view).__mro__:
            if kind in libraries:
                return
            if not _is_ours(kind) and vars(kind).get("__doc__"):
                yield kind

    def get_override_parameters(self) -> list[Any]:
        """The protocol's parameters, then those that the project adds or changes."""
        others = list(super().get_override_parameters())
        view: Any = self.view
        if self.delivery == "walk":
            schema: dict[str, Any] = {
                "type": "string",
                "pattern": f"^{TOKEN}$",
                "maxLength": get_settings().MAX_CURSOR_SIZE,
            }
            text = (
                "The token of the next chunk, or of a part to retry, from an earlier answer. "
                "Without it, a walk begins. Other parameters stay the same throughout a walk."
            )
            name = view.get_cursor_query_param()
            cursor = OpenApiParameter(name, schema, description=text)
            return [cursor, *header_parameters(self.streams, schema), *others]
        if self.delivery == "parts":
            parts = parts_of(self)
            names = {"enum": list(parts)} if parts else {"pattern": f"^{PART_NAME}$"}
            schema = {
                "type": "array",
                "items": {"type": "string", **names},
                "minItems": 1,
                "maxItems": view.get_max_keys_per_request(),
            }
            text = "The names of the parts, separated by commas."
            keys = OpenApiParameter(
                "keys", schema, required=True, description=text, style="form", explode=False
            )
            return [keys, *others]
        return others

    def get_response_serializers(self) -> Any:
        """The envelope with this view's parts, or the manifest; and the refusals."""
        delivery = self.delivery
        if delivery is None:
            return super().get_response_serializers()
        is_manifest = delivery == "manifest"
        body = reference_to(self, schemas.ManifestSerializer) if is_manifest else envelope_of(self)
        offered = self.streams
        text = _BODIES[delivery] + (STREAMS_ADDED if offered else "")
        found: dict[Any, Any] = {200: OpenApiResponse(body, text)}
        found |= stream_responses(self, offered)
        if api_settings.EXCEPTION_HANDLER is exception_handler:
            # A handler of the project's may answer in a form of its own.
            for status, text in self._get_refusals(delivery).items():
                error = reference_to(self, schemas.RequestErrorSerializer)
                found[status] = OpenApiResponse(error, text)
        return found

    def _is_list_view(self, serializer: Any = None) -> bool:
        # Of a view that has a paginator, too: its envelopes are not paginated.
        return self.delivery is None and super()._is_list_view(serializer)

    def _get_refusals(self, delivery: str) -> dict[int, str]:
        settings = get_settings()
        refusals = {400: _REFUSED[delivery]}
        if delivery == "walk":
            refusals |= _OF_CURSORS
        if settings.ENABLE_RATE_LIMITING or self.view.throttle_classes:
            refusals[429] = "Too many requests (`throttled`)."
        if settings.ENABLE_RATE_LIMITING and settings.RATE_LIMIT_ON_STORE_ERROR == "closed":
            refusals[503] = "Requests cannot be counted right now (`store_unavailable`)."
        if self.streams:
            refusals[503] = " ".join(filter(None, (STREAMS_FULL, refusals.get(503))))
        return refusals


def _is_ours(found: Any) -> bool:
    return str(getattr(found, "__module__", "")).partition(".")[0] == "partstream"
