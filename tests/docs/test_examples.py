"""Every example of the README and the documentation, run; every answer in them, compared."""

from __future__ import annotations

import json
import re
import shlex
import time
from urllib.error import HTTPError

import pytest
from rest_framework.throttling import BaseThrottle

from tests.support.marks import leaves_transaction, timed

from .markdown import DOCS, PAGES, README, TREE, blocks
from .project import Project
from .runner import (
    NEEDS,
    Page,
    PageError,
    commands,
    curl_options,
    match,
    same_output,
    start,
)

#: Run below, or not to be run at all.
LANGUAGES = {"python", "pycon", "console", "json", "text"}
#: Run in a browser, by node or by a compiler, by the tests of this folder.
BROWSER_LANGUAGES = {"html", "js", "jsx", "ts"}
RECIPES = TREE / "tests" / "integration" / "recipes"


@pytest.fixture
def open_page(tmp_path, db, django_user_model):
    """Opens pages; two users are there, of whom one is staff."""
    django_user_model.objects.create_user("ada", password="ada")
    django_user_model.objects.create_user("grace", password="grace", is_staff=True)
    opened = []

    def open_page(path):
        opened.append((Project if path == README else Page)(path, tmp_path))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[timed] if path == README else [], id=path.stem) for path in PAGES],
)
@pytest.mark.database
@leaves_transaction
def test_page__says_what_is_so(open_page, path):
    open_page(path).run()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page__has_no_block_that_nobody_runs(path):
    recipes = "".join(file.read_text(encoding="utf-8") for file in RECIPES.glob("test_*.py"))
    for block in blocks(path):
        assert block.language in LANGUAGES | BROWSER_LANGUAGES, block.where
        assert block.mark in ("", "demo", "demo end", "limited", "any order", *NEEDS), block.where
        if block.language in BROWSER_LANGUAGES:
            # They take it from the page by this name.
            assert f'"{block.name}"' in recipes, block.where


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page__has_no_two_blocks_for_a_browser_with_one_name(path):
    names = [block.name for block in blocks(path) if block.language in BROWSER_LANGUAGES]
    assert len(names) == len(set(names))


