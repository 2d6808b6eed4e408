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
