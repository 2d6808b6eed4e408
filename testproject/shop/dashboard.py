"""The parts of the shop's dashboard, each one a loader: `func(request) -> data`.

They do not depend on partstream: a plain view can call a loader too, and `BlockingDashboardView`
does. The slow ones are slow because of their queries. All amounts are whole cents of euros.

The shop's "now" is the time of its newest order, not the current time. So the figures of a seeded
shop are the same on any day, and "today" is never empty.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import (
    Count,
    Exists,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Window,
)
from django.db.models.functions import Coalesce, Lag, Rank, TruncMonth
from django.utils import timezone
from rest_framework.request import Request

from partstream import PartError
from partstream.schemas import returns

from . import courier, exchange_rates
from .models import Customer, Order, OrderLine, Product, Stock
from .serializers import (
    DeliverySerializer,
    ExchangeRatesSerializer,
    RestockSerializer,
    TopProductSerializer,
)

KEPT = [status for status in Order.Status if status != Order.Status.CANCELLED]
SOLD = OrderLine.objects.exclude(order__status=Order.Status.CANCELLED)
REVENUE = F("quantity") * F("unit_price_cents")


def get_now() -> dt.datetime:
    """The time of the newest order, in the current time zone.

    Raises:
        PartError: When the shop has no orders; the dashboard shows the text.
    """
    newest = Order.objects.aggregate(newest=Max("placed_at"))["newest"]
    if newest is None:
        raise PartError("The shop has no orders yet. Run: manage.py seed_shop", code="shop_empty")
    return timezone.localtime(newest)


def _days_before(now: dt.datetime, days: int) -> dt.datetime:
    """Midnight of the day ``days`` days ago."""
    midnight = dt.datetime.combine(now.date() - dt.timedelta(days=days), dt.time.min)
    return timezone.make_aware(midnight)


def _percent(part: int, whole: int) -> float | None:
    """A share in percent with one decimal; None if the whole is zero."""
    return round(100 * part / whole, 1) if whole else None


def get_meta(request: Request) -> dict[str, Any]:
    """The data of the page's frame. It needs no query, so this part is immediate."""
    user = request.user
    return {
        "shop": "Cairn & Co. Outdoor",
        "currency": "EUR",
        "user": user.get_username() if user.is_authenticated else None,
        "staff": bool(user.is_staff),
    }


def get_today(request: Request) -> dict[str, Any]:
    """Today's sales so far, against the same hours of the same weekday a week ago."""
    now = get_now()
    week = dt.timedelta(days=7)
    figures = _sales_between(_days_before(now, 0), now)
    before = _sales_between(_days_before(now, 7), now - week)
    change = figures["revenue_cents"] - before["revenue_cents"]
    return {
        "as_of": now,
        **figures,
        "average_order_cents": round(figures["revenue_cents"] / figures["orders"])
        if figures["orders"]
        else None,
        "week_before": before,
        "change_percent": _percent(change, before["revenue_cents"]),
    }


def _sales_between(start: dt.datetime, end: dt.datetime) -> dict[str, int]:
    return SOLD.filter(order__placed_at__gte=start, order__placed_at__lte=end).aggregate(
        orders=Count("order", distinct=True),
        items=Coalesce(Sum("quantity"), 0),
        revenue_cents=Coalesce(Sum(REVENUE), 0),
    )


async def get_open_orders(request: Request) -> list[dict[str, Any]]:
    """The number of open orders at each step, and how long the oldest has waited.

    A coroutine that uses Django's asynchronous ORM, so several such parts wait together.
    """
    steps = [Order.Status.NEW, Order.Status.PACKED, Order.Status.SHIPPED]
    rows = Order.objects.filter(status__in=steps).values("status")
    found = {
        row["status"]: row
        async for row in rows.annotate(orders=Count("pk"), oldest=Min("placed_at"))
    }
    return [
        {
            "status": step.value,
            "orders": found[step]["orders"] if step in found else 0,
            "oldest": found[step]["oldest"] if step in found else None,
        }
        for step in steps
    ]


def get_recent_orders(request: Request) -> QuerySet[Order]:
    """The ten newest orders; `RecentOrderSerializer` makes them JSON."""
    lines = OrderLine.objects.filter(order=OuterRef("pk")).order_by().values("order")
    return (
        Order.objects.select_related("customer")
        .annotate(
            items=Subquery(lines.annotate(sum=Sum("quantity")).values("sum")),
            total_cents=Subquery(lines.annotate(sum=Sum(REVENUE)).values("sum")),
        )
        .order_by("-placed_at", "-pk")[:10]
    )


@returns(ExchangeRatesSerializer)
def get_exchange_rates(request: Request) -> dict[str, Any]:
    """Today's exchange rates, from an external service."""
    return {"live": True, **exchange_rates.fetch()}


