"""The response that is rendered at birth, and the renderers that want data."""

from __future__ import annotations

import json
import pickle

import pytest
from django.test import Client
from djangorestframework_camel_case.render import (
    CamelCaseBrowsableAPIRenderer,
    CamelCaseJSONRenderer,
)
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, cached_for, lazy
from partstream.exceptions import EndpointFailed
from partstream.wire.responses import PartsResponse
from tests.support.walk_client import first_cursor, merged, walk

DATA = {"first_name": "Ada", "é": [1.5, None, {"last_order": "\u2028</script>"}]}
PARTS = [("user_data", DATA), ("order_rows", lazy(lambda request: [DATA])), ("last_part", 3)]


class CountingRenderer(JSONRenderer):
    """A JSON renderer of a project's own, that knows how often it was asked."""

    rendered = 0

    def render(self, data, accepted_media_type=None, renderer_context=None):
        type(self).rendered += 1
        return super().render(data, accepted_media_type, renderer_context)


class ReprRenderer(BaseRenderer):
    media_type = "text/x-repr"
    format = "repr"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return repr(data).encode()


def rendered_by_drf(client, mount_at, data, renderers=None, **extra):
    """The bytes that a bare DRF view would answer with."""

    class Plain(APIView):
        if renderers:
            renderer_classes = renderers

        def get(self, request):
            return Response(data)

    mount_at(Plain)
    return client.get("/plain/", **extra).content


@pytest.fixture
def drf(mount, client):
    from django.urls import path

    def drf(data, renderers=None, **extra):
        return rendered_by_drf(
            client, lambda view: mount(path("plain/", view.as_view())), data, renderers, **extra
        )

    return drf


# The same bytes as DRF's


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "application/*",
        "application/json; indent=4",
        "application/json;indent=0",
        "text/html;q=0.1, application/json",
        "application/json; charset=utf-8",
    ],
)
def test_bytes__are_those_of_drf(client, serve, drf, accept):
    extra = {"HTTP_ACCEPT": accept} if accept else {}
    response = client.get(serve(parts=PARTS), **extra)
    data = json.loads(response.content)
    assert merged([data])["user_data"] == DATA
    assert response.content == drf(data, **extra)


@pytest.mark.parametrize(
    ("attribute", "value"), [("compact", False), ("ensure_ascii", True), ("strict", False)]
)
def test_bytes__follow_the_settings_of_drf(client, serve, drf, monkeypatch, attribute, value):
    monkeypatch.setattr(JSONRenderer, attribute, value)
    response = client.get(serve(parts=PARTS))
    assert response.content == drf(json.loads(response.content))


def test_bytes__of_an_error_are_those_of_drf(client, serve, drf):
    response = client.get(f"{serve(parts=PARTS)}?cursor=junk")
    assert response.content == drf(response.json())


# Other renderers


def test_renderer__indent(client, serve):
    response = client.get(serve(parts=[("a", 1)]), HTTP_ACCEPT="application/json; indent=4")
    assert response.content.startswith(b'{\n    "results": [\n        {\n            "a": 1\n')


def test_renderer__indent_of_the_views_own_context(client, serve):
    class View(ProgressiveView):
        def get_renderer_context(self):
            return {**super().get_renderer_context(), "indent": 2}

    response = client.get(serve(View, parts=[("a", 1)]))
    assert response.content.startswith(b'{\n  "results": [\n')


@pytest.mark.parametrize("route", ["", "?cursor=junk", "parts/?keys=user_data", "manifest/"])
def test_renderer__browsable_api(client, serve, route):
    url = serve(base=HybridProgressiveView, parts=PARTS)
    response = client.get(url + route, HTTP_ACCEPT="text/html")
    assert response.headers["Content-Type"].startswith("text/html")
    page = response.content.decode()
    assert "Served" in page
    assert ("cursor_invalid" if "junk" in route else "user_data") in page


def test_renderer__browsable_api_walks_on(client, serve):
    url = serve(parts=PARTS)
    token = first_cursor(client, url)
    page = client.get(f"{url}?cursor={token}", HTTP_ACCEPT="text/html").content.decode()
    assert "last_part" in page


def test_renderer__by_format(client, serve):
    url = serve(parts=PARTS)
    assert client.get(f"{url}?format=json").json()["results"]
    page = client.get(f"{url}?format=api")
    assert page.headers["Content-Type"].startswith("text/html")


