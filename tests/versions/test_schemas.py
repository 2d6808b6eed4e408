"""What schema generators make of the views."""

from __future__ import annotations

import json
import sys
from functools import partial, wraps
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import include, path
from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, versioning, viewsets
from rest_framework.decorators import action
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAdminUser
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter, SimpleRouter
from rest_framework.schemas.openapi import AutoSchema as DRFsSchema
from rest_framework.schemas.openapi import SchemaGenerator as DRFsGenerator
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from partstream import (
    HybridProgressiveView,
    ProgressiveView,
    cached_for,
    endpoint,
    lazy,
    safe_call,
)
from partstream.contrib.drf_spectacular import ProgressiveViewExtension
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin
from partstream.schemas import returns
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from partstream.wire.envelopes import envelope
from partstream.wire.errors import STREAM_FAILED
from tests.example.models import Note
from tests.example.views import DashboardView, WalkView
from tests.support.marks import with_suffixes

PATTERNS = [
    path("walk/", WalkView.as_view()),
    path("alone/", DashboardView.as_view()),
    path("dashboard/", include(DashboardView.urls(name="dashboard"))),
    path("years/<int:year>/", include(DashboardView.urls(name="year"))),
    path("years/", include(DashboardView.urls())),
]
PATHS = {
    "/walk/",
    "/alone/",
    *(f"/dashboard/{route}" for route in ("", "parts/", "manifest/")),
    *(f"/years/{{year}}/{route}" for route in ("", "parts/", "manifest/")),
    *(f"/years/{route}" for route in ("", "parts/", "manifest/")),
}


class StockSerializer(serializers.Serializer):
    product = serializers.CharField()
    quantity = serializers.IntegerField()


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text"]


@returns(StockSerializer, many=True)
def get_stock(request):
    return [{"product": "tent", "quantity": 3}]


@pytest.fixture
def describe(settings):
    """The schema of these patterns, which drf-spectacular makes without a complaint."""
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    def describe(*patterns, api_version=None):
        GENERATOR_STATS.reset()
        generator = SchemaGenerator(patterns=list(patterns), api_version=api_version)
        with GENERATOR_STATS.silence():
            schema = generator.get_schema(public=True)
        assert not GENERATOR_STATS._error_cache
        assert not GENERATOR_STATS._warn_cache
        validate_schema(schema)
        ids = [
            get["operationId"] for methods in schema["paths"].values() for get in methods.values()
        ]
        assert len(set(ids)) == len(ids)
        return schema

    yield describe
    GENERATOR_STATS.reset()


def view(base=HybridProgressiveView, **attributes):
    attributes = {"__module__": __name__, "parts": [("one", 1)], **attributes}
    return type("Board", (base,), attributes)


def hybrid(describe, **attributes):
    """The operations of a view's three routes, and the components."""
    schema = describe(path("board/", include(view(**attributes).urls())))
    routes = ("", "parts/", "manifest/")
    gets = [schema["paths"][f"/board/{route}"]["get"] for route in routes]
    return *gets, schema["components"]["schemas"]


def body(operation, status="200"):
    return operation["responses"][status]["content"]["application/json"]["schema"]


def by_name_of(operation):
    """The parameters of an operation."""
    return {each["name"]: each for each in operation.get("parameters", ())}


#: Of a walk that offers streams, beside its cursor.
OF_STREAMS = {"format", "Last-Event-ID"}


def component(schema):
    return schema["$ref"].rpartition("/")[2]


def results(components, name="BoardResult"):
    """Name of the part -> schema, of the variants of a result."""
    found = {}
    for one in components[name]["oneOf"]:
        [(part, schema)] = one["properties"].items()
        assert one == {
            "type": "object",
            "properties": {part: schema},
            "required": [part],
            "additionalProperties": False,
        }
        found[part] = schema
    return found


# All views


def test_spectacular__has_neither_errors_nor_warnings(describe):
    schema = describe(*PATTERNS)
    assert set(schema["paths"]) == PATHS


def test_spectacular__is_used_where_it_is_installed(settings, monkeypatch):
    package = "partstream.contrib.drf_spectacular"
    monkeypatch.setattr(OpenApiViewExtension, "_registry", [])
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.messages"]
    assert package not in sys.modules
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    [extension] = OpenApiViewExtension._registry
    assert extension.__module__ == ProgressiveViewExtension.__module__


