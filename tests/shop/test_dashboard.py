"""Each loader against the same question answered in plain Python, in two time zones."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections import Counter, defaultdict
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from rest_framework.request import Request

from partstream import PartError
from shop import dashboard, exchange_rates, seeding
from shop.models import Customer, Order, OrderLine, Product, Stock
from shop.serializers import RecentOrderSerializer


class Line:
    """A line that counts, with all that belongs to it."""

    def __init__(self, line, order, product, zone):
        self.order = order
        self.product = product
        self.at = order.placed_at.astimezone(zone)
        self.quantity = line.quantity
        self.revenue = line.quantity * line.unit_price_cents


class Ledger:
    """The shop's rows in lists and dictionaries, without a query language."""

    def __init__(self, zone):
        self.zone = zone
        self.products = {product.pk: product for product in Product.objects.all()}
        self.customers = {customer.pk: customer for customer in Customer.objects.all()}
        self.orders = {order.pk: order for order in Order.objects.all()}
        self.lines = [
            Line(line, self.orders[line.order_id], self.products[line.product_id], zone)
            for line in OrderLine.objects.all()
        ]
        self.sold = [line for line in self.lines if line.order.status != "cancelled"]
        self.now = max(order.placed_at for order in self.orders.values()).astimezone(zone)

    def since(self, days):
        """Lines sold since midnight so many days ago."""
        first = self.now.date() - dt.timedelta(days=days)
        return [line for line in self.sold if line.at.date() >= first]


def add_edges(zone):
    """Rows on both sides of every limit, weighty enough to be seen in the answers."""
    now = Order.objects.latest("placed_at").placed_at.astimezone(zone)
    midnight = now.replace(hour=0, minute=0, second=0)
    second = dt.timedelta(seconds=1)
    customers = iter(Customer.objects.order_by("-pk"))
    products = iter(Product.objects.filter(stock__quantity__lt=20).distinct().order_by("-pk"))

    def order(customer, placed_at, product, quantity=1, status="delivered"):
        made = Order.objects.create(customer=customer, placed_at=placed_at, status=status)
        made.lines.create(product=product, quantity=quantity, unit_price_cents=90_000)

    for days in (30, 90, 180, 365):  # windows that begin at a midnight
        first = midnight - dt.timedelta(days=days)
        order(next(customers), first, next(products), quantity=30)
        order(next(customers), first - second, next(products), quantity=40)
    for silence in (60, 365):  # customers who have been quiet for just so long
        for last in (now - dt.timedelta(silence), now - dt.timedelta(silence) - second):
            customer = next(customers)
            customer.orders.all().delete()
            for week in range(5):
                order(customer, last - dt.timedelta(weeks=week), next(products), quantity=9)
    one, other = sorted([next(products), next(products)], key=lambda product: product.pk)
    for _ in range(12):  # who bought one thing twice, and sent the other back
        customer = next(customers)
        order(customer, now - dt.timedelta(days=20), one, status="new")
        order(customer, now - dt.timedelta(days=10), one, status="new")
        order(customer, now - dt.timedelta(days=5), other, status="cancelled")


@pytest.fixture(params=["UTC", "Pacific/Auckland"])
def ledger(request, shop, settings):
    settings.TIME_ZONE = request.param
    zone = ZoneInfo(request.param)
    add_edges(zone)
    return Ledger(zone)


@pytest.fixture
def visitor(rf):
    request = rf.get("/")
    request.user = AnonymousUser()
    return request


def share(part, whole):
    return round(100 * part / whole, 1) if whole else None


def best(totals, count=8):
    """The greatest first, of equals the first by key."""
    return sorted(totals, key=lambda key: (-totals[key], key))[:count]


def test_get_meta__names_the_visitor(visitor, staff):
    assert dashboard.get_meta(visitor)["user"] is None
    assert dashboard.get_meta(visitor)["staff"] is False
    visitor.user = staff
    assert dashboard.get_meta(visitor)["user"] == "grace"
    assert dashboard.get_meta(visitor)["staff"] is True


