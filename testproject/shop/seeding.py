"""Fills the shop with rows that are the same on every machine and every database.

One seeded generator draws everything, in whole numbers and relative to one date; the clock is
never read. The rows are two years of orders, with seasons, growth, customers who stop buying,
products that stop selling, and pairs that are bought together: enough data for each part of the
dashboard.
"""

from __future__ import annotations

import datetime as dt
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from django.core.management.color import no_style
from django.db import connection, models, transaction
from django.db.models import F, Max
from django.db.models.functions import Cast
from django.utils import timezone

from .catalogue import CITIES, FIRST_NAMES, GOODS, LAST_NAMES, MAKERS
from .models import Customer, Order, OrderLine, Product, Stock

DAYS = 730
DEFAULT_TODAY = dt.date(2026, 11, 20)
CLOSING_TIME = dt.time(17, 30)
"""The time of the newest order: the "now" of the seeded shop."""

_BATCH = 1000
_OPENING_HOUR = 7
_LAST_HOUR = 23

_SEASON = (70, 72, 85, 100, 118, 130, 135, 125, 105, 95, 115, 150)  # January to December
_WEEKDAY = (90, 85, 88, 95, 110, 125, 107)  # Monday to Sunday

PRODUCTS = len(MAKERS) * sum(len(goods) for goods in GOODS.values())

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Counts:
    """The number of rows written to each table."""

    customers: int
    products: int
    stock: int
    orders: int
    lines: int


def is_empty() -> bool:
    """Whether the shop has no rows yet."""
    return not any(model.objects.exists() for model in (Customer, Product, Order))


def seed(
    orders: int,
    *,
    today: dt.date = DEFAULT_TODAY,
    random_seed: int = 1,
    progress: Progress = lambda written: None,
) -> Counts:
    """Replace all rows of the shop, in one transaction, so an interrupted run changes nothing.

    Args:
        orders: The number of orders to make, at least 1.
        today: The day of the newest order, which is the dashboard's "today".
        random_seed: A different number makes a different shop, just as deterministic.
        progress: Called with the number of orders written since its last call.

    Returns:
        The number of rows of each table.
    """
    plan = _Plan(orders, today, random.Random(random_seed))
    with transaction.atomic():
        # Children first: rows without references to them are deleted in one statement per table.
        for model in (OrderLine, Stock, Order, Product, Customer):
            model.objects.all().delete()
        Customer.objects.bulk_create(plan.customers(), batch_size=_BATCH)
        Product.objects.bulk_create(plan.products(), batch_size=_BATCH)
        Stock.objects.bulk_create(plan.stock(), batch_size=_BATCH)
        lines = 0
        for batch in _batches(plan.orders_with_lines()):
            Order.objects.bulk_create([order for order, _ in batch], batch_size=_BATCH)
            batch_lines = [line for _, of_order in batch for line in of_order]
            OrderLine.objects.bulk_create(batch_lines, batch_size=_BATCH)
            lines += len(batch_lines)
            progress(len(batch))
        _settle(Customer, Product, Stock, Order, OrderLine)
    return Counts(
        customers=plan.customer_count,
        products=PRODUCTS,
        stock=PRODUCTS * len(Stock.Warehouse),
        orders=orders,
        lines=lines,
    )


def move_to(moment: dt.datetime) -> None:
    """Move all rows in time, so that the newest order is of this moment; nothing else changes.

    Dates move by whole days, so that no customer buys before joining.
    """
    with transaction.atomic():
        newest = Order.objects.aggregate(newest=Max("placed_at"))["newest"]
        if newest is None or newest == moment:
            return
        distance = moment - newest
        Order.objects.update(placed_at=F("placed_at") + distance)
        days = dt.timedelta(days=distance.days)
        for model, field in ((Customer, "joined_on"), (Stock, "received_on")):
            model.objects.update(**{field: Cast(F(field) + days, models.DateField())})