class Refusing(CountingRenderer):
    def render(self, data, accepted_media_type=None, renderer_context=None):
        if "secret" in data:
            raise ValueError("hunter2")
        return super().render(data, accepted_media_type, renderer_context)


class Contextual(JSONRenderer):
    """A renderer that looks at its context, as those of many projects do."""

    def render(self, data, accepted_media_type=None, renderer_context=None):
        context = renderer_context
        seen = [context["view"].seen, context["request"].method, context["response"].status_code]
        return super().render([seen, data], accepted_media_type, context)


CAMEL = {"firstName": "Ada", "é": [1.5, None, {"lastOrder": "\u2028</script>"}]}
FAILING = [
    ("user_data", DATA),
    ("order_rows", lazy(lambda request, user_data: user_data, depends_on=["user_data"])),
    ("no_data", None),
    ("broken_part", lazy(lambda request: 1 / 0)),
    ("kept_part", lazy(cached_for(60, shared=True)(lambda request: {"from_cache": 1}))),
    ("invalid_part", lazy("get_invalid")),
    ("last_part", 3),
]


class Camel(HybridProgressiveView):
    permission_classes = [AllowAny]
    renderer_classes = [CamelCaseJSONRenderer, CamelCaseBrowsableAPIRenderer]
    chunk_size = 4
    parts = FAILING

    def get_invalid(self, request):
        raise EndpointFailed(400, {"first_name": ["This field is required."]})


def test_renderer__camel_case_writes_data_and_no_key_of_the_protocol(client, serve, empty_cache):
    url = serve(base=Camel)
    envelopes = walk(client, url)
    data = merged(envelopes)
    assert data == {
        "user_data": CAMEL,
        "order_rows": CAMEL,
        "no_data": None,
        "kept_part": {"fromCache": 1},
        "last_part": 3,
    }
    first, second = envelopes
    assert set(first["meta"]) == {
        "total_parts",
        "current_part",
        "has_more",
        "manifest_url",
        "pending",
    }
    assert first["meta"]["pending"] == ["kept_part", "invalid_part", "last_part"]
    (broken,) = first["errors"]
    assert set(broken) == {"part", "code", "detail", "retryable", "retry_cursor"}
    (invalid,) = second["errors"]
    assert invalid["problems"] == {"firstName": ["This field is required."]}
    keys = client.get(f"{url}parts/?keys=user_data,kept_part,invalid_part").json()
    assert merged([keys]) == {"user_data": CAMEL, "kept_part": {"fromCache": 1}}
    assert keys["errors"][0]["problems"] == invalid["problems"]
    manifest = client.get(f"{url}manifest/").json()
    assert list(manifest["parts"]) == [name for name, _ in FAILING]
    assert manifest["meta"] == {"total_parts": 7}


@pytest.mark.parametrize("route", ["", "manifest/"])
def test_renderer__the_browsable_api_shows_the_keys_of_the_protocol(client, serve, route):
    page = client.get(serve(base=Camel) + route, HTTP_ACCEPT="text/html").content.decode()
    assert "total_parts" in page
    assert "totalParts" not in page
    assert "user_data" in page
    assert "first_name" not in page


@pytest.mark.parametrize("accept", ["application/json", "application/json; indent=4"])
def test_renderer__errors_of_requests_keep_their_keys(client, serve, accept, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True}
    url = serve(base=Camel, burst_limit=1)
    client.get(url)
    response = client.get(url, HTTP_ACCEPT=accept)
    assert response.status_code == 429
    assert set(response.json()) == {"detail", "code", "retry_after"}


def test_renderer__what_a_finalize_response_changes_keeps_its_keys(client, serve):
    class Changing(Camel):
        def finalize_response(self, request, response, *args, **kwargs):
            response.data["meta"]["server_time"] = 7
            return super().finalize_response(request, response, *args, **kwargs)

    envelope = client.get(serve(base=Changing)).json()
    assert envelope["meta"]["server_time"] == 7
    assert merged([envelope])["user_data"] == CAMEL


def test_renderer__gets_the_context_of_a_response(client, serve):
    class Seeing(ProgressiveView):
        seen = "mine"

    url = serve(base=Seeing, parts=[("a", 1), ("b", None)], renderer_classes=[Contextual])
    assert merged([client.get(url).json()]) == {"a": [["mine", "GET", 200], 1], "b": None}


