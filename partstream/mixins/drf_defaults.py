"""Where a view leaves something to DRF, so that the same can be had in fewer steps.

A project, a mixin or a tracer may override or patch any of DRF's methods. Then they do the work.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from django.http import HttpRequest
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

#: Attributes of an instance that change which methods it allows, as those of view sets. Django sets
#: ``head`` on each instance that has ``get``.
METHOD_ATTRIBUTES: Final = frozenset(
    {"action_map", "http_method_names", *APIView.http_method_names} - {"head"}
)

#: DRF's own, to notice when something has replaced them.
_PERFORM_AUTHENTICATION: Final = APIView.perform_authentication
_USER: Final[object] = Request.user


def has_fixed_methods(view_class: Any, mixin: type) -> bool:
    """Whether all instances of a class allow the same methods, unless they set some themselves.

    Args:
        view_class: The view's class.
        mixin: The mixin that asks; the classes after it count.
    """
    return _is_drfs(view_class, mixin, "default_response_headers") and all(
        getattr(view_class, name, None) is getattr(APIView, name, None)
        for name in ("allowed_methods", "_allowed_methods")
    )


def authenticate_directly(request: Any, view_class: Any, mixin: type) -> bool:
    """Authenticate a request as ``request.user`` does, if that is what DRF would do.

    DRF's property raises and catches an AttributeError to see that it has not authenticated yet.
    That takes longer than authenticating an anonymous visitor.

    Args:
        request: The request.
        view_class: The view's class.
        mixin: The mixin that asks; the classes after it count.

    Returns:
        Whether it is done.
    """
    if (
        type(request) is not Request
        or "_user" in vars(request)
        or APIView.perform_authentication is not _PERFORM_AUTHENTICATION
        or Request.user is not _USER
        or not _authenticates_as_drf(view_class, mixin)
    ):
        return False
    request._authenticate()  # type: ignore[attr-defined]
    return True


@lru_cache(maxsize=1024)
def _authenticates_as_drf(view_class: Any, mixin: type) -> bool:
    return _has_known_names() and _is_drfs(view_class, mixin, "perform_authentication")


def _has_known_names() -> bool:
    """Whether DRF's request authenticates by ``_authenticate`` and keeps the user in ``_user``."""
    request: Any = Request(HttpRequest(), negotiator=DefaultContentNegotiation())
    request.user = None
    return hasattr(request, "_authenticate") and "_user" in vars(request)


def _is_drfs(view_class: Any, mixin: type, name: str) -> bool:
    """Whether an attribute is DRF's own in the classes after the mixin."""
    found: object = getattr(super(mixin, view_class), name, None)
    return found is getattr(APIView, name)
