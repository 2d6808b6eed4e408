"""What schema generators make of the views."""

from __future__ import annotations

import pytest
from django.urls import include, path
from rest_framework.schemas.openapi import AutoSchema, SchemaGenerator

from tests.example.views import DashboardView, WalkView

PATTERNS = [
    path("walk/", WalkView.as_view()),
    path("alone/", DashboardView.as_view()),
    path("dashboard/", include(DashboardView.urls(name="dashboard"))),
    path("years/<int:year>/", include(DashboardView.urls(name="year"))),
]
PATHS = {
    "/walk/",
    "/alone/",
    *(f"/dashboard/{route}" for route in ("", "parts/", "manifest/")),
    *(f"/years/{{year}}/{route}" for route in ("", "parts/", "manifest/")),
}


@pytest.fixture
def spectacular(settings):
    """A generator of drf-spectacular, and what it complains of."""
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator as Spectacular

    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        yield Spectacular(patterns=PATTERNS), GENERATOR_STATS
    GENERATOR_STATS.reset()


def test_spectacular__has_neither_errors_nor_warnings(spectacular):
    from drf_spectacular.validation import validate_schema

    generator, complaints = spectacular
    schema = generator.get_schema(request=None, public=True)
    assert not complaints._error_cache
    assert not complaints._warn_cache
    validate_schema(schema)
    assert set(schema["paths"]) == PATHS


def test_spectacular__describes_envelope_and_manifest(spectacular):
    generator, _ = spectacular
    schema = generator.get_schema(request=None, public=True)

    def component(route):
        answer = schema["paths"][route]["get"]["responses"]["200"]
        return answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]

    assert component("/walk/") == component("/dashboard/parts/") == "Envelope"
    assert component("/dashboard/manifest/") == "Manifest"
    envelope = schema["components"]["schemas"]["Envelope"]
    assert set(envelope["properties"]) == {"results", "errors", "cursor", "meta"}
    assert envelope["required"] == ["cursor", "meta", "results"]
    assert envelope["properties"]["cursor"] == {"type": "string", "nullable": True}


@pytest.mark.filterwarnings("ignore:You have a duplicated operationId:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_drfs_generator__has_no_error(settings):
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema"}
    assert isinstance(WalkView().schema, AutoSchema)
    schema = SchemaGenerator(title="Tests", patterns=PATTERNS).get_schema(request=None, public=True)
    assert set(schema["paths"]) == PATHS
    for operations in schema["paths"].values():
        assert "200" in operations["get"]["responses"]
