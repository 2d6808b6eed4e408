from __future__ import annotations

import pytest
import yaml
from adrf.decorators import api_view as async_api_view
from adrf.viewsets import ViewSet as AsyncViewSet
from django.core.checks import run_checks
from django.core.management import call_command
from django.urls import include, path
from rest_framework.response import Response

from partstream import HybridProgressiveView, endpoint, lazy
from partstream.exceptions import Misuse
from tests.projects.library import dashboards, urls, views

from .base import make_library, with_session

ASYNC = "is asynchronous. Write an async def loader that calls its code."


def ids(messages):
    return {message.id for message in messages if not message.is_silenced()}


def messages_of(view):
    """What the checks say of a view."""
    return [message for message in run_checks() if message.obj is view]


def test_check__finds_streams_outside_of_the_transaction(db):
    said = run_checks(databases=["default"])
    assert ids(said) == {"partstream.W007"}
    views = {message.obj for message in said}
    assert dashboards.Desk in views
    assert dashboards.BusyDesk not in views


def test_check__without_streams_finds_nothing(db, settings):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "MAX_STREAMS": 0}
    assert run_checks(databases=["default"]) == []


def test_check__of_a_deployment_finds_the_cache_of_one_process(db):
    said = ids(run_checks(include_deployment_checks=True)) - {"partstream.W007"}
    assert said == {"partstream.W009", "partstream.W019", "partstream.W023"}


def test_migrations__are_those_of_the_models(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


#: Parts of the desk, and the paths whose answers they have.
DESCRIBED = {
    "account": "account/",
    "books": "books/",
    "authors": "authors/",
    "favourite": "books/{slug}/",
    "branches": "branches/",
    "loans": "loans/",
    "statistics": "statistics/",
}
BOOKS = {"v1": "Book", "v2": "BookSerializerV2"}


class AtomicThreads(dashboards.Desk):
    """Without the decorator that takes it out of the request's transaction."""

    executor = dashboards.BusyDesk.executor


class OnePartInThreads(HybridProgressiveView):
    parts = [
        ("account", lazy(endpoint("account"))),
        ("statistics", lazy(endpoint("statistics"), executor=dashboards.BusyDesk.executor)),
    ]


class AsyncDesk(HybridProgressiveView):
    parts = [("news", lazy(endpoint("news")))]


class AsyncNames(AsyncViewSet):
    async def list(self, request):
        return Response({"names": []})


class SyncNames(AsyncViewSet):
    def list(self, request):
        return Response({"names": []})


@async_api_view(["GET"])
async def async_names(request):
    return Response({"names": []})


class URLconf:
    def __init__(self, *added):
        added_api = [*urls.api, *added]
        self.urlpatterns = [path("v1/", include((added_api, "library"), namespace="v1"))]
        self.urlpatterns += urls.urlpatterns[1:]


@pytest.mark.parametrize("desk", [AtomicThreads, OnePartInThreads])
def test_check__names_threads_inside_the_transaction(settings, desk):
    settings.ROOT_URLCONF = URLconf(path("x/", include(desk.urls())))
    [message] = messages_of(desk)
    assert message.id == "partstream.W007"
    assert desk.__name__ in message.msg


def test_async_endpoint__is_refused_by_check_and_at_its_first_use(settings, db, caplog):
    settings.ROOT_URLCONF = URLconf(path("x/", include(AsyncDesk.urls(name="x"))))
    [message] = messages_of(AsyncDesk)
    text = f"NewsView {ASYNC}"
    assert message.id == "partstream.E004"
    assert text in message.msg
    make_library()
    [error] = with_session("ada").get("/v1/x/").json()["errors"]
    assert error["code"] == "part_failed"
    assert text in caplog.text


def test_async_endpoint__as_a_class_is_refused_where_it_is_declared():
    for view, action in ((views.NewsView, None), (AsyncNames, "list"), (async_names, None)):
        with pytest.raises(Misuse, match=ASYNC):
            endpoint(view, action=action)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (AsyncNames.as_view({"get": "list"}), ASYNC),
        (async_names, ASYNC),
        # Its as_view() is the package's, and may do anything.
        (SyncNames.as_view({"get": "list"}), "or an as_view() of its own, which a part would not"),
    ],
    ids=["view set", "function", "view set without async"],
)
def test_async_endpoint__of_any_kind_is_named_by_check(settings, view, message):
    class Names(HybridProgressiveView):
        parts = [("names", lazy(endpoint("names")))]

    settings.ROOT_URLCONF = URLconf(
        path("names/", view, name="names"), path("x/", include(Names.urls()))
    )
    [found] = messages_of(Names)
    assert found.id == "partstream.E004"
    assert message in found.msg


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_schema__of_the_whole_project_has_no_warning(tmp_path, version):
    file = tmp_path / "schema.yaml"
    call_command(
        "spectacular", fail_on_warn=True, validate=True, file=str(file), api_version=version
    )
    schema = yaml.safe_load(file.read_text(encoding="utf-8"))
    paths = schema["paths"]
    assert {f"/{version}/desk/{each}" for each in ("", "parts/", "manifest/")} <= paths.keys()
    page = paths[f"/{version}/books/{{slug}}/page/"]["get"]
    assert page["description"] == "The page of a book."
    parts = schema["components"]["schemas"]["DeskParts"]["properties"]
    assert list(parts) == [name for name, _ in dashboards.Desk.parts]
    own = {name: f"/{version}/{path}" for name, path in DESCRIBED.items()}
    for name, described in own.items():
        content = paths[described]["get"]["responses"]["200"]["content"]
        assert parts[name] == content["application/json"]["schema"], name
    author = schema["components"]["schemas"][BOOKS[version]]["properties"]["author"]
    assert ("$ref" in str(author)) is (version == "v2")
    assert parts["partner"] == {}  # It is not in the schema.
    operations = [each["get"]["operationId"] for each in paths.values() if "get" in each]
    assert len(set(operations)) == len(operations)


def test_schema__is_served(client, db):
    assert client.get("/schema/?version=v2").status_code == 200