def test_get_today__adds_up_the_day_so_far(ledger, visitor):
    week_ago = ledger.now - dt.timedelta(days=7)

    def figures(until):
        lines = [
            line for line in ledger.sold if line.at.date() == until.date() and line.at <= until
        ]
        return {
            "orders": len({line.order.pk for line in lines}),
            "items": sum(line.quantity for line in lines),
            "revenue_cents": sum(line.revenue for line in lines),
        }

    now, before = figures(ledger.now), figures(week_ago)
    change = now["revenue_cents"] - before["revenue_cents"]
    assert now["orders"] > 0
    assert dashboard.get_today(visitor) == {
        "as_of": ledger.now,
        **now,
        "average_order_cents": round(now["revenue_cents"] / now["orders"]),
        "week_before": before,
        "change_percent": share(change, before["revenue_cents"]),
    }


def test_get_today__of_a_day_on_which_all_was_cancelled_has_no_average(shop, visitor):
    Order.objects.update(status="cancelled")
    today = dashboard.get_today(visitor)
    assert (today["orders"], today["revenue_cents"]) == (0, 0)
    assert today["average_order_cents"] is None
    assert today["change_percent"] is None


def test_get_open_orders__counts_each_step(ledger, visitor):
    expected = []
    for status in ("new", "packed", "shipped"):
        moments = [order.placed_at for order in ledger.orders.values() if order.status == status]
        expected.append(
            {"status": status, "orders": len(moments), "oldest": min(moments, default=None)}
        )
    assert sum(row["orders"] for row in expected) > 0
    assert async_to_sync(dashboard.get_open_orders)(visitor) == expected


def test_get_open_orders__shows_steps_at_which_none_is(empty_shop, visitor):
    assert [row["orders"] for row in async_to_sync(dashboard.get_open_orders)(visitor)] == [0] * 3


def test_get_recent_orders__lists_the_newest_ten(ledger, visitor):
    newest = sorted(ledger.orders.values(), key=lambda order: (order.placed_at, order.pk))[-10:]
    listed = RecentOrderSerializer(dashboard.get_recent_orders(visitor), many=True).data
    assert len(listed) == 10
    for row, order in zip(listed, reversed(newest), strict=True):
        lines = [line for line in ledger.lines if line.order is order]
        customer = ledger.customers[order.customer_id]
        assert row["id"] == order.pk
        assert dt.datetime.fromisoformat(row["placed_at"].replace("Z", "+00:00")) == order.placed_at
        assert [row["customer"], row["city"]] == [customer.name, customer.city]
        assert row["status"] == order.status
        assert row["items"] == sum(line.quantity for line in lines)
        assert row["total_cents"] == sum(line.revenue for line in lines)


