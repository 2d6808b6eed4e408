"""What somebody sees who opens the demo site's API in a browser."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from partstream.testing import collect, inline
from shopsite import settings as site
from tests.shop.test_views import DASHBOARD, EVERYBODY, READY_FIRST, STAFF

ROUTES = ("", "parts/", "manifest/")
ASKED = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"  # as browsers do


@pytest.fixture(autouse=True)
def demo_site(settings):
    """The demo site's own URLs, apps and templates."""
    settings.ROOT_URLCONF = "shopsite.urls"
    settings.INSTALLED_APPS = site.INSTALLED_APPS
    settings.TEMPLATES = site.TEMPLATES
    settings.REST_FRAMEWORK = site.REST_FRAMEWORK
    settings.SPECTACULAR_SETTINGS = site.SPECTACULAR_SETTINGS


class Links(HTMLParser):
    """Text -> address of the links in the shop's bar.

    Attributes:
        found: The links.
        body: The text of the answer that the page shows.
    """

    def __init__(self, page):
        super().__init__()
        self.found, self.body = {}, ""
        self._in_bar, self._in_answer, self._address = False, False, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "nav":
            self._in_bar = attributes.get("aria-label") == "Links of this answer"
        elif tag == "a" and self._in_bar:
            self._address = attributes["href"]
        elif tag == "div":
            self._in_answer = attributes.get("class") == "response-info"

    def handle_endtag(self, tag):
        if tag == "nav":
            self._in_bar = False
        elif tag == "a":
            self._address = None

    def handle_data(self, data):
        if self._address is not None:
            self.found[data] = self._address
        elif self._in_answer:
            self.body += data

    def json(self):
        start = self.body.index("\n{") + 1
        return json.JSONDecoder().raw_decode(self.body, start)[0]


@pytest.fixture
def browse(client):
    """Opens an address as a browser does; the value has the links and the answer."""

    def browse(address, status=200):
        page = client.get(address, headers={"Accept": ASKED})
        assert page.status_code == status
        assert page.headers["Content-Type"].startswith("text/html")
        return Links(page.content.decode())

    return browse


@pytest.mark.parametrize("query", ["", "?visit=a-b&day=Mon%26Tue"])
def test_links__lead_through_the_walk_and_retry_what_failed(shop, empty_cache, browse, query):
    address, names, retry = f"{DASHBOARD}{query}", [], None
    while address:
        page = browse(address)
        answer = page.json()
        names += [name for result in answer["results"] for name in result]
        retry = page.found.get("Retry deliveries", retry)
        assert page.found["First chunk"] == f"{DASHBOARD}{query}"
        address = page.found.get("Next chunk")
        assert (address is None) == (answer["cursor"] is None)
    if query:
        assert "deliveries" not in names
        [result] = browse(retry).json()["results"]
        names.append(*result)
    assert sorted(names) == sorted(EVERYBODY)


def test_links__lead_to_manifest_parts_and_schema(shop, client, staff, browse):
    client.force_login(staff)
    manifest = browse(browse(f"{DASHBOARD}?visit=other&format=api").found["Manifest"])
    assert list(manifest.json()["parts"]) == STAFF
    for name in ("today", "margins"):
        address = manifest.found[f"Part {name}"]
        assert address == f"{DASHBOARD}parts/?visit=other&keys={name}"
        part = browse(address)
        assert [list(result) for result in part.json()["results"]] == [[name]]
        assert browse(part.found["First chunk"]).json()["cursor"]
    schema = client.get(manifest.found["Schema"], headers={"Accept": ASKED})
    assert schema.status_code == 200


def test_links__of_other_views_lead_to_what_they_have(shop, browse):
    assert list(browse("/api/blocking/").found) == ["Schema"]
    assert list(browse("/api/report/").found) == ["Next chunk", "Schema"]
    with inline():
        found = browse(READY_FIRST).found
    assert found["Manifest"] == f"{READY_FIRST}manifest/"


def test_links__of_a_refusal_lead_back(shop, browse):
    refused = browse(f"{DASHBOARD}?cursor=junk&visit=one", status=400)
    assert refused.json()["code"] == "cursor_invalid"
    assert refused.found["First chunk"] == f"{DASHBOARD}?visit=one"


def test_links__change_nothing_for_programs(shop, client):
    assert list(collect(client, DASHBOARD)) == EVERYBODY


def test_schema__describes_the_api_and_a_browser_shows_it(client):
    answer = client.get("/api/schema/", headers={"Accept": ASKED})
    # A browser shows what is JSON, as its suffix says, and must not be told to keep it as a file.
    assert answer.headers["Content-Type"].split(";")[0].endswith("json")
    assert not answer.headers["Content-Disposition"].startswith("attachment")
    text = answer.content.decode()
    assert text.startswith('{\n    "')
    schema = json.loads(text)
    # The site leaves the schema's own path out; drf-spectacular reads that once in a process.
    assert set(schema["paths"]) - {"/api/schema/"} == {
        *(f"{walk}{route}" for walk in (DASHBOARD, READY_FIRST) for route in ROUTES),
        "/api/report/",
    }
    for view in ("DashboardView", "ReadyFirstView"):
        parts = schema["components"]["schemas"][f"{view}Parts"]["properties"]
        assert list(parts) == STAFF
        assert parts["deliveries"]["items"] == {"$ref": "#/components/schemas/Delivery"}
