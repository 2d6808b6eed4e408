"""The envelopes of views, as components of a schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    ComponentRegistry,
    ResolvedComponent,
    append_meta,
    build_array_type,
    build_object_type,
    get_doc,
)

from partstream.schemas import declared_parts
from partstream.viewsets import ProgressiveViewSetMixin
from partstream.wire import schemas

from .part_types import schema_of_part


class _Described:
    """Marks the components that this module makes itself."""


def parts_of(auto_schema: AutoSchema) -> dict[str, Any]:
    """Name -> schema of its data, of the declared parts; empty: they are not known."""
    parts = declared_parts(auto_schema.view)
    return {name: schema_of_part(auto_schema, part) for name, part in parts.items()}


def reference_to(auto_schema: AutoSchema, serializer_class: Any) -> Any:
    """A reference to the component of a serializer."""
    return auto_schema.resolve_serializer(serializer_class, "response").ref


def envelope_of(auto_schema: AutoSchema, *, is_record: bool = False) -> Any:
    """A reference to the envelope with the view's parts.

    Args:
        auto_schema: The schema of the view.
        is_record: Whether it is the record of a stream.
    """
    serializer: Any = schemas.RecordSerializer if is_record else schemas.EnvelopeSerializer
    parts = parts_of(auto_schema)
    if not parts:
        return reference_to(auto_schema, serializer)
    one_part = [
        build_object_type({name: schema}, required=[name], additionalProperties=False)
        for name, schema in parts.items()
    ]
    name = _component_name(auto_schema.view)
    result = _register(auto_schema, f"{name}Result", {"oneOf": one_part})
    # No answer has this form. It is the type of what a client collects.
    text = "All parts by name. Some may be missing: hidden, failed or not delivered yet."
    _register(auto_schema, f"{name}Parts", build_object_type(parts, list(parts), text))
    errors = build_array_type(reference_to(auto_schema, schemas.PartErrorSerializer))
    properties = {
        "results": build_array_type(result),
        "errors": errors,
        "cursor": append_meta({"type": "string"}, {"nullable": True}),
        "meta": reference_to(auto_schema, schemas.EnvelopeMetaSerializer),
    }
    if is_record:
        properties["stream_error"] = reference_to(auto_schema, schemas.StreamErrorSerializer)
    required = ["results", "cursor", "meta"]
    described = build_object_type(properties, required, get_doc(serializer))
    return _register(auto_schema, f"{name}{'Record' if is_record else 'Envelope'}", described)


def _component_name(view: Any) -> str:
    name = type(view).__name__
    if isinstance(view, ProgressiveViewSetMixin):
        words = view.get_action_name().split("_")
        name += "".join(word[:1].upper() + word[1:] for word in words)
    return name


def _register(auto_schema: AutoSchema, name: str, schema: Any) -> Any:
    """A reference to a component with this schema, whose name may get a number."""
    registry: ComponentRegistry = auto_schema.registry
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
