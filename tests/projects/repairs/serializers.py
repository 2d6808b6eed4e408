from __future__ import annotations

from rest_framework import serializers

from .models import Bicycle, Customer, RepairOrder, SparePart


class CustomerSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Customer
        fields = ["url", "full_name"]


class BicycleSerializer(serializers.ModelSerializer):
    owned_by = serializers.CharField(source="customer.full_name")

    class Meta:
        model = Bicycle
        fields = ["id", "frame_number", "owned_by"]


class OrderSerializer(serializers.ModelSerializer):
    frame_number = serializers.CharField(source="bicycle.frame_number")

    class Meta:
        model = RepairOrder
        fields = ["number", "frame_number", "is_done", "created_at"]


class OrderSerializerV2(OrderSerializer):
    assigned_to = serializers.CharField(source="mechanic.username")

    class Meta(OrderSerializer.Meta):
        fields = [*OrderSerializer.Meta.fields, "assigned_to"]


class SparePartSerializer(serializers.ModelSerializer):
    class Meta:
        model = SparePart
        fields = ["id", "part_name", "in_stock", "unit_price"]


class QuoteSerializer(serializers.Serializer):
    spare_part = serializers.IntegerField()
    how_many = serializers.IntegerField(min_value=1, max_value=20)
