"""Permissions of parts: what they look at, and operands of every version of DRF."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Permission
from rest_framework import generics, permissions, viewsets

from partstream import HybridProgressiveView, lazy
from partstream.exceptions import Misuse
from partstream.parts.permissions import PartPermission
from tests.example.models import Note
from tests.support.walk_client import get_json, names

pytestmark = pytest.mark.django_db


class Reading(permissions.DjangoModelPermissions):
    """DRF's, which also asks for the permission to read."""

    perms_map = {
        **permissions.DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
    }


class NoteViewSet(viewsets.ModelViewSet):
    queryset = Note.objects.all()


class NoteList(generics.ListAPIView):
    def get_queryset(self):
        assert (self.request.method, self.kwargs) == ("GET", {})
        return Note.objects.all()


class IsListed(permissions.BasePermission):
    def has_permission(self, request, view):
        return (type(view), view.action, view.request is request) == (NoteViewSet, "list", True)


class IsGrace(permissions.BasePermission):
    def has_permission(self, request, view):
        return request.user.username == "grace"


VIEWS = {
    "view set": NoteViewSet,
    "generic view": NoteList,
    "object": SimpleNamespace(queryset=Note.objects.all()),
}


def load(request):
    return 1


@pytest.fixture
def reader(django_user_model):
    user = django_user_model.objects.create_user("reader")
    user.user_permissions.add(Permission.objects.get(codename="view_note"))
    return user


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("how", ["parts", "get_parts"])
def test_permission_view__is_what_model_permissions_look_at(client, serve, reader, user, kind, how):
    def declare():
        guarded = lazy(load, permission_classes=[Reading], permission_view=VIEWS[kind])
        return [("open", 1), ("notes", guarded)]

    options = {"parts": declare()} if how == "parts" else {"get_parts": lambda self: declare()}
    url = serve(base=HybridProgressiveView, **options)
    client.force_login(user)
    assert names(get_json(client, url)) == ["open"]
    client.force_login(reader)
    for _ in range(2):
        assert names(get_json(client, url)) == ["open", "notes"]


def test_permission_view__without_it_the_part_is_hidden_and_the_log_says_why(
    client, serve, reader, caplog
):
    client.force_login(reader)
    url = serve(parts=[("notes", lazy(load, permission_classes=[Reading]))])
    assert names(get_json(client, url)) == []
    assert "permission_view=" in caplog.text


def test_permission_view__of_a_view_set_lists(client, serve):
    part = lazy(load, permission_classes=[IsListed], permission_view=NoteViewSet)
    assert names(get_json(client, serve(parts=[("notes", part)]))) == ["notes"]


def test_permission_view__of_one_part_is_not_that_of_another(client, serve):
    parts = [
        ("one", lazy(load, permission_classes=[IsListed], permission_view=NoteViewSet)),
        ("two", lazy(load, permission_classes=[IsListed], permission_view=NoteList)),
    ]
    assert names(get_json(client, serve(parts=parts))) == ["one"]


@pytest.mark.parametrize("how", ["parts", "get_parts"])
@pytest.mark.parametrize(
    "operand",
    [
        permissions.IsAdminUser | IsGrace,
        permissions.IsAuthenticated & (permissions.IsAdminUser | IsGrace),
        permissions.IsAuthenticated & ~~IsGrace,
    ],
    ids=["or", "and", "not"],
)
def test_operands__of_drf_can_be_declared(client, serve, user, django_user_model, how, operand):
    def declare():
        return [("one", lazy(load, permission_classes=[operand])), ("two", 2)]

    options = {"parts": declare()} if how == "parts" else {"get_parts": lambda self: declare()}
    url = serve(base=HybridProgressiveView, **options)
    client.force_login(user)
    assert names(get_json(client, url)) == ["two"]
    client.force_login(django_user_model.objects.create_user("grace"))
    assert names(get_json(client, url)) == ["one", "two"]


class WithoutHash:
    """As an operand of DRF 3.15.0."""

    def __init__(self, *names):
        self.names = names

    def __eq__(self, other):
        return isinstance(other, WithoutHash) and self.names == other.names

    def __call__(self):
        return self

    def has_permission(self, request, view):
        return request.user.username in self.names


def test_operands__without_a_hash(client, serve, django_user_model):
    def get_parts(self):
        return [
            ("one", lazy(load, permission_classes=[WithoutHash("ada")])),
            ("two", lazy(load, permission_classes=[WithoutHash("grace")])),
        ]

    url = serve(get_parts=get_parts)
    for name, part in [("ada", "one"), ("grace", "two")]:
        client.force_login(django_user_model.objects.create_user(name))
        assert names(get_json(client, url)) == [part]


def test_part_permission__equals_one_of_the_same_view():
    one, same = (PartPermission(WithoutHash("ada"), NoteList) for _ in range(2))
    others = [
        PartPermission(WithoutHash("ada"), NoteViewSet),
        PartPermission(WithoutHash("grace"), NoteList),
        WithoutHash("ada"),
    ]
    assert one == same
    assert hash(one) == hash(same)
    assert all(one != other for other in others)


@pytest.mark.parametrize(
    "view",
    ["orders", 7, SimpleNamespace(), dict, NoteViewSet.as_view({"get": "list"})],
    ids=["name", "number", "object", "class", "function"],
)
def test_permission_view__another_value_is_refused(view):
    with pytest.raises(Misuse, match="write the class of a view"):
        lazy(load, permission_classes=[Reading], permission_view=view)


def test_permission_view__needs_permissions():
    with pytest.raises(Misuse, match="needs permission_classes"):
        lazy(load, permission_view=NoteViewSet)