def test_spectacular__manage_py_has_no_warning(describe, settings, mount, tmp_path):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "drf_spectacular"]
    mount(*PATTERNS)
    options = {"fail_on_warn": True, "validate": True, "format": "openapi-json"}
    output = StringIO()
    call_command("spectacular", **options, stdout=output)
    assert set(json.loads(output.getvalue())["paths"]) == PATHS


@pytest.mark.parametrize("version", ["3.0.3", "3.1.1"])
def test_envelope__is_described_with_its_parts(describe, version):
    from drf_spectacular.settings import patched_settings

    with patched_settings({"OAS_VERSION": version}):
        walk, by_key, manifest, components = hybrid(describe)
    assert component(body(walk)) == component(body(by_key)) == "BoardEnvelope"
    assert component(body(manifest)) == "PartstreamManifest"
    envelope = components["BoardEnvelope"]
    assert set(envelope["properties"]) == {"results", "errors", "cursor", "meta"}
    assert envelope["required"] == ["cursor", "meta", "results"]
    cursor = {"type": "string", "nullable": True}
    assert envelope["properties"]["cursor"] == (
        cursor if version == "3.0.3" else {"type": ["string", "null"]}
    )
    assert component(envelope["properties"]["results"]["items"]) == "BoardResult"
    assert component(envelope["properties"]["errors"]["items"]) == "PartstreamPartError"
    assert set(components["PartstreamPartError"]["required"]) == {
        *("part", "code", "detail", "retryable")
    }
    assert {"retry_cursor", "retry_after", "problems"} <= components["PartstreamPartError"][
        "properties"
    ].keys()
    assert results(components) == {"one": {}}


def test_envelope__has_what_an_answer_has(describe, client, serve):
    *_, components = hybrid(describe)
    url = serve(HybridProgressiveView, parts=[("one", lazy(lambda request: 1 / 0))])
    envelope, manifest = (client.get(url + route).json() for route in ("", "manifest/"))
    [error] = envelope["errors"]
    for data, name in (
        (envelope, "BoardEnvelope"),
        (envelope["meta"], "PartstreamMeta"),
        (error, "PartstreamPartError"),
        (manifest, "PartstreamManifest"),
        (manifest["parts"]["one"], "PartstreamManifestPart"),
        (client.get(url + "?cursor=junk").json(), "PartstreamRequestError"),
    ):
        described = components[name]
        assert set(described["required"]) <= data.keys() <= described["properties"].keys(), name


# Parameters


def test_parameters__of_the_walk(describe, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 999}
    walk, by_key, manifest, _ = hybrid(describe, cursor_query_param="after")
    after = by_name_of(walk)["after"]
    assert (after["name"], after["in"], "required" in after) == ("after", "query", False)
    assert after["schema"] == {
        "type": "string",
        "pattern": "^[A-Za-z0-9._~-]+$",
        "maxLength": 999,
    }
    assert set(by_name_of(by_key)) == {"keys"}
    assert "parameters" not in manifest


def test_parameters__by_key(describe):
    _, by_key, _, _ = hybrid(describe, max_keys_per_request=3)
    [keys] = by_key["parameters"]
    assert (keys["name"], keys["required"]) == ("keys", True)
    assert (keys["style"], keys["explode"]) == ("form", False)  # ?keys=one,two
    assert keys["schema"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["one"]},
        "minItems": 1,
        "maxItems": 3,
    }


def test_parameters__by_key_where_the_parts_are_unknown(describe):
    _, by_key, _, _ = hybrid(describe, get_parts=lambda self: self.kwargs["pk"])
    [keys] = by_key["parameters"]
    assert keys["schema"]["items"] == {
        "type": "string",
        "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
    }


# Streams


JSON, NDJSON, SSE = "application/json", "application/x-ndjson", "text/event-stream"


def test_streams__are_described_on_the_walk_alone(describe):
    walk, by_key, manifest, _ = hybrid(describe)
    content = walk["responses"]["200"]["content"]
    assert set(content) == {JSON, NDJSON, SSE}
    assert component(content[JSON]["schema"]) == "BoardEnvelope"
    assert component(content[NDJSON]["schema"]) == "BoardRecord"
    assert content[SSE]["schema"] == {"type": "string"}
    assert NDJSON in walk["responses"]["200"]["description"]
    assert "content" not in walk["responses"]["204"]
    for operation in (walk, by_key, manifest):
        for status, response in operation["responses"].items():
            if (operation, status) not in [(walk, "200"), (walk, "204")]:
                assert set(response["content"]) == {JSON}, status
    assert "`capacity`" in walk["responses"]["503"]["description"]


