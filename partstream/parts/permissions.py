"""Permissions of parts that look at another view than the one that declares the part."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from partstream.exceptions import Misuse


class PartPermission:
    """A permission class of a part, and the view that it looks at.

    It stands in a part's ``permission_classes`` in place of the class, so it is called like one.

    Args:
        permission: DRF's permission class, or an operand such as ``IsAdminUser | IsOwner``.
        view: The class of the view, or an object with a ``queryset``; None: the view that declares
            the part.
    """

    __slots__ = ("_permission", "_view")

    def __init__(self, permission: Any, view: Any) -> None:
        self._permission = permission
        self._view = view

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PartPermission)
            and self._view is other._view
            and bool(self._permission == other._permission)
        )

    def __hash__(self) -> int:
        permission = self._permission
        # The operands of DRF 3.15.0 have no hash.
        return hash((id(self._view), permission if _has_hash(permission) else type(permission)))

    def __call__(self) -> PartPermission:
        """This object, where DRF's class would return an instance."""
        return self

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the permission grants access, see DRF's ``BasePermission``."""
        return bool(self._permission().has_permission(request, self._seen(request, view)))

    def _seen(self, request: Request, view: APIView) -> Any:
        other = self._view
        if other is None:
            return view
        if not isinstance(other, type):
            return other
        made: Any = other()
        made.request, made.args, made.kwargs, made.format_kwarg = request, (), {}, None
        if isinstance(made, ViewSetMixin):
            made.action_map, made.action = {"get": "list"}, "list"
        return made


def part_permissions(permissions: tuple[Any, ...], view: Any) -> tuple[Any, ...]:
    """The permission classes of a part, as they are kept.

    Args:
        permissions: The argument ``permission_classes`` of `lazy`.
        view: The argument ``permission_view``.

    Raises:
        Misuse: When the view is none that a permission can look at.
    """
    if view is not None:
        _check(permissions, view)
    elif all(map(_has_hash, permissions)):
        return permissions
    return tuple(PartPermission(permission, view) for permission in permissions)


def _check(permissions: tuple[Any, ...], view: Any) -> None:
    if not permissions:
        raise Misuse(
            f"lazy(permission_view={view!r:.80}) needs permission_classes, which look at it."
        )
    if isinstance(view, type):
        if issubclass(view, APIView):
            return
    elif hasattr(view, "queryset") or hasattr(view, "get_queryset"):
        return
    raise Misuse(
        f"lazy(permission_view={view!r:.80}): write the class of a view, for example OrderViewSet, "
        "or an object with a queryset."
    )


def _has_hash(permission: Any) -> bool:
    return isinstance(permission, Hashable)
