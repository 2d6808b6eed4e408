from __future__ import annotations

import datetime as dt
import hashlib
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from shop import dashboard, seeding
from shop.models import Customer, Order, OrderLine, Product, Stock

pytestmark = pytest.mark.django_db

MODELS = (Customer, Product, Stock, Order, OrderLine)


def digest() -> str:
    """Every value of every row."""
    found = hashlib.sha256()
    for model in MODELS:
        for row in model.objects.order_by("pk").values_list():
            found.update(repr([str(value) for value in row]).encode())
    return found.hexdigest()


def seed_shop(**options) -> str:
    out = StringIO()
    call_command("seed_shop", stdout=out, **options)
    return out.getvalue()


def test_seed__rows_are_the_same_on_every_python_and_database(own_shop):
    assert digest() == ("554f7d24937cff038df3800d59d0924467680fffeb2a46b785f0d534321c703d")


def test_seed__a_second_run_replaces_all_rows_by_the_same(own_shop):
    first = digest()
    Customer.objects.filter(pk=1).update(name="Somebody Else")
    assert digest() != first
    assert seeding.seed(own_shop.orders) == own_shop
    assert digest() == first


def test_seed__another_random_seed_makes_another_shop(own_shop):
    first = digest()
    seeding.seed(own_shop.orders, random_seed=2)
    assert digest() != first


def test_seed__counts_what_it_wrote(own_shop):
    assert [
        own_shop.customers,
        own_shop.products,
        own_shop.stock,
        own_shop.orders,
        own_shop.lines,
    ] == [model.objects.count() for model in MODELS]


def test_seed__the_newest_order_is_of_today_and_none_is_older_than_two_years(db):
    today = dt.date(2031, 2, 3)
    seeding.seed(200, today=today)
    moments = list(Order.objects.order_by("pk").values_list("placed_at", flat=True))
    assert moments == sorted(moments)
    assert timezone.localtime(moments[-1]).date() == today
    assert moments[0] >= moments[-1] - dt.timedelta(days=seeding.DAYS)


def test_seed__every_order_has_lines_and_every_rule_of_the_shop_holds(own_shop):
    assert not Order.objects.filter(lines=None).exists()
    assert not Product.objects.exclude(cost_cents__lt=10**9).exists()
    for product in Product.objects.all():
        assert 0 < product.cost_cents < product.price_cents
    joined = dict(Customer.objects.values_list("pk", "joined_on"))
    for customer, placed_at in Order.objects.values_list("customer", "placed_at"):
        assert joined[customer] <= timezone.localtime(placed_at).date()


def test_seed__progress_adds_up(db):
    written = []
    seeding.seed(2500, progress=written.append)
    assert sum(written) == 2500
    assert len(written) > 1


def test_seed__new_rows_can_be_added_afterwards(own_shop):
    customer = Customer.objects.create(
        name="New", email="new@example.com", city="Bern", joined_on=dt.date(2026, 1, 1)
    )
    assert customer.pk == own_shop.customers + 1
    assert (
        Order.objects.create(customer=customer, placed_at=timezone.now()).pk == own_shop.orders + 1
    )


def test_seed__a_failure_leaves_the_old_rows(own_shop):
    before = digest()

    def fail(written):
        raise RuntimeError("unplugged")

    with pytest.raises(RuntimeError):
        seeding.seed(50, random_seed=3, progress=fail)
    assert digest() == before


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2026, 11, 20, 17, 30, tzinfo=dt.timezone.utc),  # where it is
        dt.datetime(2027, 3, 1, 0, 0, tzinfo=dt.timezone.utc),
        dt.datetime(2027, 3, 1, 9, 12, tzinfo=dt.timezone.utc),
        dt.datetime(2025, 6, 30, 23, 59, tzinfo=dt.timezone.utc),
    ],
)
def test_move_to__keeps_all_distances_and_sells_something_on_that_day(own_shop, moment, rf):
    def placed():
        return dict(Order.objects.values_list("pk", "placed_at"))

    before = placed()
    joined = dict(Customer.objects.values_list("pk", "joined_on"))
    received = dict(Stock.objects.values_list("pk", "received_on"))
    seeding.move_to(moment)

    distance = moment - max(before.values())
    assert placed() == {pk: placed_at + distance for pk, placed_at in before.items()}
    assert max(placed().values()) == moment
    days = dt.timedelta(days=distance // dt.timedelta(days=1))
    for model, field, dates in [
        (Customer, "joined_on", joined),
        (Stock, "received_on", received),
    ]:
        moved = dict(model.objects.values_list("pk", field))
        assert moved == {pk: date + days for pk, date in dates.items()}
        # As they are stored, too, where a database would keep other text.
        assert model.objects.filter(**{field: moved[1]}, pk=1).exists()
    for customer, placed_at in Order.objects.values_list("customer__joined_on", "placed_at"):
        assert customer <= placed_at.date()

    today = dashboard.get_today(rf.get("/"))
    assert today["as_of"] == moment
    assert today["orders"] >= 1
    assert today["revenue_cents"] > 0


def test_move_to__leaves_an_empty_shop_alone(db):
    seeding.move_to(timezone.now())
    assert seeding.is_empty()


def test_seed__the_newest_order_is_not_cancelled(db):
    seeding.seed(1, random_seed=27)  # which draws so
    assert Order.objects.get().status != Order.Status.CANCELLED


def test_seed_shop__says_what_it_did():
    assert seed_shop(orders=30).startswith("Seeded 30 orders with ")
    assert Order.objects.count() == 30


def test_seed_shop__is_quiet_when_asked():
    assert seed_shop(orders=30, verbosity=0) == ""


def test_seed_shop__refuses_to_overwrite_unasked(own_shop):
    before = digest()
    with pytest.raises(CommandError, match="--replace"):
        seed_shop(orders=30)
    assert digest() == before
    seed_shop(orders=30, replace=True)
    assert Order.objects.count() == 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"orders": 0}, "--orders must be between 1 and"),
        ({"orders": -5}, "--orders must be between 1 and"),
        ({"orders": 10**9}, "--orders must be between 1 and"),
        ({"today": "tomorrow"}, "--today must be a date"),
        ({"today": "2026-02-30"}, "--today must be a date"),
        ({"today": "0001-01-01"}, "--today must be a date"),
    ],
)
def test_seed_shop__refuses_options_that_cannot_work(options, said):
    with pytest.raises(CommandError, match=said):
        seed_shop(**{"orders": 30, **options})
    assert seeding.is_empty()