def test_streams__have_a_record_like_an_envelope(describe):
    *_, components = hybrid(describe)
    record, envelope = components["BoardRecord"], components["BoardEnvelope"]
    error = record["properties"].pop("stream_error")
    assert component(error) == "PartstreamStreamError"
    assert record["properties"] == envelope["properties"]
    assert record["required"] == envelope["required"]
    *_, components = hybrid(describe, get_parts=lambda self: self.kwargs["pk"])
    assert "stream_error" in components["PartstreamRecord"]["properties"]


def test_streams__have_what_a_record_has(describe, client, serve):
    *_, components = hybrid(describe)
    parts = [("one", 1), ("two", lazy(lambda request: 2))]
    url = serve(HybridProgressiveView, parts=parts)
    stream = client.get(url, HTTP_ACCEPT=NDJSON)
    records = [json.loads(line) for line in stream.getvalue().splitlines() if line.strip()]
    assert len(records) == 2
    found = envelope((), total=1, current=0, cursor="token", stream_error=STREAM_FAILED)
    failure = json.loads(b"".join(found))
    for data, name in (
        *((record, "BoardRecord") for record in (*records, failure)),
        *((record["meta"], "PartstreamMeta") for record in records),
        (failure["stream_error"], "PartstreamStreamError"),
    ):
        described = components[name]
        assert set(described["required"]) <= data.keys() <= described["properties"].keys(), name


def test_streams__are_asked_for_by_format_and_resumed_by_header(describe, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 999}
    walk, by_key, _, _ = hybrid(describe)
    parameters = by_name_of(walk)
    assert parameters["format"]["schema"]["enum"] == ["json", "ndjson", "sse"]
    last = parameters["Last-Event-ID"]
    assert last["in"] == "header"
    assert last["schema"] == parameters["cursor"]["schema"]
    assert OF_STREAMS.isdisjoint(by_name_of(by_key))


@pytest.mark.parametrize("reason", ["setting", "view"])
def test_streams__that_are_not_offered_are_not_described(describe, settings, unlimited, reason):
    attributes = {}
    if reason == "setting":
        settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False, "MAX_STREAMS": 0}
    else:
        attributes["offers_streams"] = classmethod(lambda cls, initkwargs: False)
    walk, *_, components = hybrid(describe, **attributes)
    assert set(by_name_of(walk)) == {"cursor"}
    assert set(walk["responses"]) == {"200", "400", "409", "410"}
    assert set(walk["responses"]["200"]["content"]) == {JSON}
    assert "BoardRecord" not in components


# Descriptions


class Described(HybridProgressiveView):
    """What this board is for.

    In two paragraphs.
    """

    parts = [("one", 1)]


class Answering(Described):
    """A board with a method of its own."""

    def get(self, request, *args, **kwargs):
        """What the method says."""
        return super().get(request, *args, **kwargs)


@pytest.mark.parametrize(
    ("board", "says"),
    [
        (Described, "What this board is for.\n\nIn two paragraphs."),
        (type("Heir", (Described,), {}), "What this board is for.\n\nIn two paragraphs."),
        (Answering, "What the method says."),
        (view(), None),
    ],
)
def test_description__is_the_views_own(describe, board, says):
    for methods in describe(path("", include(board.urls())))["paths"].values():
        assert methods["get"].get("description") == says


def test_description__may_be_switched_off(describe):
    from drf_spectacular.settings import patched_settings

    with patched_settings({"DISABLE_DOCSTRING_DESCRIPTIONS": True}):
        schema = describe(path("", include(Answering.urls())))
    assert "description" not in schema["paths"]["/"]["get"]


# Refusals


@pytest.fixture
def unlimited(settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": False}


def statuses(*operations):
    return [set(operation["responses"]) for operation in operations]


def test_refusals__are_described(describe, settings, unlimited):
    *operations, _ = hybrid(describe)
    of_walk = {"200", "204", "400", "409", "410", "503"}
    assert statuses(*operations) == [of_walk, {"200", "400"}, {"200", "400"}]
    assert component(body(operations[0], "400")) == "PartstreamRequestError"
    assert "keys_invalid" in operations[1]["responses"]["400"]["description"]
    settings.DJANGO_PARTSTREAM = {
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT_ON_STORE_ERROR": "closed",
    }
    *operations, _ = hybrid(describe)
    assert all({"429", "503"} <= found for found in statuses(*operations))
    of_walk, by_key = (each["responses"]["503"]["description"] for each in operations[:2])
    assert "`capacity`" in of_walk
    assert "`store_unavailable`" in of_walk
    assert "`capacity`" not in by_key


def test_refusals__by_a_throttle_of_the_project(describe, unlimited):
    *operations, _ = hybrid(describe, throttle_classes=[BaseThrottle])
    assert all("429" in found for found in statuses(*operations))


def test_refusals__in_the_form_of_a_projects_handler_are_not(describe, settings):
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "EXCEPTION_HANDLER": f"{__name__}.get_stock",
    }
    *operations, _ = hybrid(describe)
    assert statuses(*operations) == [{"200", "204"}, {"200"}, {"200"}]