def test_get_recent_orders__takes_one_query(shop, visitor, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert RecentOrderSerializer(dashboard.get_recent_orders(visitor), many=True).data


def test_get_deliveries__counts_what_is_on_its_way(shop, visitor):
    Order.objects.filter(pk__lte=300).update(status="shipped")
    cities = Counter(
        order.customer.city
        for order in Order.objects.select_related("customer")
        if order.status == "shipped"
    )
    assert len(cities) > 6
    assert len(set(cities.values())) < len(cities)
    assert dashboard.get_deliveries(Request(visitor)) == [
        {"city": city, "parcels": cities[city]} for city in best(cities, count=6)
    ]


def test_get_revenue_by_month__has_the_last_24_months(ledger, visitor):
    months = [(ledger.now.year, ledger.now.month)]
    while len(months) < 24:
        year, month = months[-1]
        months.append((year, month - 1) if month > 1 else (year - 1, 12))
    first_order = {}
    for order in sorted(ledger.orders.values(), key=lambda order: order.placed_at):
        first_order.setdefault(order.customer_id, order)

    expected, before = [], None
    for year, month in reversed(months):
        lines = [line for line in ledger.sold if (line.at.year, line.at.month) == (year, month)]
        firsts = [
            order.placed_at.astimezone(ledger.zone)
            for order in first_order.values()
            if order.status != "cancelled"
        ]
        revenue = sum(line.revenue for line in lines)
        expected.append(
            {
                "month": dt.date(year, month, 1),
                "orders": len({line.order.pk for line in lines}),
                "first_orders": sum((at.year, at.month) == (year, month) for at in firsts),
                "revenue_cents": revenue,
                "change_percent": None if before is None else share(revenue - before, before),
            }
        )
        before = revenue
    assert dashboard.get_revenue_by_month(visitor) == expected


@pytest.mark.parametrize(
    ("today", "first"),
    [
        ("2026-12-31", "2025-01-01"),
        ("2026-01-01", "2024-02-01"),
        ("2028-02-29", "2026-03-01"),
        ("2026-11-20", "2024-12-01"),
    ],
)
def test_get_revenue_by_month__begins_23_months_ago(db, visitor, today, first):
    seeding.seed(1500, today=dt.date.fromisoformat(today))
    months = dashboard.get_revenue_by_month(visitor)
    assert len(months) == 24
    assert months[0]["month"].isoformat() == first
    assert months[-1]["month"].isoformat() == today[:8] + "01"


def test_get_top_products__ranks_by_revenue(ledger, visitor):
    revenue, units = Counter(), Counter()
    for line in ledger.since(90):
        revenue[line.product.pk] += line.revenue
        units[line.product.pk] += line.quantity
    expected = []
    for pk in best(revenue):
        product = ledger.products[pk]
        better = [
            other
            for other in revenue
            if ledger.products[other].category == product.category and revenue[other] > revenue[pk]
        ]
        expected.append(
            {
                "product_id": pk,
                "name": product.name,
                "category": product.category,
                "units": units[pk],
                "revenue_cents": revenue[pk],
                "shelf_rank": len(better) + 1,
            }
        )
    assert len(expected) == 8
    assert dashboard.get_top_products(visitor) == expected


def test_get_restock__looks_after_the_best_sellers(ledger, visitor):
    top = dashboard.get_top_products(visitor)
    top.append({"product_id": 10**9, "name": "Gone"})  # deleted between the two queries
    on_hand, sold = Counter(), Counter()
    for stock in Stock.objects.all():
        on_hand[stock.product_id] += stock.quantity
    for line in ledger.since(30):
        sold[line.product.pk] += line.quantity
    expected = [
        {
            "product_id": row["product_id"],
            "name": row["name"],
            "on_hand": on_hand[row["product_id"]],
            "sold_in_30_days": sold[row["product_id"]],
            "days_left": on_hand[row["product_id"]] * 30 // sold[row["product_id"]]
            if sold[row["product_id"]]
            else None,
        }
        for row in top
    ]
    expected.sort(key=lambda row: 10**9 if row["days_left"] is None else row["days_left"])
    found = dashboard.get_restock(visitor, top)
    assert found == expected
    assert found[-1]["days_left"] is None


def test_get_slow_stock__finds_what_lies_and_does_not_sell(ledger, visitor):
    recent, last = Counter(), {}
    for line in sorted(ledger.sold, key=lambda line: line.at):
        last[line.product.pk] = line.at.date()
    for line in ledger.since(180):
        recent[line.product.pk] += line.quantity
    oldest = ledger.now.date() - dt.timedelta(days=120)
    slow = [
        stock
        for stock in Stock.objects.all()
        if stock.received_on < oldest and stock.quantity * 3 > recent[stock.product_id] * 4
    ]
    cost = {
        stock.pk: stock.quantity * ledger.products[stock.product_id].cost_cents for stock in slow
    }
    rows = {stock.pk: stock for stock in slow}
    found = dashboard.get_slow_stock(visitor)
    assert found["places"] == len(slow)
    assert 8 < len(slow) < Stock.objects.count()
    assert found["tied_up_cents"] == sum(cost.values())
    assert found["worst"] == [
        {
            "product_id": rows[pk].product_id,
            "name": ledger.products[rows[pk].product_id].name,
            "warehouse": rows[pk].warehouse,
            "quantity": rows[pk].quantity,
            "sold_in_180_days": recent[rows[pk].product_id],
            "last_sold": last.get(rows[pk].product_id),
            "tied_up_cents": cost[pk],
        }
        for pk in best(cost)
    ]


def test_get_customers_at_risk__finds_good_customers_who_went_quiet(ledger, visitor):
    moments, spent = defaultdict(list), Counter()
    units = defaultdict(Counter)
    for order in ledger.orders.values():
        if order.status != "cancelled":
            moments[order.customer_id].append(order.placed_at)
    for line in ledger.sold:
        spent[line.order.customer_id] += line.revenue
        units[line.order.customer_id][line.product.category] += line.quantity
    at_risk = {}
    quiet_since = ledger.now - dt.timedelta(60)
    lost_before = ledger.now - dt.timedelta(365)
    for pk, times in moments.items():
        if len(times) >= 4 and lost_before <= max(times) < quiet_since:
            usual = (max(times) - min(times)) / (len(times) - 1)
            if ledger.now - max(times) > 2 * usual:
                at_risk[pk] = spent[pk]
    found = dashboard.get_customers_at_risk(visitor)
    assert at_risk
    assert found["customers"] == len(at_risk)
    assert found["revenue_cents"] == sum(at_risk.values())
    assert found["best"] == [
        {
            "customer_id": pk,
            "name": ledger.customers[pk].name,
            "orders": len(moments[pk]),
            "favourite": best(units[pk], 1)[0],
            "usual_gap_days": (max(moments[pk]) - min(moments[pk])).days // (len(moments[pk]) - 1),
            "quiet_days": (ledger.now - max(moments[pk])).days,
            "revenue_cents": spent[pk],
        }
        for pk in best(at_risk)
    ]


def test_get_bought_together__counts_customers_who_bought_both(ledger, visitor):
    bought = defaultdict(set)
    for line in ledger.since(365):
        bought[line.order.customer_id].add(line.product.pk)
    pairs, buyers = Counter(), Counter()
    for products in bought.values():
        buyers.update(products)
        pairs.update(combinations(sorted(products), 2))
    assert dashboard.get_bought_together(visitor) == [
        {
            "products": [ledger.products[first].name, ledger.products[second].name],
            "customers": pairs[first, second],
            "percent_of_first": share(pairs[first, second], buyers[first]),
        }
        for first, second in best(pairs)
    ]


def test_get_margins__subtracts_what_the_goods_cost(ledger, visitor):
    revenue, margin = Counter(), Counter()
    for line in ledger.since(365):
        revenue[line.product.category] += line.revenue
        margin[line.product.category] += line.revenue - line.quantity * line.product.cost_cents
    assert len(revenue) == 8
    assert dashboard.get_margins(visitor) == [
        {
            "category": category,
            "revenue_cents": revenue[category],
            "margin_cents": margin[category],
            "margin_percent": share(margin[category], revenue[category]),
        }
        for category in best(margin)
    ]


@pytest.mark.parametrize(
    "loader",
    [
        dashboard.get_today,
        dashboard.get_revenue_by_month,
        dashboard.get_top_products,
        dashboard.get_slow_stock,
        dashboard.get_customers_at_risk,
        dashboard.get_bought_together,
        dashboard.get_margins,
    ],
)
def test_loaders__of_an_empty_shop_say_what_to_do(empty_shop, visitor, loader):
    with pytest.raises(PartError, match="seed_shop") as caught:
        loader(visitor)
    assert caught.value.code == "shop_empty"


def test_get_exchange_rates__asks_the_service(service, visitor):
    service(json.dumps({"base": "EUR", "rates": {"USD": 1.25, "CHF": 1}}).encode())
    assert dashboard.get_exchange_rates(visitor) == {
        "live": True,
        "base": "EUR",
        "rates": {"CHF": 1.0, "USD": 1.25},
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 500),
        (b"<html>", 200),
        (b"[]", 200),
        (b'{"base": "EUR"}', 200),
        (b'{"base": "EUR", "rates": {"USD": "much"}}', 200),
        (b'{"base": "EUR", "rates": {"USD": null}}', 200),
        (b'{"base": "EUR", "rates": {"USD": NaN}}', 200),
        (b'{"rates": {"USD": 1.1}}', 200),
    ],
)
def test_get_exchange_rates__refuses_an_answer_that_makes_no_sense(service, visitor, body, status):
    service(body, status)
    with pytest.raises((OSError, ValueError)):
        dashboard.get_exchange_rates(visitor)


def test_get_exchange_rates__does_not_wait_for_a_silent_service(visitor, settings, monkeypatch):
    monkeypatch.setattr(exchange_rates, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and says nothing
        settings.SHOP_EXCHANGE_RATES_URL = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            dashboard.get_exchange_rates(visitor)


def test_get_exchange_rates__fails_where_nobody_listens(visitor):
    with pytest.raises(OSError, match="refused"):
        dashboard.get_exchange_rates(visitor)
    assert dashboard.get_last_known_rates(visitor, OSError()) == {
        "live": False,
        **exchange_rates.LAST_KNOWN,
    }
