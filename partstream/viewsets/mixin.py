"""The mixin of viewsets that have progressive actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch
from django.utils.decorators import classonlymethod
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from partstream.exceptions import Misuse
from partstream.mixins import (
    ChunkMixin,
    CursorMixin,
    GuardMixin,
    KeyAccessMixin,
    ManifestMixin,
    StreamMixin,
)

from .actions import DELIVERIES, ProgressiveAction, of_delivery, progressive_of


def _check_bases(viewset: type) -> None:
    """Raise `Misuse` if the mixin is not before the viewset's own class."""
    order, name = viewset.__mro__, viewset.__name__
    if ViewSetMixin in order:
        if order.index(ViewSetMixin) < order.index(ProgressiveViewSetMixin):
            raise Misuse(
                f"class {name}: the viewset comes before ProgressiveViewSetMixin, and hides what "
                f"it adds. Write class {name}(ProgressiveViewSetMixin, …), with the mixin first."
            )
    elif APIView in order:
        raise Misuse(
            f"class {name} is not a viewset, so it has no actions. Write "
            f"class {name}(ProgressiveViewSetMixin, ViewSet), or use HybridProgressiveView."
        )


def _check_override(viewset: type, name: str, value: Any, overridden: ProgressiveAction) -> None:
    """Raise `Misuse` if an attribute hides one of a progressive action's three handlers.

    As for other actions, None removes it.
    """
    if name != overridden.name:
        raise Misuse(
            f"{viewset.__name__}.{name} hides a route of the progressive action {overridden.name}. "
            f"Rename it; to change the parts, override {overridden.name}."
        )
    if value is not None:
        raise Misuse(
            f"{viewset.__name__}.{name} overrides a progressive action. Decorate it with "
            "@progressive_action(...), too, or set it to None to remove the action."
        )
    for delivery in DELIVERIES:
        setattr(viewset, of_delivery(name, delivery, "_"), None)