# Parts


def by_name(self, request):
    return get_stock(request)


def decorated(loader):
    @wraps(loader)
    def inner(*args, **kwargs):
        return loader(*args, **kwargs)

    return inner


class Loaders:
    @returns(StockSerializer)
    def get_one(self, request):
        return get_stock(request)[0]

    @returns(StockSerializer, many=True)
    @cached_for(60)
    def get_kept(self, request):
        return get_stock(request)

    @staticmethod
    @returns(StockSerializer)
    def get_static(request):
        return get_stock(request)[0]

    @classmethod
    @returns(StockSerializer)
    def get_of_class(cls, request):
        return get_stock(request)[0]

    @returns(StockSerializer)
    async def get_later(self, request):
        return get_stock(request)[0]


PARTS = {
    "immediate": (1, None),
    "untyped": (lazy(lambda request: 1), None),
    "serialized": (lazy(lambda r: None, serializer_class=NoteSerializer), ("Note", False)),
    "listed": (lazy(lambda r: [], serializer_class=NoteSerializer, many=True), ("Note", True)),
    # What it sends is what counts.
    "both": (lazy(get_stock, serializer_class=NoteSerializer, many=True), ("Note", True)),
    "function": (lazy(get_stock), ("Stock", True)),
    "wrapped": (lazy(safe_call(cached_for(60)(get_stock), [])), ("Stock", True)),
    "timed": (lazy(get_stock, timeout=1), ("Stock", True)),
    "partial": (lazy(partial(get_stock)), ("Stock", True)),
    "decorated": (lazy(decorated(get_stock)), ("Stock", True)),
    "method": (lazy("get_one"), ("Stock", False)),
    "method_in_loader": (lazy(safe_call("get_one", None)), ("Stock", False)),
    "kept": (lazy("get_kept"), ("Stock", True)),
    "static": (lazy("get_static"), ("Stock", False)),
    "of_class": (lazy("get_of_class"), ("Stock", False)),
    "later": (lazy("get_later"), ("Stock", False)),
}


def expected(kind):
    if kind is None:
        return {}
    name, many = kind
    ref = {"$ref": f"#/components/schemas/{name}"}
    return {"type": "array", "items": ref} if many else ref


@pytest.mark.parametrize("static", [True, False])
def test_parts__are_typed(describe, static):
    parts = [(name, part) for name, (part, _) in PARTS.items()]
    declared = {"parts": parts} if static else {"get_parts": lambda self: iter(parts)}
    methods = {name: each for name, each in vars(Loaders).items() if name.startswith("get_")}
    *_, components = hybrid(describe, **declared, **methods)
    types = {name: expected(kind) for name, (_, kind) in PARTS.items()}
    assert results(components) == types
    assert components["BoardParts"]["properties"] == types
    assert components["BoardParts"]["required"] == sorted(types)
    assert set(components["Stock"]["properties"]) == {"product", "quantity"}


def test_parts__of_bound_methods_are_typed(describe):
    *_, components = hybrid(
        describe,
        get_parts=lambda self: [("one", lazy(self.get_one)), ("kept", lazy(self.get_kept))],
        get_one=Loaders.get_one,
        get_kept=vars(Loaders)["get_kept"],
    )
    assert results(components) == {
        "one": expected(("Stock", False)),
        "kept": expected(("Stock", True)),
    }


def test_parts__that_not_everybody_has_are_described(describe):
    margins = lazy(get_stock, permission_classes=[IsAdminUser])
    *_, components = hybrid(describe, parts=[("margins", margins)])
    assert list(results(components)) == ["margins"]