def get_last_known_rates(request: Request, exception: Exception) -> dict[str, Any]:
    """The last known rates, marked as not live, for when the service fails."""
    return {"live": False, **exchange_rates.LAST_KNOWN}


@returns(DeliverySerializer, many=True)
def get_deliveries(request: Request) -> list[dict[str, Any]]:
    """The six cities that most parcels are on their way to, from the courier's tracking service.

    With `?visit=ID` the first call of each visit fails, and a retry works: see `courier.fetch`.
    """
    return courier.fetch(request.query_params.get("visit"))


def get_revenue_by_month(request: Request) -> list[dict[str, Any]]:
    """Each of the last 24 months: revenue, its change, and the number of first orders.

    Slow by nature: it adds up every line that was sold, and looks for an earlier order before
    each.
    """
    this_month = get_now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = this_month.replace(
        year=this_month.year - (2 if this_month.month < 12 else 1),
        month=this_month.month % 12 + 1,
    )
    months = (
        SOLD.filter(order__placed_at__gte=since)
        .annotate(month=TruncMonth("order__placed_at"))
        .values("month")
        .annotate(orders=Count("order", distinct=True), revenue_cents=Sum(REVENUE))
        .annotate(before=Window(Lag("revenue_cents"), order_by=F("month").asc()))
        .order_by("month")
    )
    earlier = Order.objects.filter(
        customer=OuterRef("customer"), placed_at__lt=OuterRef("placed_at")
    )
    first_orders = dict(
        Order.objects.exclude(status=Order.Status.CANCELLED)
        .filter(~Exists(earlier), placed_at__gte=since)
        .annotate(month=TruncMonth("placed_at"))
        .values("month")
        .annotate(orders=Count("pk"))
        .values_list("month", "orders")
    )
    return [
        {
            "month": row["month"].date(),
            "orders": row["orders"],
            "first_orders": first_orders.get(row["month"], 0),
            "revenue_cents": row["revenue_cents"],
            "change_percent": None
            if row["before"] is None
            else _percent(row["revenue_cents"] - row["before"], row["before"]),
        }
        for row in months
    ]


@returns(TopProductSerializer, many=True)
def get_top_products(request: Request) -> list[dict[str, Any]]:
    """The eight products with the highest revenue in the last 90 days, with their shelf rank."""
    since = _days_before(get_now(), 90)
    products = (
        SOLD.filter(order__placed_at__gte=since)
        .values("product_id", "product__name", "product__category")
        .annotate(units=Sum("quantity"), revenue_cents=Sum(REVENUE))
        .annotate(
            shelf_rank=Window(
                Rank(),
                partition_by=F("product__category"),
                order_by=F("revenue_cents").desc(),
            )
        )
        .order_by("-revenue_cents", "product_id")[:8]
    )
    return [
        {
            "product_id": row["product_id"],
            "name": row["product__name"],
            "category": row["product__category"],
            "units": row["units"],
            "revenue_cents": row["revenue_cents"],
            "shelf_rank": row["shelf_rank"],
        }
        for row in products
    ]


