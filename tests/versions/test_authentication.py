"""How the mixins authenticate: as DRF does, whatever a project has overridden."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, lazy
from partstream.mixins import ChunkMixin, CursorMixin
from tests.support.walk_client import get_json


class ByHeader(BaseAuthentication):
    """Takes the user's name from a header, and counts how often it is asked."""

    asked = 0

    def authenticate(self, request):
        type(self).asked += 1
        name = request.headers.get("X-User")
        if name == "nobody":
            raise AuthenticationFailed("Nobody is not anybody.")
        return (User(pk=7, username=name), f"of {name}") if name else None


class WithChallenge(ByHeader):
    def authenticate_header(self, request):
        return "ByHeader"


@pytest.fixture(autouse=True)
def not_asked_yet():
    ByHeader.asked = 0


def told(request):
    """What a loader knows of its user."""
    return {
        "user": request.user.get_username(),
        "auth": request.auth,
        "by": type(request.successful_authenticator).__name__,
        "djangos": request._request.user.get_username(),
    }


NOBODY = {"user": "", "auth": None, "by": "NoneType", "djangos": ""}
ADA = {"user": "ada", "auth": "of ada", "by": "ByHeader", "djangos": "ada"}
ASKING = {"x-user": "ada"}


@pytest.fixture
def ask(client, serve):
    """What the loader of a new view with these attributes knows."""

    def ask(base=ProgressiveView, headers=None, **attributes):
        attributes = {"authentication_classes": [ByHeader], **attributes}
        url = serve(base, parts=[("told", lazy(told))], **attributes)
        return get_json(client, url, headers=headers or {})["results"][0]["told"]

    return ask


def test_user__is_known_and_asked_for_once(ask):
    assert ask() == NOBODY
    assert ByHeader.asked == 1
    assert ask(headers=ASKING) == ADA
    assert ByHeader.asked == 2


@pytest.mark.parametrize(
    ("authentication", "status"), [(ByHeader, 403), (WithChallenge, 401)], ids=["403", "401"]
)
def test_user__with_wrong_credentials_is_refused_as_by_drf(client, mount, authentication, status):
    attributes = {"authentication_classes": [authentication], "__module__": __name__}

    class Own(APIView):
        def get(self, request):
            return Response({})

    ours = type("Ours", (ProgressiveView,), {**attributes, "parts": [("a", 1)]})
    mount(
        path("drf/", type("Drf", (Own,), attributes).as_view()),
        path("ours/", ours.as_view()),
    )
    expected, found = (client.get(url, headers={"x-user": "nobody"}) for url in ("/drf/", "/ours/"))
    assert found.status_code == expected.status_code == status
    assert found.headers.get("WWW-Authenticate") == expected.headers.get("WWW-Authenticate")
    assert found.json() == {**expected.json(), "code": "authentication_failed"}


@pytest.mark.parametrize(("headers", "status"), [({}, 403), (ASKING, 200)])
def test_user__decides_about_permissions(client, serve, headers, status):
    url = serve(
        parts=[("a", 1)],
        authentication_classes=[ByHeader],
        permission_classes=[IsAuthenticated],
    )
    assert client.get(url, headers=headers).status_code == status


def test_user__of_no_authentication_is_none_where_the_settings_say_so(client, serve, settings):
    settings.REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None, "UNAUTHENTICATED_TOKEN": None}
    parts = [("user", lazy(lambda request: request.user is None and request.auth is None))]
    url = serve(parts=parts, authentication_classes=[ByHeader])
    assert get_json(client, url)["results"] == [{"user": True}]


class Broken(ByHeader):
    """It has a mistake of its programmer."""

    def authenticate(self, request):
        return request.no_such_attribute


@pytest.mark.parametrize("route", ["", "manifest/", "parts/?keys=a"])
def test_user__an_attribute_error_is_no_anonymous_visitor(client, serve, route):
    url = serve(HybridProgressiveView, parts=[("a", 1)], authentication_classes=[Broken])
    with pytest.raises(Exception, match="no_such_attribute"):
        client.get(url + route)
    client.raise_request_exception = False
    response = client.get(url + route)
    assert response.status_code == 500
    assert b'"a"' not in response.content


# What a project overrides


class Lazy(ProgressiveView):
    """DRF documents it: authenticate only when something asks for the user."""

    def perform_authentication(self, request):
        pass


class Below(APIView):
    def perform_authentication(self, request):
        pass


class LazyBelow(CursorMixin, ChunkMixin, Below):
    def get(self, request):
        return self.walk_response(request)


@pytest.mark.parametrize("base", [Lazy, LazyBelow])
def test_override__that_is_lazy_asks_nobody(client, serve, base):
    url = serve(base, parts=[("a", 1)], authentication_classes=[ByHeader])
    response = client.post(url, headers={"x-user": "nobody"})
    assert response.status_code == 405
    assert ByHeader.asked == 0


@pytest.mark.parametrize("base", [Lazy, LazyBelow])
def test_override__that_is_lazy_finds_the_user_when_asked(ask, base):
    assert ask(base, headers=ASKING) == ADA
    assert ByHeader.asked == 1


class Setting:
    def perform_authentication(self, request):
        super().perform_authentication(request)
        request.user = User(username=f"{request.user.username} and more")