class Odd(JSONRenderer):
    """A renderer that writes something else than JSON for some data."""

    written = {
        "empty": b"",
        "prefix": b")]}',{}",
        "number": 5,
        "utf-16": '{"a":1}'.encode("utf-16"),
        "cut": b'{"a":',
        "none": None,
    }

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return self.written[data] if isinstance(data, str) else super().render(data)


@pytest.mark.parametrize("kind", Odd.written)
def test_renderer__what_is_no_json_fails_the_part_alone(client, serve, kind):
    parts = [("a", kind), ("b", {"open": 2})]
    body = client.get(serve(parts=parts, renderer_classes=[Odd])).json()
    assert [(error["part"], error["code"]) for error in body["errors"]] == [
        ("a", "not_serializable")
    ]
    assert merged([body]) == {"b": {"open": 2}}


@pytest.mark.parametrize("data", [0, -1.5, 1e300, "", "x", True, False, [], {}, [None], {"a": {}}])
def test_renderer__every_json_value_is_one(client, serve, data):
    url = serve(parts=[("a", data)], renderer_classes=[CountingRenderer])
    assert merged([client.get(url).json()]) == {"a": data}


class Upper(JSONRenderer):
    format = "up"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return super().render({key.upper(): value for key, value in data.items()})


@pytest.mark.parametrize(("query", "data"), [("", {"X_Y": 1}), ("format=json&", {"x_y": 1})])
def test_renderer__is_the_same_in_each_delivery(client, serve, query, data):
    url = serve(
        base=HybridProgressiveView,
        parts=[("a", {"x_y": 1})],
        renderer_classes=[Upper, JSONRenderer],
    )
    assert merged([client.get(f"{url}?{query}").json()]) == {"a": data}
    assert merged([client.get(f"{url}parts/?{query}keys=a").json()]) == {"a": data}


def test_renderer__that_fails_fails_the_part(client, serve, caplog):
    parts = [("a", {"secret": 1}), ("b", {"open": 2})]
    body = client.get(serve(parts=parts, renderer_classes=[Refusing]))
    (error,) = body.json()["errors"]
    assert (error["part"], error["code"], error["retryable"]) == ("a", "not_serializable", False)
    assert merged([body.json()]) == {"b": {"open": 2}}
    assert b"hunter2" not in body.content
    (record,) = [record for record in caplog.records if record.name.startswith("partstream")]
    assert "Refusing cannot write part 'a'" in record.getMessage()
    assert "hunter2" in caplog.text


def test_renderer__orjson(client, serve):
    from drf_orjson_renderer.renderers import ORJSONRenderer

    url = serve(parts=PARTS, renderer_classes=[ORJSONRenderer])
    envelopes = walk(client, url)
    assert merged(envelopes) == {"user_data": DATA, "order_rows": [DATA], "last_part": 3}


def test_renderer__any_other_gets_the_data(client, serve):
    response = client.get(serve(parts=PARTS, renderer_classes=[ReprRenderer]))
    data = eval(response.content)
    assert data["results"] == [{"user_data": DATA}, {"order_rows": [DATA]}]
    assert response.headers["Content-Type"] == "text/x-repr; charset=utf-8"


def test_renderer__a_projects_own_renders_each_part_once(client, serve):
    CountingRenderer.rendered = 0
    response = client.get(serve(parts=PARTS, renderer_classes=[CountingRenderer]))
    assert merged([response.json()])["user_data"] == DATA
    assert CountingRenderer.rendered == 2


def test_renderer__drfs_own_is_not_asked(client, serve, monkeypatch):
    def render(self, *args, **kwargs):
        raise AssertionError("rendered again")

    url = serve(parts=PARTS)
    monkeypatch.setattr(JSONRenderer, "render", render)
    assert merged(walk(client, url))["last_part"] == 3


# Who reads or changes the answer on its way


class Reading(ProgressiveView):
    """A project's finalize_response that reads the bytes."""

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["X-Length"] = str(len(response.content))
        return response


class Changing(ProgressiveView):
    """A project's finalize_response that changes the data in place."""

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response.data["meta"]["served_by"] = "node 7"
        return response


class Assigning(ProgressiveView):
    """A project's finalize_response that wraps the data."""

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response.data = {"wrapped": response.data}
        return response


def test_content__can_be_read_before_it_is_rendered(client, serve):
    response = client.get(serve(base=Reading, parts=PARTS))
    assert response.headers["X-Length"] == str(len(response.content))


