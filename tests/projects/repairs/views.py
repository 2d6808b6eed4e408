from __future__ import annotations

from django.shortcuts import get_object_or_404
from rest_framework import generics, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from partstream import lazy
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action

from .errors import OutOfStock
from .models import Bicycle, Customer, RepairOrder, SparePart
from .pagination import Newest, Windows
from .permissions import IsOwner, ObjectPermissions
from .serializers import (
    BicycleSerializer,
    CustomerSerializer,
    OrderSerializer,
    OrderSerializerV2,
    QuoteSerializer,
    SparePartSerializer,
)

STAFF = api_settings.DEFAULT_PERMISSION_CLASSES


class CustomerViewSet(viewsets.ModelViewSet):
    queryset = Customer.objects.order_by("full_name")
    serializer_class = CustomerSerializer


class BicycleViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Bicycle.objects.select_related("customer").order_by("frame_number")
    serializer_class = BicycleSerializer
    permission_classes = [*STAFF, ObjectPermissions]
    pagination_class = Windows


class OrderViewSet(ProgressiveViewSetMixin, viewsets.ModelViewSet):
    queryset = RepairOrder.objects.select_related("bicycle", "mechanic")
    permission_classes = [*STAFF, ObjectPermissions]
    pagination_class = Newest
    lookup_field = "number"

    def get_serializer_class(self):
        return OrderSerializerV2 if self.request.version == "2.0" else OrderSerializer

    @action(detail=False)
    def summary(self, request):
        orders = self.get_queryset()
        return Response(
            {"open_orders": orders.filter(is_done=False).count(), "all_orders": orders.count()}
        )

    # Added with partstream.

    @progressive_action(detail=True, chunk_size=2, cursor_query_param="walk")
    def page(self):
        """Everything that the page of one order shows."""
        return [
            ("order", lazy(self.get_order)),
            ("bicycle", lazy(self.get_bicycle, depends_on=["order"])),
            ("other_orders", lazy(self.get_others, depends_on=["order"])),
        ]

    def get_order(self, request):
        return self.get_serializer(self.get_object()).data

    def get_bicycle(self, request, order):
        bicycle = Bicycle.objects.get(frame_number=order["frame_number"])
        return BicycleSerializer(bicycle, context=self.get_serializer_context()).data

    def get_others(self, request, order):
        others = self.get_queryset().exclude(number=order["number"])
        return list(others.order_by("number").values_list("number", flat=True))


class StockView(generics.ListAPIView):
    queryset = SparePart.objects.order_by("part_name")
    serializer_class = SparePartSerializer
    pagination_class = None


class PricesView(generics.ListAPIView):
    queryset = SparePart.objects.order_by("-unit_price")
    serializer_class = SparePartSerializer
    permission_classes = [*STAFF, IsOwner]


class QuoteView(APIView):
    """What a number of spare parts costs; refused if there are not so many."""

    def get(self, request):
        asked = QuoteSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        part = get_object_or_404(SparePart, pk=asked.validated_data["spare_part"])
        how_many = asked.validated_data["how_many"]
        if part.in_stock < how_many:
            raise OutOfStock(f"There are only {part.in_stock}.")
        return Response({"total_price": part.unit_price * how_many})


class ProfileView(APIView):
    def get(self, request):
        return Response(
            {"user_name": request.user.get_username(), "workshop_slug": request.workshop.slug}
        )