@returns(RestockSerializer, many=True)
def get_restock(request: Request, top_products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The number of days that the stock of the best sellers lasts, most urgent first.

    Depends on `top_products`, and receives it as the data that a client would see.
    """
    ids = [row["product_id"] for row in top_products]
    stock = Stock.objects.filter(product__in=ids).values("product")
    on_hand = dict(stock.annotate(sum=Sum("quantity")).values_list("product", "sum"))
    recent = SOLD.filter(product__in=ids, order__placed_at__gte=_days_before(get_now(), 30))
    sold = dict(
        recent.values("product").annotate(sum=Sum("quantity")).values_list("product", "sum")
    )
    rows = [
        {
            "product_id": row["product_id"],
            "name": row["name"],
            "on_hand": on_hand.get(row["product_id"], 0),
            "sold_in_30_days": sold.get(row["product_id"], 0),
        }
        for row in top_products
    ]
    for row in rows:
        sales = row["sold_in_30_days"]
        row["days_left"] = row["on_hand"] * 30 // sales if sales else None
    return sorted(rows, key=lambda row: (row["days_left"] is None, row["days_left"]))


def get_slow_stock(request: Request) -> dict[str, Any]:
    """Stock that hardly sells: how much money is tied up in it, and where.

    Slow stock came in more than 120 days ago, and would last for more than two years at the pace
    of the last 180 days. Slow as a query, too: each row of stock looks through all sales of its
    product.
    """
    now = get_now()
    sales = SOLD.filter(product=OuterRef("product")).order_by().values("product")
    recent = sales.filter(order__placed_at__gte=_days_before(now, 180))
    slow = (
        Stock.objects.filter(quantity__gt=0, received_on__lt=now.date() - dt.timedelta(days=120))
        .annotate(
            sold=Coalesce(Subquery(recent.annotate(sum=Sum("quantity")).values("sum")), 0),
            last_sold=Subquery(sales.annotate(last=Max("order__placed_at")).values("last")),
            tied_up_cents=F("quantity") * F("product__cost_cents"),
            # Two years are about four times 180 days; each warehouse serves its share of sales.
            surplus=F("quantity") * len(Stock.Warehouse) - F("sold") * 4,
        )
        .filter(surplus__gt=0)
        .select_related("product")
        .order_by("-tied_up_cents", "pk")
    )
    rows = list(slow)
    return {
        "places": len(rows),
        "tied_up_cents": sum(row.tied_up_cents for row in rows),
        "worst": [
            {
                "product_id": row.product_id,
                "name": row.product.name,
                "warehouse": row.warehouse,
                "quantity": row.quantity,
                "sold_in_180_days": row.sold,
                "last_sold": timezone.localtime(row.last_sold).date() if row.last_sold else None,
                "tied_up_cents": row.tied_up_cents,
            }
            for row in rows[:8]
        ],
    }


def get_customers_at_risk(request: Request) -> dict[str, Any]:
    """Good customers who have stopped buying: no order for more than twice their usual gap.

    Only customers with four or more orders are considered, and only if the last order was 60 to 365
    days ago. Their spending and favourite shelf are looked up customer by customer.
    """
    now = get_now()
    kept = ~Q(orders__status=Order.Status.CANCELLED)
    bought = SOLD.filter(order__customer=OuterRef("pk")).order_by()
    spent = bought.values("order__customer").annotate(sum=Sum(REVENUE))
    shelves = (
        bought.values("product__category")
        .annotate(units=Sum("quantity"))
        .order_by("-units", "product__category")
    )
    customers = (
        Customer.objects.annotate(
            order_count=Count("orders", filter=kept),
            first=Min("orders__placed_at", filter=kept),
            last=Max("orders__placed_at", filter=kept),
            revenue_cents=Subquery(spent.values("sum")),
            favourite=Subquery(shelves.values("product__category")[:1]),
        )
        .filter(
            order_count__gte=4,
            last__lt=now - dt.timedelta(days=60),
            last__gte=now - dt.timedelta(days=365),
        )
        .order_by("-revenue_cents", "pk")
    )
    quiet = [
        customer
        for customer in customers
        if (now - customer.last) * (customer.order_count - 1) > 2 * (customer.last - customer.first)
    ]
    return {
        "customers": len(quiet),
        "revenue_cents": sum(customer.revenue_cents for customer in quiet),
        "best": [
            {
                "customer_id": customer.pk,
                "name": customer.name,
                "orders": customer.order_count,
                "favourite": customer.favourite,
                "usual_gap_days": (customer.last - customer.first).days
                // (customer.order_count - 1),
                "quiet_days": (now - customer.last).days,
                "revenue_cents": customer.revenue_cents,
            }
            for customer in quiet[:8]
        ],
    }


def get_bought_together(request: Request) -> list[dict[str, Any]]:
    """The eight pairs of products bought by the most customers in the last 365 days.

    The slowest part: it joins each line with every other line of its customer.
    """
    since = _days_before(get_now(), 365)
    recent = SOLD.filter(order__placed_at__gte=since)
    pairs = list(
        recent.filter(
            order__customer__orders__placed_at__gte=since,
            order__customer__orders__status__in=KEPT,
            order__customer__orders__lines__product__gt=F("product"),
        )
        .values("product_id", other_id=F("order__customer__orders__lines__product"))
        .annotate(customers=Count("order__customer", distinct=True))
        .order_by("-customers", "product_id", "other_id")[:8]
    )
    ids = {row[key] for row in pairs for key in ("product_id", "other_id")}
    names = dict(Product.objects.filter(pk__in=ids).values_list("pk", "name"))
    buyers = dict(
        recent.filter(product__in=ids)
        .values("product")
        .annotate(customers=Count("order__customer", distinct=True))
        .values_list("product", "customers")
    )
    return [
        {
            "products": [names[row["product_id"]], names[row["other_id"]]],
            "customers": row["customers"],
            "percent_of_first": _percent(row["customers"], buyers[row["product_id"]]),
        }
        for row in pairs
    ]


def get_margins(request: Request) -> list[dict[str, Any]]:
    """The margin of each shelf in the last 365 days. For staff only."""
    since = _days_before(get_now(), 365)
    shelves = (
        SOLD.filter(order__placed_at__gte=since)
        .values("product__category")
        .annotate(
            revenue_cents=Sum(REVENUE),
            margin_cents=Sum(REVENUE - F("quantity") * F("product__cost_cents")),
        )
        .order_by("-margin_cents", "product__category")
    )
    return [
        {
            "category": row["product__category"],
            "revenue_cents": row["revenue_cents"],
            "margin_cents": row["margin_cents"],
            "margin_percent": _percent(row["margin_cents"], row["revenue_cents"]),
        }
        for row in shelves
    ]
