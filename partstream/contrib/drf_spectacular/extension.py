"""The extension by which drf-spectacular finds the schema of views that deliver parts."""

from __future__ import annotations

import re
from functools import wraps
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.openapi import AutoSchema

from .operations import PartsSchema


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