class _Plan:
    """Draws the rows, in a fixed order, from one generator."""

    def __init__(self, orders: int, today: dt.date, rng: random.Random) -> None:
        self.order_count = orders
        self.customer_count = max(20, orders // 8)
        self.today = today
        self.first_day = today - dt.timedelta(days=DAYS - 1)
        self.rng = rng
        # The days, counted from the first one, on which customers come and go and products fade.
        founders = self.customer_count // 2
        newcomers = self.customer_count - founders
        self.joined = [0] * founders + [rng.randrange(DAYS - 30) for _ in range(newcomers)]
        self.left = [
            rng.randrange(day + 30, DAYS + 1) if rng.randrange(100) < 30 else DAYS
            for day in self.joined
        ]
        self.fades = [
            rng.randrange(200, DAYS - 60) if rng.randrange(100) < 12 else DAYS
            for _ in range(PRODUCTS)
        ]
        self.list_prices: list[int] = []

    def customers(self) -> Iterator[Customer]:
        for i in range(self.customer_count):
            first, last = self.rng.choice(FIRST_NAMES), self.rng.choice(LAST_NAMES)
            earlier = self.rng.randrange(600) if self.joined[i] == 0 else 0
            yield Customer(
                pk=i + 1,
                name=f"{first} {last}",
                email=f"{first}.{last}.{i + 1}@example.com".lower(),
                city=self.rng.choice(CITIES),
                joined_on=self.first_day + dt.timedelta(days=self.joined[i] - earlier),
            )

    def products(self) -> Iterator[Product]:
        catalogue = [
            (maker, goods, category, cents)
            for category, shelf in GOODS.items()
            for goods, cents in shelf
            for maker in MAKERS
        ]
        self.rng.shuffle(catalogue)  # popularity falls with the number, so mix the shelves
        for i, (maker, goods, category, cents) in enumerate(catalogue):
            price = cents * self.rng.randrange(80, 131) // 100
            self.list_prices.append(price)
            yield Product(
                pk=i + 1,
                sku=f"{category[:3].upper()}-{i + 1:04}",
                name=f"{maker} {goods}",
                category=category,
                price_cents=price,
                cost_cents=price * self.rng.randrange(45, 81) // 100,
            )

    def stock(self) -> Iterator[Stock]:
        for product in range(PRODUCTS):
            faded = self.fades[product] < DAYS
            for i, warehouse in enumerate(Stock.Warehouse.values, product * len(Stock.Warehouse)):
                yield Stock(
                    pk=i + 1,
                    product_id=product + 1,
                    warehouse=warehouse,
                    quantity=self._stock_level(product, faded),
                    received_on=self.today
                    - dt.timedelta(days=self.rng.randrange(150 if faded else 2, 400)),
                )

    def _stock_level(self, product: int, faded: bool) -> int:
        """Products that sell well are stocked in bulk, and faded ones are left over."""
        # A product's share of all sales falls with its number, as `_pick_product` draws it.
        monthly = self.order_count * (PRODUCTS - product) // (PRODUCTS * PRODUCTS * 5)
        usual = self.rng.randrange(monthly // 3 + 1, monthly + 12)
        return usual + self.rng.randrange(20, 120) if faded else usual

    def orders_with_lines(self) -> Iterator[tuple[Order, list[OrderLine]]]:
        """All orders with their lines, oldest first."""
        line_pk = 1
        for i, placed_at in enumerate(self._moments()):
            day = (placed_at.date() - self.first_day).days
            order = Order(
                pk=i + 1,
                customer_id=self._pick_customer(day) + 1,
                placed_at=placed_at,
                status=self._status(DAYS - 1 - day, is_newest=i == self.order_count - 1),
            )
            lines = []
            for product in self._basket(day):
                lines.append(
                    OrderLine(
                        pk=line_pk,
                        order_id=order.pk,
                        product_id=product + 1,
                        quantity=1 + (self.rng.randrange(100) < 22) + (self.rng.randrange(100) < 6),
                        unit_price_cents=self._price(product, day),
                    )
                )
                line_pk += 1
            yield order, lines

    def _moments(self) -> list[dt.datetime]:
        """The times of the orders, ascending; the last one is at closing time of the last day."""
        days = [self.first_day + dt.timedelta(days=n) for n in range(DAYS)]
        weights = [
            (DAYS + n) * _SEASON[day.month - 1] * _WEEKDAY[day.weekday()]
            for n, day in enumerate(days)
        ]
        drawn = list(accumulate(weights))
        zone = timezone.get_current_timezone()
        newest = dt.datetime.combine(self.today, CLOSING_TIME)
        moments = [newest]
        while len(moments) < self.order_count:
            day = days[bisect_right(drawn, self.rng.randrange(drawn[-1]))]
            second = self.rng.randrange(_OPENING_HOUR * 3600, _LAST_HOUR * 3600)
            moment = dt.datetime.combine(day, dt.time.min) + dt.timedelta(seconds=second)
            if moment <= newest:
                moments.append(moment)
        return [moment.replace(tzinfo=zone) for moment in sorted(moments)]

    def _pick_customer(self, day: int) -> int:
        """A customer who had joined and not left by then; low numbers are more frequent."""
        while True:
            i = min(
                self.rng.randrange(self.customer_count), self.rng.randrange(self.customer_count)
            )
            if self.joined[i] <= day <= self.left[i]:
                return i

    def _pick_product(self, day: int) -> int:
        """A product that still sold by then; low numbers are more frequent."""
        while True:
            i = min(self.rng.randrange(PRODUCTS), self.rng.randrange(PRODUCTS))
            if day <= self.fades[i] or self.rng.randrange(100) < 2:
                return i

    def _basket(self, day: int) -> list[int]:
        """The distinct products of one order; every second product has a companion."""
        size = 1 + self.rng.randrange(3) + (self.rng.randrange(100) < 25) * self.rng.randrange(3)
        basket: list[int] = []
        while len(basket) < size:
            product = self._pick_product(day)
            for wanted in (product, product ^ 1):
                if wanted not in basket:
                    basket.append(wanted)
                if product % 2 or self.rng.randrange(100) >= 25:
                    break
        return basket

    def _price(self, product: int, day: int) -> int:
        """The price on that day: a tenth lower two years ago, and sometimes on sale."""
        percent = 90 + day * 10 // DAYS - (15 if self.rng.randrange(100) < 10 else 0)
        return self.list_prices[product] * percent // 100

    def _status(self, age: int, *, is_newest: bool) -> str:
        """Orders are packed within days and delivered within two weeks, most of the time.

        The newest one is not cancelled, so the shop has always sold something today.
        """
        draw = self.rng.randrange(100)
        if draw < 3 and not is_newest:
            return Order.Status.CANCELLED
        if age < 2:
            return Order.Status.NEW if draw < 70 else Order.Status.PACKED
        if age < 5:
            return Order.Status.PACKED if draw < 40 else Order.Status.SHIPPED
        if age < 14:
            return Order.Status.SHIPPED if draw < 25 else Order.Status.DELIVERED
        return Order.Status.DELIVERED


def _batches(
    rows: Iterable[tuple[Order, list[OrderLine]]],
) -> Iterator[list[tuple[Order, list[OrderLine]]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _settle(*tables: type[models.Model]) -> None:
    """Update the database's sequences and statistics.

    The primary keys were set explicitly, so the sequences must be moved past them. PostgreSQL's
    planner does not know about new rows for a while, and its plans are ten times too slow until
    the tables are analyzed.
    """
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), list(tables)):
            cursor.execute(statement)
        if connection.vendor == "postgresql":
            for table in tables:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(table._meta.db_table)}")