@pytest.mark.parametrize("where", ["above", "below"])
def test_override__that_goes_on_to_drf_is_called(ask, where):
    if where == "above":
        base = type("View", (Setting, ProgressiveView), {})
    else:
        below = type("Below", (Setting, APIView), {})
        base = type("View", (LazyBelow.__bases__[0], ChunkMixin, below), {"get": LazyBelow.get})
    found = ask(base, headers=ASKING)
    assert found == {**ADA, "user": "ada and more", "djangos": "ada and more"}
    assert ByHeader.asked == 1


class Knowing(ProgressiveView):
    def initialize_request(self, request, *args, **kwargs):
        request = super().initialize_request(request, *args, **kwargs)
        request.user, request.auth = User(username="grace"), "known"
        return request


def test_override__a_user_that_is_set_before_stays(client, serve):
    parts = [("told", lazy(lambda request: [request.user.username, request.auth]))]
    url = serve(Knowing, parts=parts, authentication_classes=[ByHeader])
    answer = get_json(client, url, headers=ASKING)
    assert answer["results"] == [{"told": ["grace", "known"]}]
    assert ByHeader.asked == 0


class OwnRequest(Request):
    """A request of a project's own, which knows its user by itself."""

    @property
    def user(self):
        return self._request.user

    @user.setter
    def user(self, value):
        """What an authentication finds does not change it."""


class WithOwnRequest(ProgressiveView):
    def initialize_request(self, request, *args, **kwargs):
        request.user = User(username="of the request")
        return OwnRequest(request, authenticators=self.get_authenticators())


def test_override__a_request_class_of_its_own_decides(client, serve):
    url = serve(
        WithOwnRequest,
        parts=[("user", lazy(lambda request: request.user.username))],
        authentication_classes=[ByHeader],
    )
    assert get_json(client, url, headers=ASKING)["results"] == [{"user": "of the request"}]
    # Once by its `auth`, which DRF's identity needs; reading the user asks nobody.
    assert ByHeader.asked == 1
    assert client.post(url, headers={"x-user": "nobody"}).status_code == 405
    assert ByHeader.asked == 1


class OtherRequest(Request):
    """A request that changes nothing of the kind."""


class WithOtherRequest(ProgressiveView):
    def initialize_request(self, request, *args, **kwargs):
        context = self.get_parser_context(request)
        return OtherRequest(
            request, authenticators=self.get_authenticators(), parser_context=context
        )


def test_override__a_request_class_that_changes_nothing(ask):
    assert ask(WithOtherRequest, headers=ASKING) == ADA
    assert ByHeader.asked == 1


@pytest.mark.parametrize("has_any", [True, False])
def test_override__of_get_authenticators(ask, has_any):
    found = ask(
        headers=ASKING,
        authentication_classes=[],
        get_authenticators=lambda self: [ByHeader()] if has_any else [],
    )
    assert found == (ADA if has_any else NOBODY)


def test_authentication__forced_in_a_test(mount):
    class View(ProgressiveView):
        parts = [("told", lazy(told))]
        authentication_classes = [ByHeader]

    user = User(pk=8, username="forced")
    request = APIRequestFactory().get("/", headers=ASKING)
    force_authenticate(request, user=user, token="token")
    expected = {"user": "forced", "auth": "token", "by": "ForcedAuthentication"}
    expected["djangos"] = "forced"
    assert View.as_view()(request).data["results"] == [{"told": expected}]

    mount(path("view/", View.as_view()))
    client = APIClient()
    client.force_authenticate(user, "token")
    assert client.get("/view/").json()["results"] == [{"told": expected}]
    assert ByHeader.asked == 0


@pytest.mark.django_db
def test_authentication__by_session(client, serve, user):
    url = serve(parts=[("told", lazy(lambda request: request.user.get_username()))])
    client.force_login(user)
    assert get_json(client, url)["results"] == [{"told": "ada"}]
    client.logout()
    assert get_json(client, url)["results"] == [{"told": AnonymousUser().get_username()}]


# What replaces DRF's methods, as tracers do


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["perform_authentication", "initial", "dispatch"])
def test_patch__of_apiview_is_called(client, serve, monkeypatch, name, when):
    usual, called = getattr(APIView, name), []

    def patched(self, *args, **kwargs):
        called.append(name)
        return usual(self, *args, **kwargs)

    if when == "before":
        monkeypatch.setattr(APIView, name, patched)
    url = serve(parts=[("told", lazy(told))], authentication_classes=[ByHeader])
    if when == "after":
        get_json(client, url)
        monkeypatch.setattr(APIView, name, patched)
    assert get_json(client, url, headers=ASKING)["results"] == [{"told": ADA}]
    assert called == [name]


@pytest.mark.parametrize("when", ["before", "after"])
def test_patch__of_the_requests_user_is_read(client, serve, monkeypatch, when):
    usual, called = Request.user, []

    def patched(self):
        called.append("user")
        return usual.fget(self)

    url = serve(parts=[("told", lazy(told))], authentication_classes=[ByHeader])
    if when == "after":
        get_json(client, url)
    monkeypatch.setattr(Request, "user", property(patched, usual.fset))
    assert get_json(client, url, headers=ASKING)["results"] == [{"told": ADA}]
    assert called


def test_override__of_dispatch_between_the_mixins_and_drf_is_called(ask):
    called = []

    class Traced(APIView):
        def dispatch(self, request, *args, **kwargs):
            called.append(request.path)
            return super().dispatch(request, *args, **kwargs)

    class View(CursorMixin, ChunkMixin, Traced):
        get = LazyBelow.get

    assert ask(View, headers=ASKING) == ADA
    assert called == ["/served/"]
