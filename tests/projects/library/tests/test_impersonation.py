"""A librarian who acts as a reader sees what the reader sees, and shares nothing with them."""

from __future__ import annotations

from django.core.cache import cache
from rest_framework.test import APIClient

from partstream.testing import collect
from tests.projects.library.models import Loan
from tests.projects.oracle import answer, assert_same_as_urls

from .base import LibraryTestCase, bearer, with_jwt, with_session
from .test_desk import urls_of


def acting_as(name, *, librarian="grace"):
    client = with_session(librarian)
    session = client.session
    session["acts_as"] = name
    session.save()
    return client


class ImpersonationTests(LibraryTestCase):
    def test_parts__are_those_of_the_reader(self):
        for client in (
            acting_as("ada"),
            with_session("grace", HTTP_X_ACTS_AS="ada"),
            with_jwt("grace", HTTP_X_ACTS_AS="ada"),
        ):
            cache.clear()
            parts = collect(client, "/v2/desk/")
            assert parts["account"] == {
                "username": "ada",
                "is_staff": False,
                "helped_by": "grace",
            }
            assert_same_as_urls(client, parts, urls_of("v2"))

    def test_header__of_a_reader_changes_nothing(self):
        client = with_session("bob", HTTP_X_ACTS_AS="ada")
        assert collect(client, "/v2/desk/")["account"]["username"] == "bob"

    def test_cache__has_an_entry_for_each_of_those_who_are_the_reader(self):
        ada, clients = with_session("ada"), [acting_as("ada"), acting_as("ada", librarian="heidi")]

        def count(client):
            return len(collect(client, "/v2/desk/")["loans"]["results"])

        assert count(ada) == 2
        Loan.objects.filter(reader__username="ada").first().delete()
        Loan.objects.filter(reader__username="ada").first().delete()
        assert count(ada) == 2  # From her entry.
        assert [count(client) for client in clients] == [1, 1]
        Loan.objects.filter(reader__username="ada").delete()
        assert [count(client) for client in (ada, *clients)] == [2, 1, 1]

    def test_cursor__of_the_librarian_is_not_the_readers(self):
        ada, librarian = with_session("ada"), acting_as("ada")
        cursor = answer(librarian, "/v2/desk/")["cursor"]
        refused = ada.get(f"/v2/desk/?cursor={cursor}")
        assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")
        assert librarian.get(f"/v2/desk/?cursor={cursor}").status_code == 200


class OtherAuthenticatorTests(LibraryTestCase):
    """The payroll takes tokens only, and the desk takes sessions first."""

    def test_part__is_what_its_url_answers_to_a_token(self):
        client = with_jwt("grace")
        parts = collect(client, "/v1/staff-desk/")
        assert_same_as_urls(client, parts, {"account": "/v1/account/", "payroll": "/v1/payroll/"})
        assert parts["payroll"]["names"][0] == "grace"

    def test_part__is_forbidden_where_its_url_refuses_the_client(self):
        for client, status in ((with_session("grace"), 401), (with_jwt("ada"), 403)):
            found = collect(client, "/v1/staff-desk/", allow_errors=True)
            assert client.get("/v1/payroll/").status_code == status
            assert list(found) == ["account"]
            assert found.errors["payroll"]["code"] == "part_forbidden"
            assert "problems" not in found.errors["payroll"]

    def test_part__is_not_the_librarians_while_the_dashboard_is_the_readers(self):
        client = acting_as("ada")
        client.credentials(HTTP_AUTHORIZATION=bearer("grace"))
        # The URL itself opens to the token. A part would show Ada what is not hers.
        assert client.get("/v1/payroll/").status_code == 200
        found = collect(client, "/v1/staff-desk/", allow_errors=True)
        assert found["account"]["username"] == "ada"
        assert found.errors["payroll"]["code"] == "part_forbidden"

    def test_part__is_not_the_librarians_whose_token_acts_as_a_reader(self):
        client = with_jwt("grace", HTTP_X_ACTS_AS="ada")
        assert answer(client, "/v1/payroll/")["names"][0] == "grace"
        found = collect(client, "/v1/staff-desk/", allow_errors=True)
        assert found["account"]["helped_by"] == "grace"
        assert found.errors["payroll"]["code"] == "part_forbidden"
        assert "grace@" not in str(found.errors)

    def test_token__wins_over_nothing(self):
        client = APIClient(HTTP_AUTHORIZATION="Bearer broken")
        assert client.get("/v1/desk/").status_code == client.get("/v1/books/").status_code
