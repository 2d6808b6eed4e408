"""django-tenants: the tenant is a schema, set on the connection of the request's thread."""

from __future__ import annotations

import pytest

from tests.support.requirements import demand

from .conftest import KINDS


@pytest.fixture(autouse=True)
def django_tenants():
    demand("django_tenants")


def test_tenants__get_their_own_data_in_every_kind_of_part(drive):
    said = drive("schemas", 1000, HOOKS="1")
    assert said["wrong"] == said["logged"] == {}
    assert said["left_over"] == ["public"]
    assert said["checks"] == []
    assert len(said["delivered"]) == KINDS
    assert min(said["delivered"].values()) > 100


def test_tenants__get_that_of_others_without_the_hooks(drive):
    said = drive("schemas", 100, stops=False)
    wrong = {mistake.partition(":")[0] for mistake in said["wrong"]}
    assert {"inline.timed", "inline.timed_coroutine", "threads.plain", "threads.rows"} <= wrong
    assert "inline.plain" not in wrong
    assert "inline stream.plain" in wrong  # A stream runs it in a worker.
    assert said["checks"] == ["partstream.E009"]
