"""The ready-made views: the mixins combined and bound to GET."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import currentframe
from typing import Any, ClassVar, Literal, NoReturn

from django.urls import URLPattern, path
from django.utils.encoding import escape_uri_path
from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.exceptions import Misuse

from .mixins import ChunkMixin, CursorMixin, KeyAccessMixin, ManifestMixin, StreamMixin

Delivery = Literal["walk", "parts", "manifest"]


class ProgressiveView(StreamMixin, CursorMixin, ChunkMixin, APIView):
    """A view that clients walk: the first parts at once, the rest by cursors, or as one stream.

    Example::

        class ReportView(ProgressiveView):
            parts = [("meta", {"version": 1}), ("orders", lazy("get_orders"))]

            def get_orders(self, request):
                return list(Order.objects.values("id", "total")[:10])

        urlpatterns = [path("api/report/", ReportView.as_view())]
    """

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """One chunk of the walk; or all that remains of it, if the client wants a stream."""
        return self.walk_response(request)

    @classmethod
    def urls(cls, *_: Any, **__: Any) -> NoReturn:
        """It has one route, so mount it with ``as_view()``.

        Raises:
            Misuse: Always.
        """
        raise Misuse(
            f"{cls.__name__} has one route, the walk. Write path(..., {cls.__name__}.as_view()), "
            "or make it a HybridProgressiveView."
        )


class _Routes(list[URLPattern]):
    """The routes of a view, for ``include()``.

    ``path("dashboard/", DashboardView.urls())`` would take three routes for what ``include()``
    returns: a URLconf, ``app_name`` and a namespace. Django finds that later, and suspects a
    circular import.

    Attributes:
        urlpatterns: The routes, as a list of Django's kind: what ``include()`` resolves requests
            with.
    """

    def __init__(self, routes: list[URLPattern], view_class: type) -> None:
        super().__init__(routes)
        self.urlpatterns = routes
        self._name = view_class.__name__

    def __iter__(self) -> Iterator[URLPattern]:
        """The routes.

        Raises:
            Misuse: When ``path()`` or ``re_path()`` asks for them.
        """
        module, function = _caller_of_caller()
        if module == "django.urls.conf" and function != "include":
            raise Misuse(
                f"{self._name}.urls() stands in path() without include(). Write "
                f"path(..., include({self._name}.urls(...)))."
            )
        return super().__iter__()


def _caller_of_caller() -> tuple[object, str]:
    """The module and the name of the function that called the caller."""
    frame = currentframe()
    try:
        for _ in range(2):
            frame = None if frame is None else frame.f_back
        return (
            ("", "") if frame is None else (frame.f_globals.get("__name__"), frame.f_code.co_name)
        )
    finally:
        del frame  # A frame that refers to itself would wait for the garbage collector.


class HybridProgressiveView(
    StreamMixin, CursorMixin, ChunkMixin, KeyAccessMixin, ManifestMixin, APIView
):
    """A view that clients can walk or stream, query by key, and discover with a manifest.

    Mounted with `urls`, it has three routes; mounted with ``as_view()``, only the walk.

    Example::

        path("api/dashboard/", include(DashboardView.urls(name="dashboard")))
    """

    #: The route that this instance serves; None: mounted alone. Set by `urls`.
    delivery: Delivery | None = None

    #: The route of each delivery, below the view's own URL.
    _routes: ClassVar[dict[Delivery, str]] = {
        "walk": "",
        "parts": "parts/",
        "manifest": "manifest/",
    }

    @classmethod
    def urls(cls, name: str | None = None, **initkwargs: Any) -> list[URLPattern]:
        """The three routes, for ``include()``: the walk, ``parts/`` and ``manifest/``.

        Args:
            name: The walk's route name; the others are ``<name>-parts`` and ``<name>-manifest``.
            initkwargs: Passed to ``as_view()``.

        Raises:
            Misuse: When the list is given to ``path()`` without ``include()``.
        """
        routes = [
            path(
                route,
                cls.as_view(delivery=delivery, **initkwargs),
                name=name and (name if delivery == "walk" else f"{name}-{delivery}"),
            )
            for delivery, route in cls._routes.items()
        ]
        return _Routes(routes, cls)

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; adds ``keys`` on the route by key only."""
        names = super().get_reserved_parameters(initkwargs)
        by_key = initkwargs.get("delivery", cls.delivery) == "parts"
        return names if by_key else names - {"keys"}

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; only the walk's route begins something."""
        return self.delivery in (None, "walk") and super().counts_as_burst(request)

    @classmethod
    def offers_streams(cls, initkwargs: Mapping[str, Any]) -> bool:
        """See `StreamMixin.offers_streams`; only the walk's route does."""
        return initkwargs.get("delivery", cls.delivery) in (None, "walk")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """The walk or its stream, the requested parts, or the manifest, depending on the route."""
        if self.delivery == "parts":
            return self.keys_response(request)
        if self.delivery == "manifest":
            return self.manifest_response(request)
        return self.walk_response(request)

    def get_links(self, request: Request) -> Mapping[str, str]:
        """Paths of the three routes, from the request's path; empty where mounted alone."""
        if self.delivery is None:
            return {}
        path = self._state_of(request).request._request.path
        base = escape_uri_path(path.removesuffix(self._routes[self.delivery]))
        return {delivery: base + route for delivery, route in self._routes.items()}
