from __future__ import annotations

from typing import Any

from rest_framework.permissions import IsAdminUser

from partstream import HybridProgressiveView, PartError, ProgressiveView, lazy, safe_call


class WalkView(ProgressiveView):
    """Five parts, declared once."""

    parts = [
        ("meta", {"version": 1}),
        ("orders", lazy("get_orders", depends_on=["meta"], size="medium")),
        ("stock", lazy("get_stock")),
        ("rates", lazy(safe_call(lambda request: 1 / 0, fallback=[]))),
        ("news", lazy("get_news")),
    ]

    def get_orders(self, request: Any, meta: Any) -> Any:
        return [meta["version"], 2]

    def get_stock(self, request: Any) -> Any:
        raise PartError("The warehouse is closed.", code="warehouse_closed")

    async def get_news(self, request: Any) -> Any:
        return "quiet"


class DashboardView(HybridProgressiveView):
    """Parts that depend on the request, one of them for staff."""

    def get_parts(self) -> Any:
        return [
            ("meta", {"user": self.request.user.get_username()}),
            ("orders", lazy(self.get_orders, depends_on=["meta"], size="medium")),
            ("margins", lazy(self.get_margins, permission_classes=[IsAdminUser])),
            ("forecast", lazy(self.get_forecast, depends_on=["margins"])),
            ("year", lazy(self.get_year)),
        ]

    def get_parts_manifest(self) -> Any:
        return {"year": {"label": "The year", "dependencies": ["orders"]}}

    def get_orders(self, request: Any, meta: Any) -> Any:
        return [meta["user"]]

    def get_margins(self, request: Any) -> Any:
        return {"margin": 0.4}

    def get_forecast(self, request: Any, margins: Any) -> Any:
        return margins["margin"] * 2

    def get_year(self, request: Any, **_: Any) -> Any:
        return self.kwargs.get("year", request.query_params.get("year"))
