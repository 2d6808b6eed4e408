"""The shop's views: the dashboard in parts, a report in parts, and a blocking dashboard."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.views.generic import TemplateView
from rest_framework.permissions import AllowAny, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import HybridProgressiveView, PartError, ProgressiveView, lazy, safe_call
from partstream.schemas import returns

from . import dashboard
from .serializers import RecentOrderSerializer, RestockSerializer, TopProductSerializer


class DashboardPage(TemplateView):
    """The page with the dashboard, which fills part by part."""

    template_name = "shop/dashboard.html"


class DashboardView(HybridProgressiveView):
    """The dashboard in parts: as a walk, by key, and with a manifest.

    Parts are sent in this order, two per chunk. So quick parts come first, and restock is sent
    with the part that it depends on.
    """

    permission_classes = [AllowAny]
    chunk_size = 2
    max_keys_per_request = 13

    def get_parts(self) -> list[tuple[str, Any]]:
        """Declare the parts, for this request."""
        return [
            ("meta", dashboard.get_meta(self.request)),
            ("today", lazy(dashboard.get_today, size="small")),
            ("open_orders", lazy(dashboard.get_open_orders, size="small")),
            (
                "recent_orders",
                lazy(
                    dashboard.get_recent_orders,
                    size="medium",
                    serializer_class=RecentOrderSerializer,
                    many=True,
                ),
            ),
            ("top_products", lazy(dashboard.get_top_products, size="medium")),
            ("restock", lazy(dashboard.get_restock, depends_on=["top_products"], size="medium")),
            # External services may be slow, so these parts come after the quick ones.
            (
                "exchange_rates",
                lazy(
                    safe_call(
                        dashboard.get_exchange_rates, fallback=dashboard.get_last_known_rates
                    ),
                    size="small",
                ),
            ),
            ("deliveries", lazy(dashboard.get_deliveries, size="small")),
            ("revenue_by_month", lazy(dashboard.get_revenue_by_month, size="large")),
            ("slow_stock", lazy(dashboard.get_slow_stock, size="medium")),
            ("customers_at_risk", lazy(dashboard.get_customers_at_risk, size="medium")),
            ("bought_together", lazy(dashboard.get_bought_together, size="medium")),
            (
                "margins",
                lazy(dashboard.get_margins, size="small", permission_classes=[IsAdminUser]),
            ),
        ]


class ReadyFirstView(DashboardView):
    """The same dashboard, whatever is ready first: all parts begin at once, side by side.

    Each answer is sent after a quarter of a second with the parts that are ready by then.
    """

    executor = "partstream.backends.executors.threads.ThreadExecutor"
    chunk_size = 13
    time_budget = 0.25


class ReportView(ProgressiveView):
    """A report whose parts never change: they are declared once, by method name."""

    permission_classes = [AllowAny]
    chunk_size = 1
    parts = [
        ("about", {"title": "Sales report", "currency": "EUR"}),
        ("top_products", lazy("get_top_products", size="medium")),
        ("restock", lazy("get_restock", depends_on=["top_products"], size="medium")),
        ("revenue_by_month", lazy("get_revenue_by_month", size="large")),
        ("margins", lazy("get_margins", size="small", permission_classes=[IsAdminUser])),
    ]

    @returns(TopProductSerializer, many=True)
    def get_top_products(self, request: Request) -> Any:
        """See `dashboard.get_top_products`."""
        return dashboard.get_top_products(request)

    @returns(RestockSerializer, many=True)
    def get_restock(self, request: Request, top_products: Any) -> Any:
        """See `dashboard.get_restock`."""
        return dashboard.get_restock(request, top_products)

    def get_revenue_by_month(self, request: Request) -> Any:
        """See `dashboard.get_revenue_by_month`."""
        return dashboard.get_revenue_by_month(request)

    def get_margins(self, request: Request) -> Any:
        """See `dashboard.get_margins`."""
        return dashboard.get_margins(request)


class BlockingDashboardView(APIView):
    """The same dashboard as a plain view: it sends nothing until all data is ready."""

    permission_classes = [AllowAny]
    schema = None  # It has no serializer that would describe it.

    def get(self, request: Request) -> Response:
        """Everything that `DashboardView` would deliver, as one object; null for what failed."""
        recent_orders = RecentOrderSerializer(dashboard.get_recent_orders(request), many=True)
        try:
            exchange_rates = dashboard.get_exchange_rates(request)
        except (OSError, ValueError) as error:
            exchange_rates = dashboard.get_last_known_rates(request, error)
        try:
            deliveries = dashboard.get_deliveries(request)
        except PartError:
            deliveries = None
        top_products = dashboard.get_top_products(request)
        data = {
            "meta": dashboard.get_meta(request),
            "today": dashboard.get_today(request),
            "open_orders": async_to_sync(dashboard.get_open_orders)(request),
            "recent_orders": recent_orders.data,
            "top_products": top_products,
            "restock": dashboard.get_restock(request, top_products),
            "exchange_rates": exchange_rates,
            "deliveries": deliveries,
            "revenue_by_month": dashboard.get_revenue_by_month(request),
            "slow_stock": dashboard.get_slow_stock(request),
            "customers_at_risk": dashboard.get_customers_at_risk(request),
            "bought_together": dashboard.get_bought_together(request),
        }
        if request.user.is_staff:
            data["margins"] = dashboard.get_margins(request)
        return Response(data)