def test_pages__have_no_fence_that_the_tests_do_not_see():
    for path in PAGES:
        fences = re.findall(r"^ *(```|~~~)", path.read_text(encoding="utf-8"), re.MULTILINE)
        directives = re.findall(r"^```\{", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * (len(blocks(path)) + len(directives)), path


# The demo's answers: its rows differ from machine to machine, so their form is compared.

DEMO = """
import json, sys, tempfile
import django
from django.conf import settings
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
call_command("seed_shop", orders=2000, verbosity=0)
client, answers = Client(HTTP_HOST="127.0.0.1"), []
for url, to_the_end in json.loads(sys.argv[1]):
    while True:
        token = (answers or [{}])[-1].get("cursor") or ""
        answer = client.get(url.replace("TOKEN", token))
        assert answer.status_code == 200, (url, answer.content)
        answers.append(answer.json())
        if not to_the_end or answers[-1]["cursor"] is None:
            break
        answers.pop(-2)
    sys.stdout.write(json.dumps(answers[-1]) + "\\n")
"""


def form(data):
    """What stays of a part's data where the rows differ: its keys, the first of its items."""
    if isinstance(data, dict):
        return {key: form(value) for key, value in data.items()}
    if isinstance(data, list):
        return [form(item) for item in data[:1]]
    return type(data).__name__


def test_readme__shows_the_demo_as_it_is(tmp_path):
    asked, expected = [], []
    for block in blocks(README):
        if block.mark.startswith("demo"):
            for line, output in commands(block.source):
                options, url = curl_options(shlex.split(line)[1:])
                assert "--write-out" in options
                *body, seconds = output.splitlines()
                assert re.fullmatch(r"\d+\.\d{6} s", seconds)
                address = url.removeprefix("http://127.0.0.1:8000")
                asked.append((address, block.mark == "demo end"))
                expected.append(json.loads("\n".join(body)) if body else None)
    assert len(asked) == 3
    said = start(
        ["-c", DEMO, json.dumps(asked)],
        tmp_path,
        [str(TREE / "testproject")],
        DJANGO_SETTINGS_MODULE="shopsite.settings",
        DATABASE_URL=f"sqlite:///{tmp_path / 'shop.sqlite3'}",
    )
    answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert len(answers) == len(asked), said
    for shown, answer in zip(expected, answers, strict=True):
        if shown is None:
            continue
        for envelope in (shown, answer):
            envelope["results"] = [form(result) for result in envelope["results"]]
        match(shown, answer, {})


# The client of the wire format, against a server


class Busy(BaseThrottle):
    """Has each client wait a second before its second request."""

    asked = 0

    def allow_request(self, request, view):
        Busy.asked += 1
        return Busy.asked != 2

    def wait(self):
        return 0.5


@pytest.fixture
def busy(wire_format, monkeypatch):
    """The views refuse the second request of all: the value is how often they were asked."""
    monkeypatch.setattr(wire_format[0].names["ShopView"], "throttle_classes", [Busy])
    monkeypatch.setattr(Busy, "asked", 0)
    return lambda: Busy.asked


@pytest.fixture
def wire_format(open_page, transactional_db, live_server):
    """The page's views behind a server; the value is the page and the URL of its walk."""
    page = open_page(DOCS / "wire-format.md")
    page.run(["python"])
    return page, f"{live_server.url}/api/shop/"


def test_python_client__walks_retries_and_starts_again(wire_format):
    page, url = wire_format
    walk = page.names["walk"]
    for walked in (list(walk(url)), list(walk(f"{url}?year=2026", cursor="junk"))):
        assert walked[:2] == [("meta", {"user": "ada"}, None), ("orders", [1, 2], None)]
        failed = [(name, error["code"]) for name, _, error in walked[2:]]
        assert failed == [
            ("stock", "part_failed"),
            ("analytics", "dependency_failed"),
            ("news", "no_news"),
        ]
    [(name, _, error)] = walk(f"{url}?year=2026", cursor=walked[2][2]["retry_cursor"])
    assert (name, error["code"]) == ("stock", "part_failed")
    with pytest.raises(HTTPError, match="400") as refusal:
        list(walk(f"{url}?format=json&format=json"))
    refusal.value.close()


def test_python_client__waits_when_it_is_asked_to(wire_format, busy, monkeypatch):
    page, url = wire_format
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert len(list(page.names["walk"](url))) == 5
    assert (waited, busy()) == ([1], 4)


def test_python_client__waits_so_often_and_no_more(wire_format, monkeypatch):
    page, url = wire_format
    never = type("Never", (Busy,), {"allow_request": lambda self, request, view: False})
    monkeypatch.setattr(page.names["ShopView"], "throttle_classes", [never])
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(HTTPError, match="429") as refusal:
        list(page.names["walk"](url))
    refusal.value.close()
    assert waited == [1] * page.names["WAITS"]


# The log of the security page, as a project has it

LOGGED = """
import django
django.setup()
from django.test import Client
for number in range(30):
    answer = Client().get("/api/shop/?cursor=hunter2", HTTP_X_REQUEST_ID=f"r-{number}")
    assert answer.status_code == 400, answer.content
"""


def test_logging__writes_one_line_of_json_for_a_refused_request_and_a_suspicious_client(tmp_path):
    page = blocks(DOCS / "security.md")
    [configured] = [block for block in page if "LOGGING = {" in block.source]
    site = tmp_path / "mysite"
    site.mkdir()
    for block in page:
        if (block.path or "").startswith("shopapi/") and "test_" not in block.path:
            (tmp_path / block.path).parent.mkdir(exist_ok=True)
            (tmp_path / block.path).write_text(block.source, encoding="utf-8")
    (site / "settings.py").write_text(
        "from tests.docs.settings import *\nROOT_URLCONF = 'shopapi.urls'\n" + configured.source,
        encoding="utf-8",
    )
    said = start(
        ["-c", LOGGED], tmp_path, [str(tmp_path)], DJANGO_SETTINGS_MODULE="mysite.settings"
    )
    trail = (tmp_path / "audit.jsonl").read_text(encoding="utf-8")
    *events, suspicion = map(json.loads, trail.splitlines())
    assert {event["code"] for event in events} == {"cursor_invalid"}
    assert [event["request_id"] for event in events] == [f"r-{number}" for number in range(30)]
    assert (suspicion["event"], suspicion["counts"]) == (
        "malicious_extraneous",
        "cursor_invalid=30",
    )
    # The page shows such lines, of a client that named itself.
    shown = [json.loads(block.source) for block in page if block.source.startswith('{"time"')]
    with_agent = [
        [*_before(event, "request_id"), "agent", "request_id", *_after(event, "request_id")]
        for event in (events[0], suspicion)
    ]
    assert [list(each) for each in shown] == with_agent
    assert shown[1]["event"] == suspicion["event"]
    assert len(shown[1]["client"]) == len(suspicion["client"])
    # Everything else is on the console, with the id; the trail is not.
    assert re.search(
        r"^\S+ \S+ INFO partstream\.requests \[r-1\] ShopView refused a cursor: ", said, re.M
    )
    assert "input_validation_fail" not in said
    assert "malicious" not in said
    assert "hunter2" not in said + trail


def _before(event, name):
    return list(event)[: list(event).index(name)]


def _after(event, name):
    return list(event)[list(event).index(name) + 1 :]


# The tests themselves can fail

BROKEN = {
    "python": "assert False",
    "pycon": ">>> 1 + 1\n3",
    "console": "$ curl http://localhost:8000/nowhere/",
    "json": '{"there": "was no question"}',
}


@pytest.mark.parametrize("language", sorted(BROKEN))
def test_runner__finds_what_is_not_so(open_page, tmp_path, language, monkeypatch):
    monkeypatch.setattr("tests.docs.markdown.TREE", tmp_path)
    path = tmp_path / "broken.md"
    path.write_text(f"```{language}\n{BROKEN[language]}\n```\n", encoding="utf-8")
    page = open_page(path)
    with pytest.raises(PageError, match=r"broken\.md:2"):
        page.run()


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("ok   0.001 s  x", "ok  12.345 s  x", True),
        ('"seconds": 0.1,', '"seconds": 2.345,', True),
        ("ok  0.001 s  x", "ok  0.001 s  y", False),
        ("version 1.2", "version 1.3", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd\n...", "a\nb\nc\n", False),
        ("a ... d", "a b c d", False),
    ],
)
def test_same_output__takes_other_seconds_and_what_is_left_out(expected, actual, same):
    assert same_output(expected, actual) is same


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1], [1, 2]),
        (1, True),
        (None, 0),
        ("TOKEN", "short"),
        ("TOKEN", None),
    ],
)
def test_match__takes_only_what_is_the_same(expected, actual):
    with pytest.raises(PageError):
        match(expected, actual, {})


def test_match__keeps_the_tokens():
    tokens = {}
    match({"cursor": "TOKEN", "of": "A_TOKEN"}, {"cursor": "x" * 150, "of": "y" * 150}, tokens)
    assert tokens == {"TOKEN": "x" * 150, "A_TOKEN": "y" * 150}
