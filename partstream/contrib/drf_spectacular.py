"""The OpenAPI schema of views that deliver parts, for drf-spectacular.

It is used as soon as ``drf_spectacular`` is in ``INSTALLED_APPS``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Final, cast

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    ComponentRegistry,
    ResolvedComponent,
    append_meta,
    build_array_type,
    build_object_type,
    get_doc,
    is_versioning_supported,
    modify_for_versioning,
    operation_matches_version,
)
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.exceptions import NotFound
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from partstream.conf import get_settings
from partstream.mixins import StreamMixin
from partstream.parts.endpoints import Endpoint
from partstream.renderers import STREAM_RENDERERS, NDJSONRenderer, SSERenderer
from partstream.schemas import declared_parts, endpoint_of, returned_by
from partstream.security.validation import PART_NAME, TOKEN
from partstream.views import HybridProgressiveView, ProgressiveView
from partstream.viewsets import ProgressiveViewSetMixin
from partstream.wire import schemas

_BODIES: Final = {
    "walk": "A chunk of the walk.",
    "parts": "The parts that were requested.",
    "manifest": "The parts that this user has.",
}
_STREAMS: Final = (
    " As `application/x-ndjson`: all parts that remain, one record a line. As `text/event-stream`: "
    "the same, one record an event, whose `id` is its cursor."
)
_NO_STREAM: Final = (
    "There is nothing to stream (`text/event-stream`): the stream has ended, or streams are "
    "switched off. A browser stops reconnecting."
)
_FULL: Final = "There is no room for another stream (`capacity`)."
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


class ProgressiveViewExtension(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    """Describes the routes that deliver parts; other routes are drf-spectacular's."""

    target_class = "partstream.mixins.base.PartsMixin"
    match_subclasses = True

    def view_replacement(self) -> Any:
        """The view, with a schema class that knows parts below the project's own."""
        view_class: Any = self.target
        if not isinstance(view_class.schema, AutoSchema):
            return view_class  # The project uses another generator for this view.
        schema_class = type(view_class.schema)
        kept = vars(view_class).get("_partstream_described")
        if kept is None or kept[0] is not schema_class:
            # One for all routes: drf-spectacular looks at how many classes there are.
            kept = (schema_class, _describe(view_class, schema_class))
            view_class._partstream_described = kept
        return kept[1]


def _describe(view_class: Any, schema_class: type) -> type:
    """A subclass of the view, with a schema that knows parts."""
    attributes = {"__module__": view_class.__module__, "schema": _arranged(schema_class)()}
    described = type(view_class.__name__, (view_class,), attributes)
    for name in dir(view_class):
        handler = getattr_static(view_class, name)
        # What @extend_schema leaves on a method.
        arguments = getattr(handler, "kwargs", None)
        own = arguments.get("schema") if isinstance(arguments, dict) else None
        if isinstance(own, type) and issubclass(own, AutoSchema):
            setattr(described, name, _with_schema(handler, _arranged(own, schema_class)))
    return described


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


def _arranged(*schema_classes: type) -> type[Any]:
    """A schema class: what these classes add comes first, so that it wins, then `PartsSchema`."""
    own = [
        kind
        for schema_class in schema_classes
        for kind in schema_class.__mro__
        if kind not in AutoSchema.__mro__
    ]
    return type("DescribedSchema", (_DistinctIds, *dict.fromkeys(own), PartsSchema), {})


