"""Row-level security by a variable of the session, with the recipe of the documentation."""

from __future__ import annotations

import json

import django
import pytest

from tests.docs.markdown import DOCS, blocks
from tests.support.processes import run_python

from .conftest import KINDS

pooling = pytest.mark.skipif(django.VERSION < (5, 1), reason="Django 5.1 has the first pool")


@pytest.fixture
def recipe(tmp_path):
    """Puts the modules of the documentation where the project finds them."""
    (tmp_path / "mysite").mkdir()
    for block in blocks(DOCS / "tenants.md"):
        if (block.path or "").startswith("mysite/"):
            (tmp_path / block.path).write_text(block.source, encoding="utf-8")
    (tmp_path / "mysite" / "settings.py").unlink()


@pytest.mark.parametrize(
    "connections", [{}, pytest.param({"POOL": "1"}, marks=pooling)], ids=["kept", "pooled"]
)
def test_policies__hold_in_every_kind_of_part(drive, recipe, connections):
    said = drive("rows", 300, POLICIES="1", HOOKS="1", **connections)
    assert said["wrong"] == said["logged"] == {}
    assert said["left_over"] == [""]
    assert len(said["delivered"]) == KINDS


@pytest.mark.parametrize(
    "connections", [{}, pytest.param({"POOL": "1"}, marks=pooling)], ids=["kept", "pooled"]
)
def test_policies__show_no_rows_without_the_hooks(drive, recipe, connections):
    said = drive("rows", 100, stops=False, POLICIES="1", **connections)
    if connections:
        # The session cannot be saved: its connection is another one now, and has no tenant.
        assert said["wrong"]["inline: status 400"]
    else:
        assert said["wrong"]["threads.last: part_failed"]
        assert said["wrong"]["threads stream.last: part_failed"]
        assert said["wrong"]["inline stream.last: part_failed"]
        assert "inline.last: part_failed" not in said["wrong"]


@pooling
def test_pool__has_connections_for_all_who_wait_for_others(drive):
    said = drive("rows", 300, POOL="1")
    assert said["wrong"] == said["logged"] == {}
    assert said["left_over"] == [""]
    assert len(said["delivered"]) == KINDS


WAITING = """
import django
django.setup()
from tests.integration.tenants.{} import main
main()
"""


TABLE_STORE = "tests.integration.tenants.wait_across_processes.TableStore"


@pooling
@pytest.mark.parametrize(
    ("module", "environment"),
    [
        ("wait_in_process", {}),
        ("wait_across_processes", {"STORE": TABLE_STORE}),
    ],
    ids=["here", "in another process"],
)
def test_pool__has_a_connection_while_others_wait_for_what_is_made(
    database, tmp_path, module, environment
):
    said = run_python(
        WAITING.format(module),
        tmp_path,
        patience=300,
        DJANGO_SETTINGS_MODULE="tests.integration.tenants.rows.settings",
        TENANTS_URL=database.url,
        POOL="1",
        **environment,
    )
    told = json.loads(said.splitlines()[-1])
    assert set(told) == {"plain", "coroutine", "timed_coroutine"}
    for answers in told.values():
        assert answers == [[{"part": "everyone"}]] * 5
