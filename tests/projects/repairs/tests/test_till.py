from __future__ import annotations

from partstream.testing import collect, inline
from tests.projects.oracle import answer
from tests.projects.repairs.models import SparePart
from tests.projects.repairs.tenants import as_workshop

from .base import RepairsTestCase


class TillTests(RepairsTestCase):
    def setUp(self):
        super().setUp()
        with as_workshop(self.north):
            self.part = SparePart.objects.get(part_name="Chain 2 of north").pk

    def collect(self, client, query, *, part=None):
        url = f"/api/till/{part or self.part}/?{query}"
        with inline():
            return collect(client, url, allow_errors=True)

    def test_parts__follow_the_arguments_of_the_dashboard(self):
        parts = self.collect(self.owner, "howMany=2&order=r-1")
        quote = f"/api/quote/?sparePart={self.part}&howMany=2"
        assert parts["quote"] == answer(self.owner, quote)
        assert parts["quote"] == {"totalPrice": 40}
        assert parts["order"] == answer(self.owner, "/api/orders/r-1/")

    def test_object_permission__of_the_projects_backend_decides(self):
        for number, client, is_allowed in (
            ("r-1", self.mechanic, True),
            ("r-3", self.mechanic, False),
            ("r-3", self.owner, True),
        ):
            parts = self.collect(client, f"howMany=1&order={number}")
            status = client.get(f"/api/orders/{number}/").status_code
            assert ("order" in parts) == is_allowed, number
            assert status == (200 if is_allowed else 404)
            if not is_allowed:
                assert parts.errors["order"]["code"] == "part_not_found"

    def test_invalid_input__has_the_problems_of_the_endpoint_in_camel_case(self):
        found = self.collect(self.owner, "howMany=21&order=r-1")
        error = found.errors["quote"]
        assert error["code"] == "part_invalid"
        assert error["problems"] == {"howMany": ["Ensure this value is less than or equal to 20."]}
        assert "retry_cursor" not in error
        own = self.owner.get(f"/api/quote/?sparePart={self.part}&howMany=21")
        assert own.status_code == 400
        assert own.json()["errorText"] == error["problems"]

    def test_domain_error__is_what_the_projects_handler_answers(self):
        found = self.collect(self.owner, "howMany=3&order=r-1")
        own = self.owner.get(f"/api/quote/?sparePart={self.part}&howMany=3")
        assert own.status_code == 409
        assert found.errors["quote"]["code"] == "part_invalid"
        assert found.errors["quote"]["problems"] == own.json()
        assert own.json() == {"errorCode": "OutOfStock", "errorText": "There are only 2."}

    def test_fallback__gets_what_the_endpoint_answered(self):
        found = self.collect(self.owner, "howMany=3&order=r-1")
        assert found["safe_quote"]["statusCode"] == 409
        assert found["safe_quote"]["said"]["errorCode"] == "OutOfStock"

    def test_missing_object__is_not_found(self):
        found = self.collect(self.owner, "howMany=3&order=none", part=99999)
        codes = {name: error["code"] for name, error in found.errors.items()}
        names = ("quote", "safe_quote", "order")  # No fallback covers what does not exist.
        assert codes == dict.fromkeys(names, "part_not_found")
        assert "problems" not in found.errors["quote"]

    def test_retry_cursor__keeps_its_name(self):
        # The query has no how_many: a bug of the dashboard.
        with self.assertLogs("partstream.parts", "ERROR"):
            found = self.collect(self.owner, "order=r-1")
        assert found.errors["quote"]["code"] == "part_failed"
        assert "retry_cursor" in found.errors["quote"]

    def test_keys__unknown_and_hidden_ones_are_left_out_alike(self):
        url = f"/api/till/{self.part}/parts/?howMany=1&order=r-1&keys="
        body = answer(self.mechanic, f"{url}order,top_prices,topPrices")
        assert [list(each) for each in body["results"]] == [["order"]]
        [hidden, unknown] = body["errors"]
        assert (hidden.pop("part"), unknown.pop("part")) == ("top_prices", "topPrices")
        assert hidden == unknown
        assert hidden["code"] == "part_unknown"
        for_owner = answer(self.owner, f"{url}order,top_prices")
        assert for_owner["results"][1]["top_prices"] == answer(self.owner, "/api/prices/")
