"""What the package says of itself, and what builds its documentation and asks for its issues."""

from __future__ import annotations

import re

import pytest
import yaml

from .markdown import TREE

PYPROJECT = (TREE / "pyproject.toml").read_text(encoding="utf-8")
TEMPLATES = TREE / ".github" / "ISSUE_TEMPLATE"


def table(name):
    """The lines of one table of pyproject.toml."""
    return PYPROJECT.split(f"\n[{name}]\n")[1].split("\n[")[0]


def test_classifiers__are_the_versions_that_are_tested():
    tox = (TREE / "tox.ini").read_text(encoding="utf-8")
    environments = re.findall(r"^ +py(\d)(\d+)-django(\d)(\d)-drf\d+$", tox, re.MULTILINE)
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    djangos = re.findall(r'"Framework :: Django :: ([\d.]+)"', PYPROJECT)
    assert set(pythons) == {f"{major}.{minor}" for major, minor, _, _ in environments}
    assert set(djangos) == {f"{major}.{minor}" for _, _, major, minor in environments}
    assert (len(set(pythons)), len(set(djangos))) == (len(pythons), len(djangos))


def test_urls__are_those_that_an_index_shows():
    urls = dict(re.findall(r'^(\w+) = "(https://[^"]+)"$', table("project.urls"), re.MULTILINE))
    assert list(urls) == ["Homepage", "Documentation", "Changelog", "Source", "Issues"]
    assert urls["Changelog"].startswith(urls["Source"])
    assert urls["Changelog"].rpartition("/")[2] == "CHANGELOG.md"
    assert urls["Issues"] == f"{urls['Source']}/issues"
    config = yaml.safe_load((TEMPLATES / "config.yml").read_text(encoding="utf-8"))
    assert config["contact_links"][0]["url"].startswith(f"{urls['Source']}/security/")


def test_readthedocs__builds_what_tox_builds():
    config = yaml.safe_load((TREE / ".readthedocs.yaml").read_text(encoding="utf-8"))
    assert config["version"] == 2
    assert config["sphinx"]["fail_on_warning"] is True
    assert (TREE / config["sphinx"]["configuration"]).exists()
    install = config["build"]["jobs"]["install"][-1]
    group, extras = re.fullmatch(r'.* --group (\w+) "\.\[([\w,]+)\]"', install).groups()
    assert f"\n{group} = [" in table("dependency-groups")
    assert all(f"\n{extra} = [" in PYPROJECT for extra in extras.split(","))


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_templates__ask_for_what_is_needed(name):
    form = yaml.safe_load((TEMPLATES / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "labels", "body"} == set(form)
    asked = [entry for entry in form["body"] if entry["type"] == "textarea"]
    assert len({entry["id"] for entry in asked}) == len(asked) >= 3
    assert all(entry["attributes"]["label"] for entry in asked)


def test_uv__has_every_group_that_needs_a_newer_python():
    groups = re.findall(r"^(\w+) = \{", table("tool.uv.dependency-groups"), re.MULTILINE)
    assert all(f"\n{group} = [" in table("dependency-groups") for group in groups)