def queries(self):
    return [("count", Note.objects.count())]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "get_parts",
    [
        lambda self: [("pk", self.kwargs["pk"])],
        queries,
        lambda self: [("class", 1)],
        lambda self: [],
    ],
    ids=["arguments", "queries", "wrong", "empty"],
)
def test_parts__that_are_not_known_are_any(describe, get_parts):
    walk, _, _, components = hybrid(describe, get_parts=get_parts)
    assert component(body(walk)) == "PartstreamEnvelope"
    items = components["PartstreamEnvelope"]["properties"]["results"]["items"]
    assert items == {"type": "object", "additionalProperties": {}}


def test_parts__that_are_not_known_are_warned_of(describe, caplog):
    hybrid(describe, get_parts=lambda self: [("pk", self.kwargs["pk"])])
    warned = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert len(warned) == 1
    assert "get_parts() failed without a request" in warned.pop()


def test_parts__of_no_fields_are_any(describe):
    nothing = type("NothingSerializer", (serializers.Serializer,), {})
    empty = returns(nothing)(lambda request: {})
    *_, components = hybrid(describe, parts=[("empty", lazy(empty))])
    assert results(components) == {"empty": {}}


# Names of components


def test_components__of_views_do_not_collide(describe):
    first, second, same = view(parts=[("a", 1)]), view(parts=[("b", 1)]), view(parts=[("a", 1)])
    schema = describe(
        *(
            path(f"{name}/", include(board.urls()))
            for name, board in {"1": first, "2": second, "3": same, "4": first}.items()
        )
    )
    components = schema["components"]["schemas"]
    named = [component(body(schema["paths"][f"/{number}/"]["get"])) for number in (1, 2, 3, 4)]
    assert named == ["BoardEnvelope", "BoardEnvelope2", "BoardEnvelope", "BoardEnvelope"]
    assert list(results(components)) == ["a"]
    assert list(results(components, "BoardResult2")) == ["b"]
    items = components["BoardEnvelope2"]["properties"]["results"]["items"]
    assert component(items) == "BoardResult2"


def test_components__of_a_project_do_not_collide_with_ours(describe):
    theirs = [
        type(f"{name}Serializer", (serializers.Serializer,), {"x": serializers.CharField()})
        for name in ("BoardResult", "Envelope", "Manifest", "PartError", "Meta", "RequestError")
    ]
    parts = [(f"p{place}", lazy(len, serializer_class=each)) for place, each in enumerate(theirs)]
    *_, components = hybrid(describe, parts=parts)
    assert list(components["BoardResult"]["properties"]) == ["x"]
    assert len(results(components, "BoardResult2")) == len(theirs)
    assert list(components["Envelope"]["properties"]) == ["x"]


# What the project adds


class OwnSchema(AutoSchema):
    def get_tags(self):
        return ["own"]


def test_project__describes_more_with_extend_schema(describe):
    class Extended(Described):
        schema = OwnSchema()

        @extend_schema(
            summary="In short",
            parameters=[OpenApiParameter("year", int), OpenApiParameter("cursor", exclude=True)],
        )
        def get(self, request, *args, **kwargs):
            return super().get(request, *args, **kwargs)

    Extended = extend_schema(auth=[{"key": []}])(Extended)
    schema = describe(path("board/", include(Extended.urls())))
    walk = schema["paths"]["/board/"]["get"]
    assert (walk["summary"], walk["tags"], walk["security"]) == ("In short", ["own"], [{"key": []}])
    assert set(by_name_of(walk)) == {"year", *OF_STREAMS}
    assert walk["description"] == Described.__doc__.replace("\n    ", "\n").strip()
    assert component(body(walk)) == "ExtendedEnvelope"


def test_project__gives_one_id_to_three_routes(describe):
    class Named(Described):
        @extend_schema(operation_id="board")
        def get(self, request, *args, **kwargs):
            return super().get(request, *args, **kwargs)

    class ByPath(Described):
        schema = type("ByPath", (AutoSchema,), {"get_operation_id": lambda self: self.path})()

    schema = describe(path("1/", include(Named.urls())), path("2/", include(ByPath.urls())))
    ids = [methods["get"]["operationId"] for methods in schema["paths"].values()]
    assert ids == ["board", "board_manifest", "board_parts", "/2/", "/2/manifest/", "/2/parts/"]


def test_project__may_replace_the_responses(describe):
    class Replaced(Described):
        @extend_schema(responses=StockSerializer)
        def get(self, request, *args, **kwargs):
            return super().get(request, *args, **kwargs)

    schema = describe(path("board/", Replaced.as_view()))
    assert component(body(schema["paths"]["/board/"]["get"])) == "Stock"