def test_data__changed_in_place_is_rendered(client, serve, drf):
    response = client.get(serve(base=Changing, parts=PARTS))
    data = response.json()
    assert data["meta"]["served_by"] == "node 7"
    assert merged([data])["user_data"] == DATA
    assert response.content == drf(data)


def test_data__assigned_is_rendered(client, serve):
    response = client.get(serve(base=Assigning, parts=PARTS))
    assert merged([response.json()["wrapped"]])["user_data"] == DATA


@pytest.mark.parametrize("base", [Changing, Assigning])
def test_data__that_was_touched_is_not_rendered_again(client, serve, base):
    CountingRenderer.rendered = 0
    client.get(serve(base=base, parts=PARTS, renderer_classes=[CountingRenderer]))
    assert CountingRenderer.rendered == 2


def test_data__after_the_answer_is_a_dict(client, serve):
    response = client.get(serve(parts=PARTS))
    assert response.data == json.loads(response.content)
    assert response.data is response.data


def template_middleware(get_response):
    class Middleware:
        def __call__(self, request):
            return get_response(request)

        def process_template_response(self, request, response):
            response.data["meta"]["template"] = True
            return response

    return Middleware()


def content_middleware(get_response):
    def middleware(request):
        response = get_response(request)
        response.content = response.content.replace(b"Ada", b"Eve")
        return response

    return middleware


def test_middleware__of_template_responses(client, serve, settings):
    settings.MIDDLEWARE = [f"{__name__}.template_middleware"]
    data = client.get(serve(parts=PARTS)).json()
    assert data["meta"]["template"] is True
    assert merged([data])["user_data"] == DATA


def test_middleware__that_changes_the_content(client, serve, settings):
    settings.MIDDLEWARE = [f"{__name__}.content_middleware"]
    assert merged([client.get(serve(parts=PARTS)).json()])["user_data"]["first_name"] == "Eve"


@pytest.mark.parametrize(
    "middleware",
    [
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.locale.LocaleMiddleware",
    ],
)
def test_middleware__of_django(client, serve, settings, middleware):
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE]
    parts = [("big", "x" * 5000), ("more", 2), ("last", 3)]
    url = serve(parts=parts)
    assert merged(walk(client, url)) == dict(parts)
    assert merged(walk(Client(), url)) == dict(parts)


def test_head__has_no_data(client, serve):
    for accept in ("application/json", "text/html"):
        response = client.head(serve(parts=PARTS), HTTP_ACCEPT=accept)
        assert (response.status_code, response.content) == (200, b"")


# What projects do with responses


def test_data__survives_a_cache():
    response = PartsResponse(b'{"a": 1}')
    response.accepted_renderer, response.accepted_media_type = JSONRenderer(), "application/json"
    response.renderer_context = {}
    response.render()
    copy = pickle.loads(pickle.dumps(response))
    assert copy.data == {"a": 1}
    assert copy.content == b'{"a": 1}'


def add_to_data(self, request, response, *args, **kwargs):
    response = super(type(self), self).finalize_response(request, response, *args, **kwargs)
    response.data["added"] = True
    return response


@pytest.mark.parametrize("route", ["", "manifest/", "parts/?keys=a"])
def test_data__can_be_added_to_on_head_as_on_get(serve, client, route):
    url = serve(HybridProgressiveView, parts=[("a", 1)], finalize_response=add_to_data)
    assert client.get(url + route).json()["added"] is True
    head = client.head(url + route)
    assert (head.status_code, head.content) == (200, b"")


def test_etag__is_not_that_of_data_which_was_changed(serve, client):
    url = serve(HybridProgressiveView, parts=[("a", 1)])
    etag = client.get(url + "manifest/")["ETag"]
    url = serve(HybridProgressiveView, parts=[("a", 1)], finalize_response=add_to_data)
    assert "ETag" not in client.get(url + "manifest/").headers
    answer = client.get(url + "manifest/", headers={"if-none-match": etag})
    assert (answer.status_code, answer.content) in {(304, b""), (200, answer.content)}


def test_etag__not_modified_has_no_body_and_no_type(serve, client):
    url = serve(HybridProgressiveView, parts=[("a", 1)]) + "manifest/"
    etag = client.get(url)["ETag"]
    answer = client.get(url, headers={"if-none-match": etag})
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    assert "Content-Type" not in answer.headers
    assert answer["Cache-Control"] == "private, no-cache"