def _with_schema(handler: Any, schema_class: type) -> Any:
    """A copy of a view's method with this schema class, where drf-spectacular looks for it."""

    @wraps(handler)
    def copy(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    copy.kwargs = {**handler.kwargs, "schema": schema_class}  # type: ignore[attr-defined]
    return copy


class PartsSchema(AutoSchema):
    """drf-spectacular's schema of a view, where GET delivers parts."""

    @property
    def delivery(self) -> str | None:
        """What the operation delivers; None: it is not one of ours."""
        return delivery_of(type(self.view), vars(self.view)) if self.method == "GET" else None

    @property
    def streams(self) -> list[str]:
        """The media types of streams that the operation offers."""
        view: Any = self.view
        if (
            self.delivery != "walk"
            or not isinstance(view, StreamMixin)
            or not view.offers_streams(vars(view))
            or get_settings().MAX_STREAMS == 0
        ):
            return []
        own = set(super().map_renderers("media_type"))
        return [each.media_type for each in STREAM_RENDERERS if each.media_type in own]

    def map_renderers(self, attribute: str) -> list[Any]:
        """drf-spectacular's; of streams, only what ``?format=`` may be on the walk."""
        found: list[Any] = super().map_renderers(attribute)
        if attribute == "format" and self.streams:
            return found
        # An answer that is no stream is never written by their renderers.
        of_streams = {getattr(each, attribute) for each in STREAM_RENDERERS}
        return [each for each in found if each not in of_streams]

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
            if SSERenderer.media_type not in self.streams:
                return [cursor, *others]
            text = (
                "The `id` of the last event: `text/event-stream` goes on after it, whatever the "
                "cursor in the query. A browser's EventSource sends it by itself."
            )
            last = OpenApiParameter(
                "Last-Event-ID", schema, OpenApiParameter.HEADER, description=text
            )
            return [cursor, last, *others]
        if self.delivery == "parts":
            parts = self._get_parts()
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
        if delivery == "manifest":
            body = self._ref(schemas.ManifestSerializer)
        else:
            body = self._describe_envelope()
        streams = self.streams
        text = _BODIES[delivery] + (_STREAMS if streams else "")
        found: dict[Any, Any] = {200: OpenApiResponse(body, text)}
        for media_type in streams:
            # The schema of NDJSON is that of a line: OpenAPI knows no other way before 3.2.
            is_ndjson = media_type == NDJSONRenderer.media_type
            record = self._describe_envelope(is_record=True) if is_ndjson else {"type": "string"}
            found[200, media_type] = OpenApiResponse(record)
        if SSERenderer.media_type in streams:
            found[204] = OpenApiResponse(None, _NO_STREAM)
        if api_settings.EXCEPTION_HANDLER is exception_handler:
            # A handler of the project's may answer in a form of its own.
            for status, text in self._get_refusals(delivery).items():
                found[status] = OpenApiResponse(self._ref(schemas.RequestErrorSerializer), text)
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
            refusals[503] = " ".join(filter(None, (_FULL, refusals.get(503))))
        return refusals

    def _describe_envelope(self, *, is_record: bool = False) -> Any:
        serializer: Any = schemas.RecordSerializer if is_record else schemas.EnvelopeSerializer
        parts = self._get_parts()
        if not parts:
            return self._ref(serializer)
        one_part = [
            build_object_type({name: schema}, required=[name], additionalProperties=False)
            for name, schema in parts.items()
        ]
        name = self._get_component_name()
        result = self._register(f"{name}Result", {"oneOf": one_part})
        # No answer has this form. It is the type of what a client collects.
        text = "All parts by name. Some may be missing: hidden, failed or not delivered yet."
        self._register(f"{name}Parts", build_object_type(parts, list(parts), text))
        errors = build_array_type(self._ref(schemas.PartErrorSerializer))
        properties = {
            "results": build_array_type(result),
            "errors": errors,
            "cursor": append_meta({"type": "string"}, {"nullable": True}),
            "meta": self._ref(schemas.EnvelopeMetaSerializer),
        }
        if is_record:
            properties["stream_error"] = self._ref(schemas.StreamErrorSerializer)
        required = ["results", "cursor", "meta"]
        described = build_object_type(properties, required, get_doc(serializer))
        return self._register(f"{name}{'Record' if is_record else 'Envelope'}", described)

    def _get_component_name(self) -> str:
        view: Any = self.view
        name = type(view).__name__
        if isinstance(view, ProgressiveViewSetMixin):
            words = view.get_action_name().split("_")
            name += "".join(word[:1].upper() + word[1:] for word in words)
        return name

    def _ref(self, serializer_class: Any) -> Any:
        return self.resolve_serializer(serializer_class, "response").ref

    def _register(self, name: str, schema: Any) -> Any:
        """A reference to a component with this schema, whose name may get a number."""
        registry: ComponentRegistry = self.registry
        for number in range(1, 1000):
            suffix = str(number) if number > 1 else ""
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name + suffix, ResolvedComponent.SCHEMA, schema, _Described
            )
            try:
                other = registry[component]
            except KeyError:
                registry.register(component)
                return component.ref
            if other.object is _Described and other.schema == schema:
                return component.ref
        raise ValueError(f"a thousand components are called {name}")

    def _get_parts(self) -> dict[str, Any]:
        """Name -> schema of its data, of the declared parts; empty: they are not known."""
        parts = declared_parts(self.view)
        return {name: schema_of_part(self, part) for name, part in parts.items()}


