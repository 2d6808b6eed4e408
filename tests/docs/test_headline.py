"""The headline benchmark runs, and what the documentation shows of it is what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.support.requirements import demand

from .markdown import DOCS, README, TREE, rows, sections

FIGURES = DOCS / "figures" / "headline.md"
#: Rows that a quick run leaves out: it has fewer workers and fewer parts.
LEFT_OUT = {"2 workers", "4 workers", "100", "1,000"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What a quick run prints on SQLite, and the picture that it draws."""
    demand("gunicorn", "dj_database_url", "drf_spectacular", "tqdm")
    picture = tmp_path_factory.mktemp("headline") / "headline.svg"
    script = TREE / "benchmarks" / "headline.py"
    options = ["--quick", "--markdown", "--database", "sqlite", "--picture", picture]
    done = subprocess.run(
        [sys.executable, script, *options],
        env={key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, picture


def test_headline__prints_the_rows_of_the_documentation(quick):
    printed = {row[0] for row in rows(quick[0])}
    documented = {row[0] for row in rows(FIGURES.read_text(encoding="utf-8"))}
    assert printed <= documented
    assert documented - printed == LEFT_OUT


def test_headline__draws_each_part(quick):
    drawn = ElementTree.parse(quick[1]).getroot()
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    shown = ElementTree.parse(DOCS / "images" / "headline.svg").getroot()
    lanes = [text.text for text in shown.iter("{http://www.w3.org/2000/svg}text")]
    parts = {name for name in texts if name and name.replace("_", "").isalpha()}
    assert {"one blocking response", "today", "bought_together"} <= texts
    assert parts <= set(lanes)


def test_readme__has_the_headline_that_was_measured():
    documented = rows(FIGURES.read_text(encoding="utf-8"))
    shown = rows(sections(README)["What it saves"])
    assert len(shown) == 4
    for measure, *figures in shown:
        assert any(
            row[0] == measure and row[1] == "PostgreSQL" and row[3:] == figures
            for row in documented
        ), measure