def test_project__may_exclude_a_view(describe):
    schema = describe(path("board/", view(schema=None).as_view()), *PATTERNS)
    assert set(schema["paths"]) == PATHS


def test_project__other_methods_and_views_are_described_as_usual(describe):
    class Posting(Described):
        @extend_schema(request=StockSerializer, responses=NoteSerializer)
        def post(self, request):
            return Response()

    class Own(CursorMixin, ChunkMixin, APIView):
        @extend_schema(responses=StockSerializer(many=True))
        def get(self, request):
            return Response()

    schema = describe(path("a/", Posting.as_view()), path("b/", Own.as_view()))
    assert component(body(schema["paths"]["/a/"]["post"])) == "Note"
    assert "parameters" not in schema["paths"]["/a/"]["post"]
    assert component(body(schema["paths"]["/b/"]["get"])["items"]) == "Stock"


class Pages(PageNumberPagination):
    page_size = 2


def test_generic_view__keeps_its_serializer_filters_and_paginator(describe, client, mount, db):
    seen = {}

    class Generic(ProgressiveView, ListAPIView):
        queryset = Note.objects.order_by("pk")
        serializer_class = NoteSerializer
        pagination_class = Pages
        parts = [("page", lazy("get_page"))]

        def get_page(self, request):
            seen["class"] = self.get_serializer_class()
            page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
            return self.get_serializer(page, many=True).data

    Note.objects.bulk_create(Note(text=f"n{number}") for number in range(3))
    mount(path("generic/", Generic.as_view()))
    [result] = client.get("/generic/?page=2").json()["results"]
    assert [note["text"] for note in result["page"]] == ["n2"]
    assert seen == {"class": NoteSerializer}
    walk = describe(path("generic/", Generic.as_view()))["paths"]["/generic/"]["get"]
    assert component(body(walk)) == "GenericEnvelope"
    assert set(by_name_of(walk)) == {"cursor", *OF_STREAMS}


# Viewsets


def note_viewset():
    class NoteViewSet(ProgressiveViewSetMixin, viewsets.ModelViewSet):
        """Notes."""

        queryset = Note.objects.all()
        serializer_class = NoteSerializer

        @progressive_action(detail=False, cursor_query_param="after")
        def at_a_glance(self):
            """All notes at a glance."""
            return [("stock", lazy(get_stock)), ("notes", lazy(self.get_notes))]

        @extend_schema(summary="In short")
        @progressive_action(detail=True)
        @extend_schema(tags=["boards"])
        def board(self):
            return [("pk", self.kwargs["pk"])]

        @progressive_action(detail=True, url_path="at_a_glance")
        def glance(self):
            return [("one", self.action)]

        @returns(NoteSerializer, many=True)
        def get_notes(self, request):
            return []

    return NoteViewSet


@pytest.fixture
def viewset(describe):
    router = SimpleRouter()
    router.register("notes", note_viewset())
    return describe(path("api/", include(router.urls)), path("walk/", WalkView.as_view()))


def test_viewset__each_route_is_described(viewset):
    paths, components = viewset["paths"], viewset["components"]["schemas"]
    walk = paths["/api/notes/at_a_glance/"]["get"]
    assert walk["description"] == "All notes at a glance."
    assert set(by_name_of(walk)) == {"after", *OF_STREAMS}
    assert set(walk["responses"]["200"]["content"]) == {JSON, NDJSON, SSE}
    assert component(body(walk)) == "NoteViewSetAtAGlanceEnvelope"
    assert results(components, "NoteViewSetAtAGlanceResult") == {
        "stock": expected(("Stock", True)),
        "notes": expected(("Note", True)),
    }
    by_key = paths["/api/notes/at_a_glance/parts/"]["get"]
    assert set(by_key["responses"]["200"]["content"]) == {JSON}
    assert [each["name"] for each in by_key["parameters"]] == ["keys"]
    assert component(body(by_key)) == "NoteViewSetAtAGlanceEnvelope"
    manifest = paths["/api/notes/at_a_glance/manifest/"]["get"]
    assert component(body(manifest)) == "PartstreamManifest"
    assert manifest["description"] == "All notes at a glance."


def test_viewset__actions_of_one_path_have_ids_of_their_own(viewset):
    ids = {
        path: methods["get"]["operationId"]
        for path, methods in viewset["paths"].items()
        if path.endswith("at_a_glance/")
    }
    assert ids == {
        "/api/notes/at_a_glance/": "api_notes_at_a_glance_retrieve",
        "/api/notes/{id}/at_a_glance/": "api_notes_id_at_a_glance_retrieve",
    }


