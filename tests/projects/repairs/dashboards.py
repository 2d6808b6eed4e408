"""What the team wrote for its front page, and for the till."""

from __future__ import annotations

from rest_framework import generics
from rest_framework.renderers import JSONRenderer

from partstream import HybridProgressiveView, cached_for, endpoint, lazy, safe_call

from . import views
from .models import Customer, RepairOrder
from .permissions import IsOwner, ObjectPermissions
from .serializers import CustomerSerializer


class FrontPage(HybridProgressiveView):
    chunk_size = 4
    parts = [
        ("profile", lazy(endpoint("profile"))),
        ("customers", lazy(endpoint("customer-list"))),
        ("bicycles", lazy(endpoint("bicycle-list", query={"limit": 3}))),
        ("all_orders", lazy(endpoint("repairorder-list"))),
        ("order_summary", lazy(endpoint("repairorder-summary"))),
        ("first_order", lazy(endpoint("repairorder-detail", kwargs={"number": "r-1"}))),
        ("spare_parts", lazy(endpoint("stock"))),
        ("top_prices", lazy(endpoint("prices"), permission_classes=[IsOwner])),
        ("more_customers", lazy(endpoint("customer-list", query={"page": 2, "page_size": 1}))),
        ("more_bicycles", lazy(endpoint("bicycle-list", query={"offset": 1, "limit": 1}))),
    ]


class PlainFrontPage(FrontPage):
    """For the till, whose old client never learnt camel case."""

    renderer_classes = [JSONRenderer]


THREADS = {
    "BACKEND": "partstream.backends.executors.threads.ThreadExecutor",
    "OPTIONS": {
        "max_workers": 4,
        "before_call": "tests.projects.repairs.tenants.before_call",
        "after_call": "tests.projects.repairs.tenants.after_call",
    },
}


def orders_version(request):
    """Changes with each order that is made or done."""
    orders = RepairOrder.objects.all()
    return f"{orders.count()} {orders.filter(is_done=True).count()}"


class BusyPage(HybridProgressiveView):
    """The same endpoints in threads, inline with a timeout, and from the cache of a workshop."""

    chunk_size = 10
    parts = [
        ("profile", lazy(endpoint("profile"), timeout=30)),
        ("customers", lazy(endpoint("customer-list"))),
        ("all_orders", lazy(endpoint("repairorder-list"), timeout=30)),
        ("spare_parts", lazy(endpoint("stock"), executor=THREADS)),
        ("summary", lazy(cached_for(300, version=orders_version)(endpoint("repairorder-summary")))),
        (
            "kept_parts",
            lazy(cached_for(60, key=lambda request: request.workshop.slug)(endpoint("stock"))),
        ),
    ]


def protected(name, view):
    """A part that a user sees who may see the model of its view."""
    return lazy(endpoint(name), permission_classes=[ObjectPermissions], permission_view=view)


class CustomerBoard(HybridProgressiveView, generics.GenericAPIView):
    """A generic view: its loaders use its own serializer and paginator."""

    queryset = Customer.objects.order_by("full_name")
    serializer_class = CustomerSerializer
    chunk_size = 1
    parts = [
        ("head", {"page_title": "Customers"}),
        ("customer_page", lazy("get_page")),
        ("bicycles", protected("bicycle-list", views.BicycleViewSet)),
        ("spare_parts", protected("stock", views.StockView)),
    ]

    def get_page(self, request):
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data).data


class TillPage(HybridProgressiveView):
    """Its client may be older than the server, so it gets what there is."""

    lenient_keys = True

    def get_parts(self):
        part = self.kwargs["part"]
        return [
            ("quote", lazy(endpoint("quote", query=quoted(part)))),
            ("safe_quote", lazy(safe_call(endpoint("quote", query=quoted(part)), without_quote))),
            ("order", lazy(endpoint("repairorder-detail", kwargs=asked_order))),
            ("top_prices", lazy(endpoint("prices"), permission_classes=[IsOwner])),
        ]


def quoted(part):
    return lambda request: {"spare_part": part, "how_many": request.query_params["how_many"]}


def asked_order(request):
    return {"number": request.query_params["order"]}


def without_quote(request, error):
    return {"total_price": None, "status_code": error.status, "said": error.data}
