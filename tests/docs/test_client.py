"""That `docs/client.md` says what the browser client has: options, statuses, codes, figures."""

from __future__ import annotations

import re

import pytest

from .markdown import DOCS, TREE, rows, sections

PAGE = sections(DOCS / "client.md")
STATIC = TREE / "partstream" / "static" / "partstream"
TYPES = (STATIC / "partstream.d.ts").read_text(encoding="utf-8")
MODULE = (STATIC / "partstream.js").read_text(encoding="utf-8")


def fields(interface):
    """The names of the fields and methods of an interface, in order."""
    [body] = re.findall(rf"interface {interface}\b[^{{]*{{\n(.*?)^}}", TYPES, re.M | re.S)
    return re.findall(r"^  (?:readonly )?(\w+)\??[:(]", body, re.M)


def first_column(heading, table=0):
    return [re.search(r"`(\w+)", row[0])[1] for row in rows(PAGE[heading])]


def test_options__are_documented_in_the_order_of_their_types():
    assert first_column("Options") == fields("Options")


def test_options__have_the_defaults_that_are_documented():
    [body] = re.findall(r"const DEFAULTS = {\n(.*?)^}", MODULE, re.M | re.S)
    defaults = dict(re.findall(r"^  (\w+): (\S+),$", body, re.M))
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(PAGE["Options"])}
    assert len(defaults) > 8
    for name, value in defaults.items():
        if value[0].isdigit():
            value = f"{int(value):,}"
        assert documented[name] == value, name
    for name in documented.keys() - defaults:
        assert not re.match(r"[\d\"]\S*$", documented[name]), name


def test_options__say_their_defaults_in_the_types_too():
    [body] = re.findall(r"const DEFAULTS = {\n(.*?)^}", MODULE, re.M | re.S)
    for name, value in re.findall(r"^  (\w+): (\S+),$", body, re.M):
        [text] = re.findall(rf"/\*\*([^/]*?)\*/\n  {name}\?:", TYPES)
        shown = f"{int(value):,}" if value[0].isdigit() else f"`{value}`"
        assert f"Default: {shown}" in text, name


def test_store__is_documented_whole():
    documented = first_column("A store")
    assert documented == [*fields("Snapshot"), *fields("Store")]


def test_statuses__are_documented():
    [union] = re.findall(r"^export type Status = (.+);$", TYPES, re.M)
    [row] = [row for row in rows(PAGE["A store"]) if row[0] == "`status`"]
    assert re.findall(r"`(\w+)`", row[1]) == re.findall(r'"(\w+)"', union)


#: What the page says in words -> how the module says it.
IN_WORDS = {
    "at most a second": "backoff: 1_000",
    "After six failures in a row": "attempts: 6",
    "longer than two minutes": "longestWait: 120_000",
    "nothing comes for 15 seconds": "silence: 15_000",
    "hidden for half a minute": "pauseAfter: 30_000",
    "after two seconds of silence": "HELD_BACK = 2_000",
    "three or more [records]": "withParts > 2",
    "at most twice for each of the first two, and once for `cursor_invalid`": (
        "cursor_invalid: 1, cursor_expired: 2, cursor_stale: 2"
    ),
}


@pytest.mark.parametrize("words", IN_WORDS)
def test_behaviour__has_the_figures_that_are_documented(words):
    assert words in PAGE["What it does by itself"]
    assert IN_WORDS[words] in MODULE


def test_codes_of_the_client__are_documented():
    documented = first_column("When a load fails")
    own = re.findall(r'new PartstreamError\(\s*"(\w+)"', MODULE)
    assert {*own, "http_error", "stream_failed"} == {*documented}


@pytest.mark.parametrize("code", ["cursor_invalid", "cursor_expired", "cursor_stale"])
def test_restarts__are_as_often_as_documented(code):
    times = int(re.search(rf"{code}: (\d)", MODULE)[1])
    text = (DOCS / "wire-format.md").read_text(encoding="utf-8")
    [row] = [line for line in text.splitlines() if f"| `{code}` |" in line]
    assert {1: "once", 2: "at most twice"}[times] in row