class ProgressiveViewSetMixin(StreamMixin, CursorMixin, ChunkMixin, KeyAccessMixin, ManifestMixin):
    """Gives a viewset progressive actions. Write it before the viewset's own class.

    Only progressive actions are guarded, limited and checked. All other actions of the viewset
    work as if the mixin was not there.

    Example::

        class OrderViewSet(ProgressiveViewSetMixin, ModelViewSet):
            queryset = Order.objects.all()
            serializer_class = OrderSerializer

            @progressive_action(detail=False)
            def overview(self):
                return [("count", lazy("get_count")), ("newest", lazy("get_newest"))]

            def get_count(self, request):
                return self.get_queryset().count()

            def get_newest(self, request):
                return self.get_serializer(self.get_queryset()[:10], many=True).data
    """

    #: The delivery of the route that this instance serves; None: an action of another kind.
    #: `as_view` sets it.
    progressive_delivery: str | None = None

    _links: Mapping[str, str] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        _check_bases(cls)
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if isinstance(value, ProgressiveAction):
                value.install(cls, name, ProgressiveViewSetMixin)
            elif isinstance(getattr(value, "__wrapped__", None), ProgressiveAction):
                raise Misuse(
                    f"{cls.__name__}.{name}: another decorator is above @progressive_action. "
                    "Write @progressive_action first."
                )
            elif overridden := progressive_of(getattr(super(cls, cls), name, None)):
                _check_override(cls, name, value, overridden)

    @classonlymethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        """The view function of a route, for routers.

        Raises:
            Misuse: When a progressive action shares its route with other methods than GET.
        """
        handlers = {method: getattr(cls, name, None) for method, name in (actions or {}).items()}
        ours: list[Any] = [found for found in handlers.values() if progressive_of(found)]
        if ours:
            if not handlers.keys() <= {"get", "head"} or len({*handlers.values()}) > 1:
                raise Misuse(
                    f"{cls.__name__}.{ours[0].__name__} delivers parts, and shares its route with "
                    f"no other action, but as_view() got {dict(actions)}. Give the other methods "
                    "a URL of their own."
                )
            initkwargs["progressive_delivery"] = ours[0].delivery
        viewset: Any = super()
        view = viewset.as_view(actions, **initkwargs)
        # What decorators set on the viewset's own dispatch(), such as non_atomic_requests.
        for key, value in vars(super(GuardMixin, cls).dispatch).items():
            vars(view).setdefault(key, value)
        return view

    # The parts

    def get_parts(self) -> Iterable[tuple[str, Any]]:
        """The parts that the route's progressive action returns.

        Raises:
            Misuse: On the route of another action.
        """
        return self._get_action().get_parts(self)

    def get_action_name(self) -> str:
        """The name of the route's progressive action, whatever its delivery.

        Raises:
            Misuse: On the route of another action.
        """
        return self._get_action().name

    def get_links(self, request: Request) -> Mapping[str, str]:
        """Paths of the action's three routes; empty where no router has made them."""
        if self._links is None:
            self._links = self._reverse_all(request)
        return self._links

    def _reverse_all(self, request: Request) -> Mapping[str, str]:
        viewset: Any = self
        match = request._request.resolver_match
        if self.progressive_delivery is None or match is None or viewset.basename is None:
            return {}
        form = self.settings.FORMAT_SUFFIX_KWARG
        kwargs = {name: value for name, value in match.kwargs.items() if name != form}
        given: dict[str, Any] = {"args": match.args} if match.args else {"kwargs": kwargs}
        url_name = self._get_action().url_name
        try:
            return {
                # Without the request, so that it is a path.
                delivery: viewset.reverse_action(
                    of_delivery(url_name, delivery, "-"), request=None, **given
                )
                for delivery in DELIVERIES
            }
        except NoReverseMatch:
            return {}

    def _get_action(self) -> ProgressiveAction:
        viewset: Any = self
        name = getattr(viewset, "action_map", {}).get("get")
        found = progressive_of(getattr(type(self), name or "", None))
        if found is None:
            raise Misuse(
                f"{type(self).__name__}: this route is not that of a progressive action, so it has "
                "no parts."
            )
        return found

    # One action on three routes

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """DRF's request; sets ``self.action`` to the walk's on all three routes."""
        viewset: Any = self
        made = super().initialize_request(request, *args, **kwargs)
        progressive = progressive_of(getattr(type(self), viewset.action or "", None))
        if progressive is not None:
            viewset.action = progressive.name
        return made

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """DRF's negotiation; afterwards a format suffix has no effect on links in data."""
        found = super().perform_content_negotiation(request, force)
        if self.progressive_delivery is not None:
            self.format_kwarg = None
        return found

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """See `GuardMixin.get_reserved_parameters`; adds ``keys`` on the route by key only."""
        names = super().get_reserved_parameters(initkwargs)
        by_key = initkwargs.get("progressive_delivery") == "parts"
        return names if by_key else names - {"keys"}

    @classmethod
    def offers_streams(cls, initkwargs: Mapping[str, Any]) -> bool:
        """See `StreamMixin.offers_streams`; only the walk of a progressive action does."""
        return initkwargs.get("progressive_delivery") == "walk"

    def counts_as_burst(self, request: Request) -> bool:
        """See `GuardMixin.counts_as_burst`; a manifest runs no loaders, so it does not count."""
        return self.progressive_delivery != "manifest" and super().counts_as_burst(request)

    # The guard is for progressive actions alone: all that it overrides steps aside for the others

    @classmethod
    def serves_parts(cls, initkwargs: Mapping[str, Any]) -> bool:
        """See `GuardMixin.serves_parts`."""
        return initkwargs.get("progressive_delivery") is not None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """See `GuardMixin.dispatch`."""
        return self._after_guard().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """See `GuardMixin.initial`."""
        self._after_guard().initial(request, *args, **kwargs)

    def perform_authentication(self, request: Request) -> None:
        """See `GuardMixin.perform_authentication`."""
        self._after_guard().perform_authentication(request)

    def get_content_negotiator(self) -> BaseContentNegotiation:
        """See `GuardMixin.get_content_negotiator`."""
        return self._after_guard().get_content_negotiator()

    def get_throttles(self) -> list[BaseThrottle]:
        """See `GuardMixin.get_throttles`."""
        return self._after_guard().get_throttles()

    def handle_exception(self, exc: Exception) -> Response:
        """See `GuardMixin.handle_exception`."""
        return self._after_guard().handle_exception(exc)

    def raise_uncaught_exception(self, exc: Exception) -> Any:
        """See `GuardMixin.raise_uncaught_exception`."""
        self._after_guard().raise_uncaught_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """See `GuardMixin.finalize_response`."""
        return self._after_guard().finalize_response(request, response, *args, **kwargs)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """See `GuardMixin.default_response_headers`."""
        return self._after_guard().default_response_headers

    def _after_guard(self) -> GuardMixin:
        """The next implementations: the guard's, or on other routes the viewset's own."""
        guarded = self.progressive_delivery is not None
        return cast(GuardMixin, super() if guarded else super(GuardMixin, self))