if TYPE_CHECKING:
    _Base = PartsSchema
else:
    _Base = object


class _DistinctIds(_Base):
    """Gives three routes three ids where the project gives them one, with @extend_schema."""

    def get_operation_id(self) -> str:
        """The id; with the delivery behind it, unless it depends on the path already."""
        found: str = super().get_operation_id()
        if self.delivery not in ("parts", "manifest"):
            return found
        path: str = self.path
        try:
            self.path = re.sub(rf"/?{self.delivery}(/?)$", r"\1", path)
            of_walk = super().get_operation_id()
        finally:
            self.path = path
        return f"{found}_{self.delivery}" if found == of_walk else found


class _Described:
    """Marks the components that `PartsSchema` makes itself."""


def schema_of_part(auto_schema: AutoSchema, part: Any) -> dict[str, Any]:
    """The schema of a part's data; empty where nothing is known: any JSON.

    Args:
        auto_schema: The schema of the view, where serializers become components.
        part: The part, as the view declares it.
    """
    returned = returned_by(part, type(auto_schema.view))
    if returned is None:
        return _schema_of_endpoint(auto_schema, endpoint_of(part))
    serializer_class: Any = returned.serializer_class
    component = auto_schema.resolve_serializer(serializer_class, "response")
    schema = component.ref if component else {}
    return build_array_type(schema) if returned.many else schema


def _schema_of_endpoint(auto_schema: Any, endpoint: Endpoint | None) -> dict[str, Any]:
    """The schema of what an endpoint answers; empty where nothing is known."""
    callbacks = [] if endpoint is None else endpoint.find_views()
    version = getattr(auto_schema.view.request, "version", None)
    enumerator: Any = EndpointEnumerator()
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    for path, path_regex, method, callback in enumerator.get_api_endpoints():
        if method != "GET" or callback not in callbacks:
            continue
        view = generator.create_view(callback, method)
        view.request = spectacular_settings.GET_MOCK_REQUEST(method, path, view, None)
        path = generator.coerce_path(path, method, view)
        if view.versioning_class is not None:
            path = _path_in_version(enumerator.patterns, path, view, version)
            if path is None:
                continue  # Another route may have this version.
        with _undisturbed(auto_schema):
            operation: Any = view.schema.get_operation(
                path, path_regex, "^/", method, auto_schema.registry
            )
        content = (operation or {}).get("responses", {}).get("200", {}).get("content", {})
        for media_type, found in content.items():
            if media_type.partition(";")[0] == "application/json":
                return dict(found.get("schema", {}))
        return {}
    return {}


@contextmanager
def _undisturbed(auto_schema: Any) -> Iterator[None]:
    """Describe something else within: another view of the class may have the same schema object.

    Complaints about that view are those of its own operation.
    """
    kept, stats = vars(auto_schema).copy(), cast(Any, GENERATOR_STATS)
    stats.emit = _ignore
    try:
        yield
    finally:
        del stats.emit
        vars(auto_schema).update(kept)


def _ignore(msg: str, severity: str) -> None:
    """Stands in for drf-spectacular's function that counts and prints complaints."""


def _path_in_version(patterns: Any, path: str, view: Any, version: str | None) -> str | None:
    """The path of a view in a version, which the view's request has then; None: it has no such.

    It prepares the view as drf-spectacular's generator does.
    """
    version = version or view.versioning_class.default_version
    if not version or not is_versioning_supported(view.versioning_class):
        return None
    modify: Any = modify_for_versioning
    found: str = modify(patterns, "GET", path, view, version)
    try:
        return found if operation_matches_version(view, version) else None
    except NotFound:  # The view has other versions.
        return None


def _is_ours(found: Any) -> bool:
    return str(getattr(found, "__module__", "")).partition(".")[0] == "partstream"
