"""What a view finds for a request: once, and for that request object alone."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import BasePermission
from rest_framework.request import clone_request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.test import APIRequestFactory

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.keys import get_key_ring
from partstream.mixins import ChunkMixin, CursorMixin
from tests.support.walk_client import at, first_cursor, get_json, walk

ADA = {"x-user": "ada"}


class ByHeader(BaseAuthentication):
    def authenticate(self, request):
        name = request.headers.get("X-User")
        return (User(pk=len(name), username=name), None) if name else None


class Asked:
    """Notes for which users the view is asked for an identity, and for its parts."""

    authentication_classes = [ByHeader]
    parts = [("a", 1), ("b", lazy(lambda request: request.user.get_username())), ("c", 3)]
    chunk_size = 1

    @classmethod
    def note(cls, what, request):
        cls.asked.append((what, request.user.get_username()))

    def get_identity(self, request):
        self.note("identity", request)
        return request.user.get_username()

    def get_parts(self):
        self.note("parts", self.request)
        return super().get_parts()


@pytest.fixture
def view():
    """Makes a view of these bases that notes what it is asked."""

    def view(base, **attributes):
        return type("View", (Asked, base), {"asked": [], "__module__": __name__, **attributes})

    return view


# Once a request


def test_identity__and_parts_are_asked_for_once(client, mount, view, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True, "RATE_LIMIT": 1000}
    kind = view(HybridProgressiveView)
    mount(*kind.urls())
    once = [("identity", "ada"), ("parts", "ada")]
    token = first_cursor(client, "/", headers=ADA)
    assert sorted(kind.asked) == once
    for url in (at("/", token), "/parts/?keys=a,b", "/manifest/"):
        kind.asked.clear()
        get_json(client, url, headers=ADA)
        assert sorted(kind.asked) == once


def test_walk__is_decoded_once_and_goes_on(client, mount, view, settings):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": True, "RATE_LIMIT": 1000}
    decoded = []

    class Noting(SignedCursorCodec):
        def decode(self, token, ttl):
            decoded.append(token)
            return super().decode(token, ttl)

    codec = Noting(keys=get_key_ring())

    def get(self, request):
        cursor = self.read_cursor(request)
        assert self.read_cursor(request) is cursor
        tokens = [self.issue_cursor(request, [number]) for number in (1, 2)]
        return Response({"walk": cursor and cursor.walk, "tokens": tokens})

    kind = view(ProgressiveView, get=get, get_cursor_codec=lambda self: codec)
    mount(path("view/", kind.as_view()))
    tokens = get_json(client, "/view/", headers=ADA)["tokens"]
    assert decoded == []
    walks = set()
    for token in tokens:
        decoded.clear()
        answer = get_json(client, at("/view/", token), headers=ADA)
        assert decoded == [token]
        walks.add(answer["walk"])
        tokens.extend(answer["tokens"] if len(tokens) < 6 else [])
    assert len(walks) == 1  # All of one walk, also those that a request of it issued.


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("url", ["/?cursor=junk", "/parts/?keys=unknown"])
def test_identity__of_a_refused_request_is_asked_for_once(
    client, mount, view, settings, url, counted
):
    settings.DJANGO_PARTSTREAM = {"ENABLE_RATE_LIMITING": counted, "RATE_LIMIT": 1000}
    kind = view(HybridProgressiveView)
    mount(*kind.urls())
    assert client.get(url, headers=ADA).status_code == 400
    assert kind.asked.count(("identity", "ada")) == 1


def test_state__is_gone_with_its_request(view):
    kind = view(ProgressiveView)
    made = []

    class Made(kind):
        def setup(self, request, *args, **kwargs):
            made.append(self)
            super().setup(request, *args, **kwargs)

    request = APIRequestFactory().get("/")
    Made.as_view()(request)
    Made.as_view()(APIRequestFactory().post("/"))
    assert [instance._state for instance in made] == [None, None]
    assert kind.asked == [("identity", ""), ("parts", "")]


# Another request object


def other_user(request):
    """A copy as DRF makes it, of another user."""
    copied = clone_request(request, "POST")
    copied.user = User(pk=99, username="other")
    return copied


def test_clone__has_an_identity_of_its_own(client, mount, view):
    def get(self, request):
        other = other_user(request)
        return Response([self.identity_of(each) for each in (request, other, request, other)])

    mount(path("view/", view(ProgressiveView, get=get).as_view()))
    assert get_json(client, "/view/", headers=ADA) == ["ada", "other", "ada", "other"]


def test_clone__has_a_resolver_of_its_own(client, mount, view):
    def get(self, request):
        other = other_user(request)
        resolvers = [self.get_resolver(each) for each in (request, request, other, other)]
        assert [resolver.request for resolver in resolvers] == [request, request, other, other]
        assert resolvers[0] is resolvers[1]
        assert resolvers[2] is resolvers[3]
        return Response(
            {
                outcome.name: [outcome.fragment.decode() for outcome in (outcome, there)]
                for outcome, there in zip(
                    resolvers[0].resolve(["b"]), resolvers[2].resolve(["b"]), strict=True
                )
            }
        )

    mount(path("view/", view(ProgressiveView, get=get).as_view()))
    assert get_json(client, "/view/", headers=ADA) == {"b": ['"ada"', '"other"']}


def test_clone__has_a_walk_of_its_own(client, mount, view):
    def get(self, request):
        if "cursor" in request.query_params:
            return self.walk_response(request)
        other = other_user(request)
        return Response([self.issue_cursor(each, [1]) for each in (request, other, request)])

    mount(path("view/", view(ProgressiveView, get=get).as_view()))
    first, of_other, again = get_json(client, "/view/", headers=ADA)
    for token, user, answer in [
        (first, "ada", [{"b": "ada"}]),
        (again, "ada", [{"b": "ada"}]),
        (of_other, "other", [{"b": "other"}]),
    ]:
        found = get_json(client, at("/view/", token), headers={"x-user": user})
        assert found["results"] == answer
    for token, user in [(first, "other"), (of_other, "ada")]:
        response = client.get(at("/view/", token), headers={"x-user": user})
        assert response.json()["code"] == "cursor_invalid"


def test_clone__made_by_a_loader_changes_nothing(client, mount, view):
    ids, made = [], view(ProgressiveView)

    def load(request):
        clone = clone_request(request, "POST")
        made.current.identity_of(clone)
        made.current.identity_of(clone)
        ids.append(made.current.read_cursor(request))
        return 1

    def get_parts(self):
        made.current = self
        made.note("parts", self.request)
        return [("a", lazy(load)), ("b", lazy(load)), ("c", 3)]

    made.get_parts = get_parts
    mount(path("walk/", made.as_view()))
    envelopes = walk(client, "/walk/", headers=ADA)
    assert len(envelopes) == 3
    assert made.asked.count(("parts", "ada")) == 3
    # Each request, and each clone in the first two.
    assert made.asked.count(("identity", "ada")) == 5
    assert ids[0] is None
    assert ids[1].next == 1


def test_clone__made_while_walking_changes_nothing(client, mount, view):
    def get(self, request):
        other = other_user(request)
        self.identity_of(other)
        response = self.walk_response(request)
        self.get_resolver(other)
        return response

    mount(path("view/", view(ProgressiveView, get=get).as_view()))
    envelopes = walk(client, "/view/", headers=ADA)
    assert [envelope["results"] for envelope in envelopes] == [
        [{"a": 1}],
        [{"b": "ada"}],
        [{"c": 3}],
    ]


class Identifying(BasePermission):
    """Compares what the view says of each request object with the user."""

    asked = []

    def has_permission(self, request, view):
        self.asked.append(request.method)
        return view.identity_of(request) == request.user.get_username()


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("method", ["options", "get"])
def test_clone__of_drf_for_its_metadata_and_forms(client, mount, view, method, accept):
    class View(CursorMixin, ChunkMixin, GenericAPIView):
        serializer_class = Serializer
        permission_classes = [Identifying]

        def get(self, request):
            return self.walk_response(request)

        def post(self, request):
            return Response()

    mount(path("view/", view(View).as_view()))
    Identifying.asked.clear()
    response = getattr(client, method)("/view/", headers={**ADA, "accept": accept})
    assert response.status_code == 200
    # DRF asks about a copy of the request, too.
    assert ("POST" in Identifying.asked) is (method == "options" or accept == "text/html")
