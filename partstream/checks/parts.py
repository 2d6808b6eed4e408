"""What ``manage.py check`` reports about the parts that mounted views declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import getattr_static, isroutine
from typing import Any, Final

from django.core import checks
from django.views import View
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.views import APIView

from partstream.backends.loader import get_cache_store
from partstream.exceptions import Misuse
from partstream.mixins.base import PartsMixin
from partstream.parts.declaration import LazyPart, PartList
from partstream.parts.loader import Loader
from partstream.parts.permissions import PartPermission

#: Where the methods of a view that are no loaders come from.
_PACKAGES: Final = frozenset({"builtins", "django", "partstream", "rest_framework"})


def check_parts_exist(
    view_class: type[PartsMixin], callback: Any, fixed: Mapping[str, Any]
) -> None:
    """Raise `Misuse` if a mounted view declares no parts."""
    if "parts" not in fixed or fixed["parts"] is not None:
        return
    initkwargs = getattr(callback, "initkwargs", {})
    if view_class.get_parts is PartsMixin.get_parts and "get_parts" not in initkwargs:
        raise Misuse(
            f"{view_class.__name__} declares no parts. Set the attribute parts = [...], or define "
            "get_parts(self)."
        )


def part_messages(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> Iterator[Any]:
    """Warn about texts that are also the name of a method, in static parts."""
    part_list = _static_parts(view_class, fixed)
    for name, value in part_list or ():
        if isinstance(value, str) and _is_own_method(view_class, value):
            yield checks.Warning(
                f"{view_class.__name__}: part {name!r} is the text {value!r}, which is the name of "
                "a method, too.",
                hint=f"Write lazy({value!r}) to deliver what the method returns. If you mean the "
                'text, add "partstream.W018" to SILENCED_SYSTEM_CHECKS.',
                obj=view_class,
                id="partstream.W018",
            )


def permission_messages(
    view_class: type[PartsMixin], fixed: Mapping[str, Any], initkwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """Warn about permissions that look for a ``queryset`` where there is none."""
    attributes = {"queryset", "get_queryset"}
    if attributes & initkwargs.keys() or any(
        getattr_static(view_class, name, None) is not None for name in attributes
    ):
        return
    own = initkwargs.get("permission_classes", getattr_static(view_class, "permission_classes", ()))
    if view_class.get_permissions is APIView.get_permissions:
        for found in _model_permissions(own):
            yield checks.Warning(
                f"{view_class.__name__}: {found.__name__} needs the queryset of the view, which "
                "has none, so each request fails.",
                hint="Set queryset on the view, for example queryset = Order.objects.all().",
                obj=view_class,
                id="partstream.W022",
            )
    for name, part in _static_parts(view_class, fixed) or ():
        given = part.permission_classes if isinstance(part, LazyPart) else ()
        for found in _model_permissions(given):
            yield checks.Warning(
                f"{view_class.__name__}: {found.__name__} of part {name!r} needs a queryset, and "
                "the view has none, so the part is hidden from everyone.",
                hint="Write lazy(..., permission_view=...), with the view or the object whose "
                "queryset it should look at.",
                obj=view_class,
                id="partstream.W022",
            )


def _model_permissions(given: Any) -> Iterator[type]:
    """DRF's permissions that look for a ``queryset``, also those within operands."""
    for permission in given if isinstance(given, (list, tuple)) else ():
        if isinstance(permission, type):
            if issubclass(permission, DjangoModelPermissions):
                yield permission
        elif not isinstance(permission, PartPermission):  # It has the view that it looks at.
            operands = (getattr(permission, name, None) for name in ("op1_class", "op2_class"))
            yield from _model_permissions([each for each in operands if each is not None])


def sharing_messages_of_parts(
    view_class: type[PartsMixin], fixed: Mapping[str, Any]
) -> Iterator[Any]:
    """Warn about parts that each process caches for itself."""
    store = get_cache_store()
    if not store.keeps or store.shared:
        return
    part_list = _static_parts(view_class, fixed)
    names = [
        name
        for name, part in part_list or ()
        if isinstance(part, LazyPart) and _is_cached(view_class, part)
    ]
    if names:
        yield checks.Warning(
            f"{view_class.__name__}: each process caches {', '.join(names)} for itself, since "
            f"{type(store).__name__} is not shared. Each process runs the loader, and clients may "
            "see older data after newer.",
            hint="If you run more than one process, use a store that they share, such as "
            '"partstream.backends.caches.redis.RedisCacheStore".',
            obj=view_class,
            id="partstream.W019",
        )


def _static_parts(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> PartList | None:
    """The static parts of a view; None: ``get_parts()`` determines them."""
    if fixed.get("parts") is None or view_class.get_parts is not PartsMixin.get_parts:
        return None
    return view_class.build_part_list(fixed["parts"])


def _is_own_method(view_class: type, name: str) -> bool:
    """Whether the project defines a method of this name for the view."""
    owner = next((base for base in view_class.__mro__ if name in vars(base)), object)
    if owner.__module__.partition(".")[0] in _PACKAGES or name in View.http_method_names:
        return False
    found = vars(owner)[name]
    return isroutine(found) or isinstance(found, Loader)


def _is_cached(view_class: type, part: LazyPart) -> bool:
    """Whether `cached_for` wraps the loader, or the method that it names."""
    if isinstance(part.loader, Loader) and part.loader.caching is not None:
        return True
    found = getattr_static(view_class, part.method or "", None)
    return isinstance(found, Loader) and found.caching is not None
