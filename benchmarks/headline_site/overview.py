"""An overview of 39 parts and more than 500 queries: the shop's dashboard, its cities and shelves.

The lists of cities and shelves make a query for each row, and more for what belongs to it, as
nested serializers do if their QuerySet does not fetch ahead. The fixed ones fetch ahead. Nothing
else differs, so the JSON is the same.
"""

from __future__ import annotations

from functools import partial

from django.db.models import Prefetch
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response

from partstream import cached_for, lazy
from shop.catalogue import CITIES
from shop.models import Order, OrderLine, Product, Stock

from .dashboard import BlockingDashboardView, DashboardView

#: Rows of a list: orders of a city, products of a shelf.
ORDERS, PRODUCTS = 5, 6
#: From here on, the shop's own parts are slow.
SLOW = "revenue_by_month"


class LineSerializer(serializers.ModelSerializer):
    """A line of an order, with the name of its product."""

    product = serializers.CharField(source="product.name")

    class Meta:
        model = OrderLine
        fields = ["product", "quantity", "unit_price_cents"]


class OrderSerializer(serializers.ModelSerializer):
    """An order with its customer's name and its lines."""

    customer = serializers.CharField(source="customer.name")
    lines = LineSerializer(many=True)

    class Meta:
        model = Order
        fields = ["id", "placed_at", "status", "customer", "lines"]


class StockSerializer(serializers.ModelSerializer):
    """The quantity in one warehouse."""

    class Meta:
        model = Stock
        fields = ["warehouse", "quantity"]


class ProductSerializer(serializers.ModelSerializer):
    """A product with its stock."""

    stock = StockSerializer(many=True)

    class Meta:
        model = Product
        fields = ["id", "sku", "name", "price_cents", "stock"]


def get_orders(request, city, is_fixed=False):
    """The newest orders of a city."""
    orders = Order.objects.filter(customer__city=city).order_by("-placed_at", "-pk")[:ORDERS]
    if is_fixed:
        lines = OrderLine.objects.select_related("product").order_by("pk")
        orders = orders.select_related("customer").prefetch_related(Prefetch("lines", lines))
    return orders


def get_shelf(request, category, is_fixed=False):
    """The first products of a shelf, with their stock."""
    products = Product.objects.filter(category=category).order_by("pk")[:PRODUCTS]
    return products.prefetch_related("stock") if is_fixed else products


#: Name -> loader, serializer.
LISTS = {
    **{
        f"city_{city.lower()}": (partial(get_orders, city=city), OrderSerializer) for city in CITIES
    },
    **{
        f"shelf_{category}": (partial(get_shelf, category=category), ProductSerializer)
        for category in Product.Category.values
    },
}


def lists(request, is_fixed):
    """Name -> data, of all cities and shelves."""
    return {
        name: serializer(load(request, is_fixed=is_fixed), many=True).data
        for name, (load, serializer) in LISTS.items()
    }


class BlockingOverviewView(BlockingDashboardView):
    """The overview as one response."""

    is_fixed = False

    def get(self, request):
        return Response({**super().get(request).data, **lists(request, self.is_fixed)})


class OverviewView(DashboardView):
    """The overview in parts: the shop's quick parts, the lists, and the shop's slow parts."""

    permission_classes = [AllowAny]
    is_fixed = False

    def get_parts(self):
        own = super().get_parts()
        slow = [name for name, _ in own].index(SLOW)
        listed = [
            (
                name,
                lazy(
                    partial(load, is_fixed=self.is_fixed),
                    serializer_class=serializer,
                    many=True,
                ),
            )
            for name, (load, serializer) in LISTS.items()
        ]
        return [*own[:slow], *listed, *own[slow:]]


class CachedOverviewView(OverviewView):
    """The overview whose parts are kept for all visitors."""

    def get_parts(self):
        return [
            (
                name,
                lazy(
                    cached_for(600, shared=True)(part.loader),
                    depends_on=list(part.depends_on),
                    serializer_class=part.serializer_class,
                    many=part.many,
                )
                if hasattr(part, "loader")
                else part,
            )
            for name, part in super().get_parts()
            if name != "margins"  # For staff only; the visitors of the benchmark are anonymous.
        ]
