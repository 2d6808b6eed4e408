from __future__ import annotations

import inspect
from io import StringIO

from django.core.management import call_command
from django.test import override_settings

from partstream.testing import collect, inline
from tests.projects.oracle import answer, assert_same_as_urls
from tests.projects.repairs import dashboards, urls

from .base import RepairsTestCase

URLS = {
    "profile": "/api/profile/",
    "customers": "/api/customers/",
    "bicycles": "/api/bicycles/?limit=3",
    "all_orders": "/api/orders/",
    "order_summary": "/api/orders/summary/",
    "first_order": "/api/orders/r-1/",
    "spare_parts": "/api/stock/",
    "top_prices": "/api/prices/",
    "more_customers": "/api/customers/?page=2&page_size=1",
    "more_bicycles": "/api/bicycles/?offset=1&limit=1",
}


class FrontPageTests(RepairsTestCase):
    def test_parts__are_what_their_urls_answer(self):
        parts = collect(self.owner, "/api/front/")
        assert_same_as_urls(self.owner, parts, URLS)
        assert parts.requests == 3

    def test_parts__are_the_same_by_cursor_and_by_key(self):
        walked = collect(self.owner, "/api/front/")
        assert collect(self.owner, "/api/front/", mode="keys") == walked
        keys = ",".join(URLS)
        by_key = answer(self.owner, f"/api/front/parts/?keys={keys}")["results"]
        assert {name: data for each in by_key for name, data in each.items()} == walked

    def test_links__lead_to_the_next_page_of_the_endpoint(self):
        parts = collect(self.owner, "/api/front/")
        for name in ("customers", "all_orders", "more_customers", "more_bicycles"):
            page, followed = parts[name], []
            assert page["next"] is not None, name
            while page["next"]:
                page = answer(self.owner, page["next"])
                followed += page["results"]
            assert followed, name

    def test_part__that_a_permission_hides_is_nowhere(self):
        hidden = {name: url for name, url in URLS.items() if name != "top_prices"}
        with inline():
            parts = collect(self.mechanic, "/api/front/")
        assert_same_as_urls(self.mechanic, parts, hidden)
        assert "top_prices" not in answer(self.mechanic, "/api/front/manifest/")["parts"]

    def test_session__is_as_good_as_a_token(self):
        session = self.client_class(HTTP_HOST="north.workshops.example")
        session.force_login(self.north.membership_set.get(is_owner=True).user)
        assert_same_as_urls(session, collect(session, "/api/front/"), URLS)

    def test_client__of_another_workshop_gets_nothing(self):
        stranger = self.client_class(
            HTTP_HOST="south.workshops.example", HTTP_AUTHORIZATION="Token token-of-north-owner"
        )
        assert stranger.get("/api/front/").status_code == 403

    def test_version__is_the_clients(self):
        accept = "application/json; version=2.0"
        parts = collect(self.owner, "/api/front/", HTTP_ACCEPT=accept)
        assert parts["first_order"]["assignedTo"] == "north-mechanic"
        assert_same_as_urls(self.owner, parts, URLS, HTTP_ACCEPT=accept)
        assert "assignedTo" not in collect(self.owner, "/api/front/")["first_order"]

    def test_lines__are_few(self):
        mounting = [line for line in inspect.getsource(urls).splitlines() if ".FrontPage" in line]
        lines = inspect.getsource(dashboards.FrontPage).splitlines() + mounting
        assert len(dashboards.FrontPage.parts) == 10
        assert len(lines) <= 20


class CommandTests(RepairsTestCase):
    def test_partstream_walk__shows_the_parts_of_a_workshop(self):
        said = StringIO()
        url = "http://north.workshops.example/api/front/"
        call_command("partstream_walk", url, user="north-owner", stdout=said)
        for name in URLS:
            assert name in said.getvalue()


class CamelCaseTests(RepairsTestCase):
    def test_protocol__has_the_same_keys_for_both_clients(self):
        camel, plain = (answer(self.owner, f"/api/{name}/") for name in ("front", "plain-front"))
        for envelope in (camel, plain):
            envelope["meta"].pop("manifest_url")
        assert camel.keys() == plain.keys()
        assert camel["meta"] == plain["meta"]
        names = [[name for each in one["results"] for name in each] for one in (camel, plain)]
        assert names == [["profile", "customers", "bicycles", "all_orders"]] * 2
        manifests = [
            answer(self.owner, f"/api/{name}/manifest/")["parts"]
            for name in ("front", "plain-front")
        ]
        assert manifests[0] == manifests[1]

    def test_data__is_in_the_case_of_the_dashboard(self):
        assert collect(self.owner, "/api/front/")["profile"] == {
            "userName": "north-owner",
            "workshopSlug": "north",
        }
        assert collect(self.owner, "/api/plain-front/")["profile"] == {
            "user_name": "north-owner",
            "workshop_slug": "north",
        }

    def test_refusal__of_a_request_is_the_projects_own(self):
        response = self.owner.get("/api/front/?cursor=abc")
        assert response.status_code == 400
        assert set(response.json()) == {"errorCode", "errorText"}


class OrderPageTests(RepairsTestCase):
    def test_page__of_an_order(self):
        parts = collect(self.mechanic, "/api/orders/r-1/page/")
        assert parts["order"] == answer(self.mechanic, "/api/orders/r-1/")
        frame = parts["order"]["frameNumber"]
        assert parts["bicycle"]["frameNumber"] == frame
        assert parts["other_orders"] == ["r-2", "r-3"]
        assert collect(self.mechanic, "/api/orders/r-1/page/", mode="keys") == parts

    def test_page__has_the_suffixes_of_the_router(self):
        plain = collect(self.mechanic, "/api/orders/r-1/page/")
        assert collect(self.mechanic, "/api/orders/r-1/page.json") == plain

    def test_page__of_an_order_that_is_not_for_this_mechanic(self):
        assert self.mechanic.get("/api/orders/r-3/").status_code == 404
        found = collect(self.mechanic, "/api/orders/r-3/page/", allow_errors=True)
        assert found.errors["order"]["code"] == "part_not_found"
        assert found.errors["bicycle"]["code"] == "dependency_failed"

    def test_other_actions__are_as_they_were(self):
        made = self.owner.patch("/api/orders/r-1/", {"isDone": True})
        assert made.json()["isDone"] is True
        assert "X-Request-ID" not in made.headers


@override_settings(DEBUG=True)
class DebugTests(RepairsTestCase):
    def test_front_page__is_the_same(self):
        assert_same_as_urls(self.owner, collect(self.owner, "/api/front/"), URLS)
