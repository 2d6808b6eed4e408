"""DRF serializers of the shop."""

from __future__ import annotations

from rest_framework import serializers

from .models import Order


class RecentOrderSerializer(serializers.ModelSerializer):
    """An order as the dashboard lists it; `items` and `total_cents` come from the query."""

    customer = serializers.CharField(source="customer.name")
    city = serializers.CharField(source="customer.city")
    items = serializers.IntegerField()
    total_cents = serializers.IntegerField()

    class Meta:
        model = Order
        fields = ["id", "placed_at", "customer", "city", "status", "items", "total_cents"]


# The following describe what loaders return, for the schema. They serialize nothing.


class TopProductSerializer(serializers.Serializer):
    """A product that sells well; see `dashboard.get_top_products`."""

    product_id = serializers.IntegerField()
    name = serializers.CharField()
    category = serializers.CharField()
    units = serializers.IntegerField()
    revenue_cents = serializers.IntegerField()
    shelf_rank = serializers.IntegerField()


class RestockSerializer(serializers.Serializer):
    """How long the stock of a product lasts; see `dashboard.get_restock`."""

    product_id = serializers.IntegerField()
    name = serializers.CharField()
    on_hand = serializers.IntegerField()
    sold_in_30_days = serializers.IntegerField()
    days_left = serializers.IntegerField(allow_null=True)


class ExchangeRatesSerializer(serializers.Serializer):
    """Exchange rates; see `dashboard.get_exchange_rates`."""

    live = serializers.BooleanField()
    base = serializers.CharField()
    rates = serializers.DictField(child=serializers.FloatField())


class DeliverySerializer(serializers.Serializer):
    """Parcels on their way to a city; see `dashboard.get_deliveries`."""

    city = serializers.CharField()
    parcels = serializers.IntegerField()
