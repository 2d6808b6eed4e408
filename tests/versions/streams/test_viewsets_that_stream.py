"""Progressive actions of viewsets, streamed by routers of DRF."""

from __future__ import annotations

import pytest
from django.urls import include, path
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter, SimpleRouter
from rest_framework.viewsets import ViewSet

from partstream import lazy
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from tests.support.marks import with_suffixes
from tests.support.streams import NDJSON, SSE, get_stream, records, stream
from tests.support.walk_client import at, get_json, merged

pytestmark = with_suffixes


class BoardViewSet(ProgressiveViewSetMixin, ViewSet):
    permission_classes = ()

    def list(self, request):
        return Response({"listed": True})

    @progressive_action(detail=False)
    def overview(self):
        return [("now", self.action), ("then", lazy(self.get_then))]

    @progressive_action(detail=True)
    def dashboard(self):
        return [("pk", self.kwargs["pk"]), ("then", lazy(self.get_then))]

    def get_then(self, request):
        return [self.action, request.path]


@pytest.fixture(params=[SimpleRouter, DefaultRouter])
def routed(request, mount):
    router = request.param()
    router.register("boards", BoardViewSet, basename="board")
    mount(path("api/", include(router.urls)))


@pytest.mark.parametrize(
    ("url", "now"),
    [
        ("/api/boards/overview/", {"now": "overview"}),
        ("/api/boards/7/dashboard/", {"pk": "7"}),
    ],
)
def test_action__streams(routed, client, url, now):
    found = stream(client, url)
    action = url.split("/")[-2]
    assert merged(found[:1]) == now
    assert merged(found[1:]) == {"then": [action, url]}
    rest = stream(client, at(url, found[0]["cursor"]))
    assert merged(rest) == {"then": [action, url]}
    assert get_json(client, f"{url}manifest/")["links"]["stream"] == url


@pytest.mark.parametrize("extra", [NDJSON, SSE])
@pytest.mark.parametrize(
    "path",
    ["overview/manifest/", "overview/parts/?keys=now", ""],
    ids=["manifest", "parts", "list"],
)
def test_action__other_routes_do_not(routed, client, extra, path):
    response = client.get(f"/api/boards/{path}", **extra)
    assert response.status_code == 406
    assert response.headers["Content-Type"] == "application/json"


def test_action__by_format(routed, client):
    response = get_stream(client, "/api/boards/overview/?format=ndjson", HTTP_ACCEPT="*/*")
    assert merged(records(response))["then"] == ["overview", "/api/boards/overview/"]