def test_viewset__takes_extend_schema_on_both_sides(viewset):
    for route in ("", "parts/", "manifest/"):
        operation = viewset["paths"][f"/api/notes/{{id}}/board/{route}"]["get"]
        assert operation["summary"] == "In short"
        assert operation["tags"] == ["boards"]
    walk = viewset["paths"]["/api/notes/{id}/board/"]["get"]
    assert component(body(walk)) == "PartstreamEnvelope"
    assert walk["description"] == "Notes."


def test_viewset__is_one_action_while_it_is_described(viewset):
    walk = viewset["paths"]["/api/notes/{id}/at_a_glance/"]["get"]
    assert component(body(walk)) == "NoteViewSetGlanceEnvelope"


@with_suffixes
@pytest.mark.parametrize("doc", [None, "Notes."])
def test_viewset__other_actions_are_described_as_without_the_mixin(describe, doc):
    def patterns(*bases):
        class Notes(*bases):
            __doc__ = doc
            queryset = Note.objects.all()
            serializer_class = NoteSerializer

            @extend_schema(tags=["own"])
            @action(detail=False)
            def newest(self, request):
                return Response()

            @action(detail=False)
            def oldest(self, request):
                """The oldest one."""

        router = DefaultRouter()
        router.register("notes", Notes)
        return router.urls

    plain = describe(*patterns(viewsets.ModelViewSet))
    assert describe(*patterns(ProgressiveViewSetMixin, viewsets.ModelViewSet)) == plain


@with_suffixes
def test_viewset__with_format_suffixes(describe):
    router = DefaultRouter(use_regex_path=False)
    router.register("notes", note_viewset())
    paths = describe(*router.urls)["paths"]
    assert {"/notes/at_a_glance/", "/notes/at_a_glance{format}"} <= set(paths)


# Other generators


