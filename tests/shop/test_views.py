from __future__ import annotations

import json

import pytest

from partstream.testing import collect
from shop import dashboard, exchange_rates, seeding
from shop.views import DashboardView

DASHBOARD = "/api/dashboard/"
EVERYBODY = [
    "meta",
    "today",
    "open_orders",
    "recent_orders",
    "top_products",
    "restock",
    "exchange_rates",
    "revenue_by_month",
    "slow_stock",
    "customers_at_risk",
    "bought_together",
]
STAFF = [*EVERYBODY, "margins"]


@pytest.fixture(params=["anyone", "staff"])
def names(request, client):
    """The parts that the client's user has, who is anybody first and staff then."""
    if request.param == "anyone":
        return EVERYBODY
    client.force_login(request.getfixturevalue("staff"))
    return STAFF


def test_dashboard__walk_keys_and_blocking_view_say_the_same(shop, client, names):
    walked = collect(client, DASHBOARD)
    assert list(walked) == names
    assert walked.requests == 6
    assert dict(collect(client, DASHBOARD, mode="keys")) == dict(walked)
    assert client.get("/api/blocking/").json() == dict(walked)


def test_dashboard__all_parts_can_be_asked_for_at_once(shop, client, names):
    answer = client.get(f"{DASHBOARD}parts/", {"keys": ",".join(names)}).json()
    assert [list(result) for result in answer["results"]] == [[name] for name in names]


def test_dashboard__the_manifest_lists_what_the_user_has(shop, client, names):
    parts = client.get(f"{DASHBOARD}manifest/").json()["parts"]
    assert list(parts) == names
    assert parts["restock"]["dependencies"] == ["top_products"]
    assert parts["revenue_by_month"]["size"] == "large"


def test_dashboard__margins_do_not_exist_for_others(shop, client, user):
    for _ in range(2):  # for a visitor, and for somebody who signed in and is not staff
        for url in ("/api/dashboard/", "/api/report/"):
            assert "margins" not in collect(client, url)
        answer = client.get(f"{DASHBOARD}parts/", {"keys": "margins"})
        assert (answer.status_code, answer.json()["code"]) == (400, "part_unknown")
        assert "margins" not in client.get("/api/blocking/").json()
        client.force_login(user)


def test_dashboard__the_first_chunk_asks_little_of_the_database(
    shop, client, django_assert_max_num_queries
):
    with django_assert_max_num_queries(20) as asked:
        answer = client.get(DASHBOARD).json()
    # The savepoints of a test's transaction aside: when it is now, today, and a week ago.
    assert sum(query["sql"].startswith("SELECT") for query in asked.captured_queries) == 3
    assert [list(result) for result in answer["results"]] == [["meta"], ["today"]]


def test_dashboard__parts_that_belong_together_share_a_chunk(shop, client, monkeypatch):
    calls = []
    load = dashboard.get_top_products

    def count(request):
        calls.append(1)
        return load(request)

    monkeypatch.setattr(dashboard, "get_top_products", count)
    collect(client, DASHBOARD)
    assert len(calls) == 1


def test_dashboard__a_closed_exchange_is_covered_by_the_fallback(shop, client, caplog):
    found = collect(client, DASHBOARD)["exchange_rates"]
    assert found == {"live": False, **exchange_rates.LAST_KNOWN}
    assert [record.name for record in caplog.records].count("partstream.parts") == 1


def test_dashboard__an_open_exchange_gives_live_rates(shop, client, service):
    service(json.dumps({"base": "EUR", "rates": {"USD": 1.25}}).encode())
    rates = {"live": True, "base": "EUR", "rates": {"USD": 1.25}}
    assert collect(client, DASHBOARD)["exchange_rates"] == rates
    assert client.get("/api/blocking/").json()["exchange_rates"] == rates


def test_dashboard__an_empty_shop_fails_part_by_part_and_can_be_retried(empty_shop, client, caplog):
    parts = collect(client, DASHBOARD, allow_errors=True)
    assert list(parts) == ["meta", "open_orders", "recent_orders", "exchange_rates"]
    assert {error["code"] for error in parts.errors.values()} == {"shop_empty", "dependency_failed"}
    assert "seed_shop" in parts.errors["today"]["detail"]

    seeding.seed(60)
    cursor = parts.errors["today"]["retry_cursor"]
    answer = client.get(DASHBOARD, {"cursor": cursor}).json()
    assert [list(result) for result in answer["results"]] == [["today"]]
    assert answer["cursor"] is None


def test_report__is_a_walk_of_its_own(shop, client, names):
    report = collect(client, "/api/report/")
    wanted = ["about", "top_products", "restock", "revenue_by_month", "margins"]
    assert list(report) == [name for name in wanted if name in [*names, "about"]]
    assert report.requests == len(report)
    for name, data in collect(client, DASHBOARD).items():
        assert name not in report or report[name] == data


def test_page__knows_where_to_ask(db, client):
    page = client.get("/").content.decode()
    for url in (DASHBOARD, f"{DASHBOARD}manifest/", "/api/blocking/"):
        assert f'"{url}"' in page


def test_dashboard_view__asks_for_no_more_keys_than_it_has_parts(rf):
    assert DashboardView.max_keys_per_request == len(STAFF)
