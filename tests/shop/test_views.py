from __future__ import annotations

import json
from itertools import count

import pytest
from django.core.cache import caches

from partstream.testing import collect, inline
from shop import courier, dashboard, exchange_rates, seeding
from shop.views import DashboardView, ReadyFirstView

DASHBOARD = "/api/dashboard/"
READY_FIRST = "/api/ready-first/"
EVERYBODY = [
    "meta",
    "today",
    "open_orders",
    "recent_orders",
    "top_products",
    "restock",
    "exchange_rates",
    "deliveries",
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


@pytest.mark.parametrize("mode", ["keys", "stream", "sse"])
def test_dashboard__every_delivery_and_the_blocking_view_say_the_same(shop, client, names, mode):
    walked = collect(client, DASHBOARD)
    assert list(walked) == names
    assert walked.requests == -(-len(names) // 2)
    assert dict(collect(client, DASHBOARD, mode=mode)) == dict(walked)
    assert client.get("/api/blocking/").json() == dict(walked)


@inline()
def test_ready_first__begins_all_parts_with_the_first_request(shop, client, names):
    found = collect(client, READY_FIRST)
    assert list(found) == names
    assert found.requests == 1
    assert dict(found) == dict(collect(client, DASHBOARD))


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
    assert list(parts) == ["meta", "open_orders", "recent_orders", "exchange_rates", "deliveries"]
    assert {error["code"] for error in parts.errors.values()} == {"shop_empty", "dependency_failed"}
    assert "seed_shop" in parts.errors["today"]["detail"]

    seeding.seed(60)
    cursor = parts.errors["today"]["retry_cursor"]
    answer = client.get(DASHBOARD, {"cursor": cursor}).json()
    assert [list(result) for result in answer["results"]] == [["today"]]
    assert answer["cursor"] is None


# The courier, who does not answer the first call of a visit


@pytest.fixture
def visits(empty_cache):
    """Makes ids of visits that nobody has made yet."""
    return (f"visit-{number}" for number in count(1))


@pytest.mark.parametrize("mode", ["walk", "keys", "stream", "sse"])
def test_courier__fails_at_the_first_call_of_a_visit_and_a_retry_works(shop, client, visits, mode):
    visit = next(visits)
    url = f"{DASHBOARD}?visit={visit}"
    found = collect(client, url, mode=mode, allow_errors=True)
    assert set(found) == {*EVERYBODY} - {"deliveries"}
    error = found.errors.pop("deliveries")
    assert not found.errors
    assert (error["code"], error["retryable"]) == ("courier_unavailable", True)
    assert error["detail"] == "The courier did not answer."

    if mode == "keys":
        path, asked = f"{DASHBOARD}parts/", {"visit": visit, "keys": "deliveries"}
    else:
        path, asked = DASHBOARD, {"visit": visit, "cursor": error["retry_cursor"]}
        # Cursors are bound to the visit.
        assert client.get(path, {**asked, "visit": next(visits)}).status_code == 400
    answer = client.get(path, asked).json()
    assert answer["results"] == [{"deliveries": dashboard_of(client)["deliveries"]}]
    assert (answer["cursor"], "errors" in answer) == (None, False)
    assert dict(collect(client, url, mode=mode)) == dashboard_of(client)


def dashboard_of(client):
    """The whole dashboard without a visit, of which nothing fails."""
    return dict(collect(client, DASHBOARD))


def test_courier__of_another_visit_is_not_disturbed(shop, client, visits):
    one, other, third = (f"?visit={next(visits)}" for _ in range(3))
    assert client.get(f"/api/blocking/{one}").json()["deliveries"] is None
    assert "deliveries" in collect(client, DASHBOARD + other, allow_errors=True).errors
    assert client.get(f"/api/blocking/{one}").json() == dashboard_of(client)
    assert client.get(f"/api/blocking/{other}").json() == dashboard_of(client)
    with inline():
        assert "deliveries" in collect(client, READY_FIRST + third, allow_errors=True).errors
        assert dict(collect(client, READY_FIRST + third)) == dashboard_of(client)


@pytest.mark.parametrize("visit", ["", "a b", "a" * 65, "caf\u00e9"])
def test_courier__answers_where_there_is_no_id(shop, client, empty_cache, visit):
    answer = client.get("/api/blocking/", {"visit": visit}).json()
    assert answer["deliveries"] == client.get("/api/blocking/").json()["deliveries"] != []


def test_courier__remembers_a_visit_for_a_while_only(shop, client, visits, monkeypatch):
    monkeypatch.setattr(courier, "REMEMBERED_SECONDS", 0)
    visit = {"visit": next(visits)}
    for _ in range(2):
        assert client.get("/api/blocking/", visit).json()["deliveries"] is None


def test_courier__remembers_visits_where_all_processes_look(shop, client, visits, settings):
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {"default": local, "partstream": {**local, "LOCATION": "shared"}}
    visit = {"visit": next(visits)}
    assert client.get("/api/blocking/", visit).json()["deliveries"] is None
    caches["default"].clear()
    assert client.get("/api/blocking/", visit).json()["deliveries"]
    caches["partstream"].clear()
    assert client.get("/api/blocking/", visit).json()["deliveries"] is None


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


def test_views__have_limits_of_all_their_parts():
    assert DashboardView.max_keys_per_request == len(STAFF)
    assert ReadyFirstView.chunk_size == len(STAFF)
