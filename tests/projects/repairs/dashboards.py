"""What the team wrote for its front page, and for the till."""

from __future__ import annotations

from rest_framework.renderers import JSONRenderer

from partstream import HybridProgressiveView, cached_for, endpoint, lazy, safe_call

from .permissions import IsOwner


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


class BusyPage(HybridProgressiveView):
    """The same endpoints in threads, inline with a timeout, and from the cache of a workshop."""

    chunk_size = 10
    parts = [
        ("profile", lazy(endpoint("profile"), timeout=30)),
        ("customers", lazy(endpoint("customer-list"))),
        ("all_orders", lazy(endpoint("repairorder-list"), timeout=30)),
        ("spare_parts", lazy(endpoint("stock"))),
        (
            "kept_parts",
            lazy(cached_for(60, key=lambda request: request.workshop.slug)(endpoint("stock"))),
        ),
    ]


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
