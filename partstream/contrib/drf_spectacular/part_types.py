"""The types of parts: the schema of a part's data, as far as it is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    build_array_type,
    is_versioning_supported,
    modify_for_versioning,
    operation_matches_version,
)
from drf_spectacular.settings import spectacular_settings
from rest_framework.exceptions import NotFound

from partstream.parts.endpoints import Endpoint
from partstream.schemas import endpoint_of, returned_by


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
