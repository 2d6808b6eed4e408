from __future__ import annotations

import inspect
from io import StringIO

from django.core.cache import cache
from django.core.management import call_command

from partstream.testing import close_connections, collect, inline
from tests.projects.library import dashboards, urls
from tests.projects.library.models import Branch
from tests.projects.oracle import answer, assert_same_as_urls

from .base import LibraryTestCase, with_jwt, with_session

PATHS = {
    "account": "account/",
    "books": "books/?language=nl&ordering=-year",
    "newer_books": "books/?since=1950&page=2",
    "authors": "authors/?limit=1&offset=1",
    "favourite": "books/max-havelaar/",
    "branches": "branches/",
    "loans": "loans/",
    "statistics": "statistics/",
    "report": "/reports/2026/loans/",
    "partner": "/partner/?version=v2",
}


def urls_of(version):
    return {
        name: path if path.startswith("/") else f"/{version}/{path}" for name, path in PATHS.items()
    }


class DeskTests(LibraryTestCase):
    def test_parts__are_what_their_urls_answer_in_each_version(self):
        for login in (with_session, with_jwt):
            for version in ("v1", "v2"):
                cache.clear()
                client = login("ada")
                parts = collect(client, f"/{version}/desk/")
                assert_same_as_urls(client, parts, urls_of(version))
                assert f"/{version}/books/" in parts["favourite"]["url"]
                assert parts["report"]["version"] == "2026"

    def test_parts__are_the_same_by_cursor_and_by_key(self):
        client = with_session("ada")
        walked = collect(client, "/v2/desk/")
        assert collect(client, "/v2/desk/", mode="keys") == walked

    @inline()
    def test_parts__in_threads_are_the_same(self):
        client = with_session("ada")
        assert_same_as_urls(client, collect(client, "/v2/busy-desk/"), urls_of("v2"))

    def test_cache_page__a_part_takes_the_page_that_the_url_left(self):
        client = with_session("ada", HTTP_ACCEPT="application/json")
        assert len(answer(client, "/v2/branches/")) == 2
        Branch.objects.create(name="East")
        assert len(collect(client, "/v2/desk/")["branches"]) == 2

    def test_cache_page__a_part_leaves_no_page(self):
        client = with_session("ada", HTTP_ACCEPT="application/json")
        assert len(collect(client, "/v2/desk/")["branches"]) == 2
        Branch.objects.create(name="East")
        assert len(collect(client, "/v2/desk/")["branches"]) == 3

    def test_parts__in_real_threads_do_not_see_the_test_which_a_warning_tells(self):
        client = with_session("ada")
        with self.assertWarnsRegex(RuntimeWarning, r"partstream\.testing\.inline\(\)"):
            found = collect(client, "/v2/busy-desk/", allow_errors=True)
        close_connections()
        assert found["books"]["count"] == 0

    def test_links__lead_to_the_next_page_of_the_endpoint(self):
        client = with_session("ada")
        parts = collect(client, "/v2/desk/")
        next_page = answer(client, parts["books"]["next"])
        assert [book["slug"] for book in next_page["results"]] == ["max-havelaar"]
        assert len(answer(client, parts["loans"]["next"])["results"]) == 1

    def test_page__in_a_browser_shows_the_same(self):
        client = with_session("ada")
        page = client.get("/v2/desk/", HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "&quot;username&quot;: &quot;ada&quot;" in page.content.decode()

    def test_name__with_a_version_is_of_that_version(self):
        client = with_session("ada")
        parts = collect(client, "/v2/old-version/")
        assert parts["book"] == answer(client, "/v1/books/orlando/")
        assert parts["shared_branches"] == answer(client, "/v2/branches/")

    def test_methods__that_are_not_get_are_as_of_any_view(self):
        client = with_session("ada")
        assert client.head("/v2/desk/").status_code == 200
        assert client.options("/v2/desk/").json()["name"] == "Desk"
        assert client.post("/v2/desk/").status_code == 405

    def test_lines__are_few(self):
        mounting = [line for line in inspect.getsource(urls).splitlines() if ".Desk." in line]
        lines = inspect.getsource(dashboards.Desk).splitlines() + mounting
        assert len(mounting) == 1
        assert len(dashboards.Desk.parts) == 10
        assert len(lines) <= 20

    def test_visitor__is_refused_as_by_the_endpoints(self):
        client = self.client_class()
        assert client.get("/v1/desk/").status_code == client.get("/v1/books/").status_code == 403


class CommandTests(LibraryTestCase):
    def test_partstream_walk__shows_the_parts_of_a_reader(self):
        said = StringIO()
        call_command("partstream_walk", "/v2/desk/", user="ada", stdout=said)
        for name in PATHS:
            assert name in said.getvalue()
        assert "failed" not in said.getvalue()


class FilterTests(LibraryTestCase):
    def test_filters__are_those_of_the_endpoint(self):
        client = with_session("ada")
        for query in (
            "language=en",
            "since=1900&ordering=year",
            "author_name=Multatuli&page=2",
            "search=the",
            "any_year=1860&any_year=1928",
            "page_size=3&unknown=1",
        ):
            parts = collect(client, f"/v2/filtered/?{query}")
            assert_same_as_urls(client, parts, {"books": f"/v2/books/?{query}"})

    def test_filters__a_value_that_is_refused_has_the_problems_of_the_filter(self):
        client = with_session("ada")
        for query in ("language=xx", "since=never", "any_year=1"):
            found = collect(client, f"/v2/filtered/?{query}", allow_errors=True)
            own = client.get(f"/v2/books/?{query}")
            assert own.status_code == 400
            error = found.errors["books"]
            assert error["code"] == "part_invalid"
            assert error["problems"] == own.json()
            assert "retry_cursor" not in error

    def test_filters__a_page_that_does_not_exist_is_not_found(self):
        client = with_session("ada")
        found = collect(client, "/v2/filtered/?page=99", allow_errors=True)
        assert client.get("/v2/books/?page=99").status_code == 404
        assert found.errors["books"]["code"] == "part_not_found"


class BookPageTests(LibraryTestCase):
    def test_page__of_a_book(self):
        client = with_session("ada")
        for version in ("v1", "v2"):
            path = f"/{version}/books/orlando/"
            parts = collect(client, f"{path}page/")
            assert parts["book"] == answer(client, path)
            assert [each["slug"] for each in parts["same_author"]] == [
                "flush",
                "the-waves",
                "the-years",
            ]
            assert parts["loans"] == answer(client, f"/{version}/loans/?book__slug=orlando")
            assert collect(client, f"{path}page/", mode="keys") == parts

    def test_page__of_no_book(self):
        found = collect(with_session("ada"), "/v1/books/none/page/", allow_errors=True)
        assert found.errors["book"]["code"] == "part_not_found"


class ThrottleTests(LibraryTestCase):
    def history(self, scope, user):
        return len(cache.get(f"throttle_{scope}_{user}") or [])

    def test_throttles__count_the_desk_once_and_its_endpoints_never(self):
        client = with_session("ada")
        user = answer(client, "/v1/account/")
        assert user["username"] == "ada"
        cache.clear()
        pk = int(client.session["_auth_user_id"])
        for _ in range(3):  # More often than one may ask for the statistics.
            parts = answer(client, "/v1/desk/parts/?keys=statistics,account,books")["results"]
            assert len(parts) == 3
        assert self.history("user", pk) == 3
        assert self.history("statistics", pk) == 0
        statuses = [client.get("/v1/statistics/").status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        # What the endpoint counted is no matter of the desk.
        assert answer(client, "/v1/desk/parts/?keys=statistics")["results"]

    def test_throttle__of_the_project_refuses_the_desk(self):
        client = with_session("ada")
        cache.clear()
        statuses = [client.get("/v1/account/").status_code for _ in range(61)]
        assert statuses == [200] * 60 + [429]
        refused = client.get("/v1/desk/")
        assert refused.status_code == 429
        assert refused.json()["code"] == "throttled"


class OddTests(LibraryTestCase):
    def test_endpoints__that_answer_no_data_are_not_serializable(self):
        with self.assertLogs("partstream.parts", "INFO"):
            found = collect(with_session("ada"), "/v1/odd-desk/", allow_errors=True)
        codes = {name: error["code"] for name, error in found.errors.items()}
        names = ("cover", "old_books", "shelf_label", "poster")
        assert codes == dict.fromkeys(names, "not_serializable")
        assert found == {}


class SessionTests(LibraryTestCase):
    def test_session__is_written_by_a_part_in_the_request(self):
        client = with_session("ada")
        for slug in ("ideas", "orlando"):
            parts = collect(client, f"/v1/desk/recent/{slug}/")
        assert parts["recent"] == {"names": ["ideas", "orlando"]}
        assert client.session["recent"] == ["ideas", "orlando"]
