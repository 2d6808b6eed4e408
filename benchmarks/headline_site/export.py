"""An export of the shop's order lines in parts of some megabytes.

The query ``?parts=100&rows=17000`` chooses the number of parts, and the lines in each. If the shop
has fewer lines than that, later parts begin in the middle again.
"""

from __future__ import annotations

import json
from functools import partial

from django.db.models import F, Max
from django.http import StreamingHttpResponse
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import ProgressiveView, lazy
from shop.models import OrderLine


def get_lines(request, number, rows):
    """The order lines of one part."""
    most = OrderLine.objects.aggregate(last=Max("pk"))["last"] - rows
    first = number * rows % max(1, most)
    return list(
        OrderLine.objects.filter(pk__gt=first, pk__lte=first + rows)
        .order_by("pk")
        .values(
            "order_id",
            "quantity",
            "unit_price_cents",
            placed_at=F("order__placed_at"),
            status=F("order__status"),
            customer=F("order__customer__name"),
            email=F("order__customer__email"),
            city=F("order__customer__city"),
            sku=F("product__sku"),
            name=F("product__name"),
            category=F("product__category"),
        )
    )


def loaders(request):
    """(name, loader) of each part."""
    parts, rows = (int(request.query_params[key]) for key in ("parts", "rows"))
    return [
        (f"lines_{number}", partial(get_lines, number=number, rows=rows)) for number in range(parts)
    ]


class BlockingExportView(APIView):
    """The export as one response."""

    permission_classes = [AllowAny]

    def get(self, request):
        return Response({name: load(request) for name, load in loaders(request)})


class ByHandExportView(APIView):
    """The export as one response that is made while it is sent: a stream, written by hand."""

    permission_classes = [AllowAny]

    def get(self, request):
        def pieces():
            for number, (name, load) in enumerate(loaders(request)):
                yield ("," if number else "{") + f"{json.dumps(name)}:"
                yield JSONRenderer().render(load(request))
            yield "}"

        return StreamingHttpResponse(pieces(), content_type="application/json")


class ExportView(ProgressiveView):
    """The export in parts, one in a response."""

    permission_classes = [AllowAny]
    chunk_size = 1

    def get_parts(self):
        return [(name, lazy(load)) for name, load in loaders(self.request)]