@pytest.mark.filterwarnings("ignore:You have a duplicated operationId:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_drfs_generator__has_no_error(settings):
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema"}
    assert isinstance(WalkView().schema, DRFsSchema)
    schema = DRFsGenerator(title="Tests", patterns=PATTERNS).get_schema(request=None, public=True)
    assert set(schema["paths"]) == PATHS
    for operations in schema["paths"].values():
        assert "200" in operations["get"]["responses"]


def test_extension__leaves_views_of_another_generator(describe):
    board = view(schema=DRFsSchema())
    assert ProgressiveViewExtension(board.as_view()).view_replacement() is board


# returns()


@pytest.mark.parametrize("serializer", [None, "StockSerializer", StockSerializer(), dict, Note])
def test_returns__wants_a_serializer_class(serializer):
    with pytest.raises(Misuse, match="write a serializer class, for example"):
        returns(serializer)


@pytest.mark.parametrize("many", [1, None, "yes"])
def test_returns__wants_many_as_true_or_false(many):
    with pytest.raises(Misuse, match="write True or False"):
        returns(StockSerializer, many=many)


@pytest.mark.parametrize("loader", ["get_stock", safe_call("get_stock", []), lazy(get_stock), None])
def test_returns__decorates_functions(loader):
    with pytest.raises(Misuse, match="Decorate the function that returns the data"):
        returns(StockSerializer)(loader)


def test_returns__leaves_the_function_as_it_is():
    def load(request):
        return 1

    assert returns(StockSerializer)(load) is load
    assert not vars(load)


# Parts of endpoints


class NoteList(ListAPIView):
    """The notes."""

    queryset = Note.objects.all()
    serializer_class = NoteSerializer
    pagination_class = Pages


class NoteDetail(RetrieveAPIView):
    queryset = Note.objects.all()
    serializer_class = NoteSerializer


class Excluded(NoteDetail):
    schema = None


def test_endpoints__have_the_schemas_of_their_own_operations(describe, settings):
    parts = [
        ("notes", lazy(endpoint("notes"))),
        ("note", lazy(endpoint(NoteDetail, kwargs={"pk": 1}))),
        ("own", lazy(endpoint("notes"), serializer_class=StockSerializer)),
        ("excluded", lazy(endpoint("excluded", kwargs={"pk": 1}))),
        ("nowhere", lazy(endpoint("nowhere"))),
    ]
    patterns = [
        path("notes/", NoteList.as_view(), name="notes"),
        path("notes/<int:pk>/", NoteDetail.as_view(), name="note"),
        path("excluded/<int:pk>/", Excluded.as_view(), name="excluded"),
        path("board/", include(view(parts=parts).urls())),
    ]
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": patterns})
    schema = describe(*patterns)
    found = results(schema["components"]["schemas"])
    assert found["notes"] == body(schema["paths"]["/notes/"]["get"])
    assert component(found["notes"]).startswith("Paginated")
    assert found["note"] == body(schema["paths"]["/notes/{id}/"]["get"])
    assert component(found["own"]) == "Stock"
    assert (found["excluded"], found["nowhere"]) == ({}, {})


class VersionedNotes(NoteList):
    """The notes, with another serializer since version 2."""

    def get_serializer_class(self):
        return StockSerializer if self.request.version == "v2" else NoteSerializer


@pytest.mark.parametrize(
    ("scheme", "prefix"),
    [
        (versioning.NamespaceVersioning, "/{}"),
        (versioning.URLPathVersioning, "/{}"),
        (versioning.AcceptHeaderVersioning, ""),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_endpoints__are_described_in_the_version_of_the_schema(
    describe, settings, scheme, prefix, version
):
    class V12(scheme):
        default_version = None
        allowed_versions = ["v1", "v2"]

    class V3(versioning.NamespaceVersioning):
        allowed_versions = ["v3"]

    board = view(
        versioning_class=V12,
        parts=[
            ("notes", lazy(endpoint("notes"))),
            ("later", lazy(endpoint("later"))),
            ("queried", lazy(endpoint("queried"))),
        ],
    )
    api = [
        path("notes/", VersionedNotes.as_view(versioning_class=V12), name="notes"),
        path("board/", include(board.urls())),
    ]
    if scheme is versioning.NamespaceVersioning:
        patterns = [
            path("v1/", include((api, "notes"), namespace="v1")),
            path("v2/", include((api, "notes"), namespace="v2")),
        ]
    elif scheme is versioning.URLPathVersioning:
        patterns = [path("<str:version>/", include(api))]
    else:
        patterns = api
    later = [path("later/", VersionedNotes.as_view(versioning_class=V3), name="later")]
    queried = VersionedNotes.as_view(versioning_class=versioning.QueryParameterVersioning)
    mounted = [
        *patterns,
        path("v3/", include((later, "notes"), namespace="v3")),
        path("queried/", queried, name="queried"),
    ]
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": mounted})
    schema = describe(*patterns, api_version=version)
    found = results(schema["components"]["schemas"])
    [own] = schema["paths"][f"{prefix.format(version)}/notes/"]["get"]["responses"]["200"][
        "content"
    ].values()
    assert found["notes"] == own["schema"]
    expected = {"v1": "PaginatedNoteList", "v2": "PaginatedStockList"}
    assert component(found["notes"]) == expected[version]
    assert (found["later"], found["queried"]) == ({}, {})


class OwnBoard(ProgressiveViewSetMixin, viewsets.ReadOnlyModelViewSet):
    """A viewset with a dashboard of its own endpoints."""

    queryset = Note.objects.all()
    serializer_class = NoteSerializer
    pagination_class = Pages

    @progressive_action(detail=False)
    def overview(self):
        return [("notes", lazy(endpoint("own-list"))), ("version", 1)]


def test_endpoints__of_the_actions_own_viewset(describe, settings):
    router = SimpleRouter()
    router.register("own", OwnBoard, "own")
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": router.urls})
    schema = describe(*router.urls)
    found = results(schema["components"]["schemas"], "OwnBoardOverviewResult")
    assert found["notes"] == body(schema["paths"]["/own/"]["get"])
    assert "cursor" in by_name_of(schema["paths"]["/own/overview/"]["get"])


class WithoutSerializer(APIView):
    def get(self, request):
        return Response({})


def test_endpoints__complaints_are_those_of_their_own_operation(settings):
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator

    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
    patterns = [
        path("plain/", WithoutSerializer.as_view(), name="plain"),
        path("board/", include(view(parts=[("p", lazy(endpoint("plain")))]).urls())),
    ]
    settings.ROOT_URLCONF = type("URLs", (), {"urlpatterns": patterns})
    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        SchemaGenerator(patterns=patterns).get_schema(public=True)
    complaints = [*GENERATOR_STATS._error_cache, *GENERATOR_STATS._warn_cache]
    GENERATOR_STATS.reset()
    assert complaints
    assert all("WithoutSerializer" in complaint for complaint in complaints)
    assert not any("Board" in complaint for complaint in complaints)
