from __future__ import annotations

from partstream.testing import collect
from tests.projects.oracle import answer

from .base import RepairsTestCase


class BoardTests(RepairsTestCase):
    def test_page__is_that_of_the_views_own_paginator_in_each_delivery(self):
        for query in ("", "?page=2", "?pageSize=1&page=2"):
            url = f"/api/board/{query}"
            walked = collect(self.owner, url)
            assert collect(self.owner, url, mode="keys") == walked
            page, own = walked["customer_page"], answer(self.owner, f"/api/customers/{query}")
            assert page["results"] == own["results"]
            for direction in ("next", "previous"):
                link = own[direction] and own[direction].replace("/customers/", "/board/")
                # A loader sees the query as the project's middleware left it. Both names work.
                assert page[direction] == (link and link.replace("pageSize", "page_size"))

    def test_page__its_link_leads_to_the_next_one(self):
        page = collect(self.owner, "/api/board/?pageSize=1")["customer_page"]
        seen = page["results"]
        while page["next"]:
            page = collect(self.owner, page["next"].partition("example")[2])["customer_page"]
            seen = seen + page["results"]
        assert [each["fullName"] for each in seen] == [
            f"Customer {number} of north" for number in (1, 2, 3)
        ]

    def test_permissions__of_a_part_look_at_the_model_of_its_view(self):
        assert list(collect(self.owner, "/api/board/")) == [
            "head",
            "customer_page",
            "bicycles",
            "spare_parts",
        ]
        assert list(collect(self.mechanic, "/api/board/")) == ["head", "customer_page", "bicycles"]

    def test_request_id__is_the_projects_own(self):
        with self.assertLogs("partstream.audit", "WARNING") as logs:
            refused = self.owner.get("/api/board/?cursor=x", HTTP_X_CORRELATION_ID="till-7")
        assert refused.status_code == 400
        assert refused.headers["X-Request-ID"] == refused.headers["X-Correlation-ID"] == "till-7"
        assert '"request_id":"till-7"' in logs.output[0]
        made = self.owner.get("/api/board/")
        assert made.headers["X-Request-ID"] == made.headers["X-Correlation-ID"] != "till-7"
