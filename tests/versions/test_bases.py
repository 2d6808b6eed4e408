"""What all views share: declarations, and how misuse is reported."""

from __future__ import annotations

import itertools

import pytest
from django.test import Client
from rest_framework.views import APIView

from partstream import HybridProgressiveView, ProgressiveView, lazy, safe_call
from partstream.exceptions import Misuse
from partstream.mixins import CursorMixin
from tests.example.models import Note
from tests.support.walk_client import get_json, merged, walk


def load(request):
    return "loaded"


def load_one(request, a):
    return a


ROUTES = ["", "parts/?keys=a", "manifest/"]


async def coroutine(request):
    return 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("static", [True, False], ids=["parts", "get_parts"])
@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"a": 1}, "the parts are a dict. Return a list of (name, value) pairs"),
        ([("a", 1), ("a", 2)], "part 'a' is declared twice. Rename one of them."),
        ([("a", load)], "part 'a' …function…Wrap it: lazy(load)."),
        (
            [("a", safe_call(load, 1))],
            "part 'a' …Loader…Wrap it: lazy(...).",
        ),
        ([("class", 1)], "'class' is not a valid name for a part. Use letters"),
        ([("a", lazy(load_one, depends_on=["b"]))], "part 'a' depends on 'b', which is not a"),
        ([("a", lazy(load_one))], "the loader of part 'a' cannot be called as (request): "),
        (
            [("a", lazy("get_lost"))],
            "part 'a': the view has no method 'get_lost'. Define get_",
        ),
        (
            [
                ("a", lazy(lambda request, b: b, depends_on=["b"])),
                ("b", lazy(load_one, depends_on=["a"])),
            ],
            "parts depend on each other in a circle: ",
        ),
        (
            [(f"p{number}", 1) for number in range(2001)],
            "2001 parts are declared. The maximum is 2000",
        ),
    ],
    ids=itertools.count(),
)
def test_misuse__names_view_part_and_fix(serve, client, route, static, declared, says):
    attributes = {"parts": declared} if static else {"get_parts": lambda self: declared}
    url = serve(HybridProgressiveView, **attributes)
    for _ in range(2):
        with pytest.raises(Misuse) as caught:
            client.get(url + route)
        assert str(caught.value).startswith("ServedView: ")
        assert all(piece in str(caught.value) for piece in says.split("…")), caught.value


@pytest.mark.parametrize("route", ROUTES)
def test_misuse__get_parts_that_forgot_its_return(serve, client, route):
    url = serve(HybridProgressiveView, get_parts=lambda self: None)
    with pytest.raises(Misuse, match="ServedView: the parts are None"):
        client.get(url + route)


@pytest.mark.parametrize("route", ROUTES)
def test_misuse__no_parts_at_all(serve, client, route):
    with pytest.raises(Misuse) as caught:
        client.get(serve(HybridProgressiveView) + route)
    assert str(caught.value) == (
        "ServedView declares no parts. Set the attribute parts = [...], or define get_parts(self)."
    )


def test_misuse__a_coroutine_as_a_part(serve, client):
    pending = coroutine(None)
    try:
        with pytest.raises(Misuse, match="ServedView: part 'a' is a coroutine"):
            client.get(serve(get_parts=lambda self: [("a", pending)]))
    finally:
        pending.close()


def test_misuse__a_loader_that_changed_its_signature(serve, client):
    loaders = [load, load_one]
    url = serve(get_parts=lambda self: [("a", lazy(loaders[0]))])
    assert get_json(client, url)["results"] == [{"a": "loaded"}]
    loaders.reverse()
    with pytest.raises(Misuse, match="ServedView: the loader of part 'a' cannot be called"):
        client.get(url)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (lazy("get_lost"), "Define get_lost(self, request)."),
        (lazy("number"), "the method 'number' takes a function of (request), not int."),
        (lazy(safe_call("get_covered", [])), "a loader can have one fallback. Keep one of them."),
    ],
    ids=["lost", "number", "covered twice"],
)
def test_misuse__a_method_that_is_wrong_only_now_and_then(serve, client, part, says):
    # The declaration has the shape of one that was looked at already.
    declared = [lazy("get_good")]
    url = serve(
        get_parts=lambda self: [("a", declared[0])],
        get_good=lambda self, request: 1,
        get_covered=safe_call(lambda self, request: 1, fallback=0),
        number=7,
    )
    assert get_json(client, url)["results"] == [{"a": 1}]
    declared[0] = part
    with pytest.raises(Misuse) as caught:
        client.get(url)
    assert str(caught.value).startswith("ServedView: part 'a'")
    assert says in str(caught.value)


def test_misuse__bad_settings_stop_the_first_use_and_every_later_one(serve, client, settings):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)])
    settings.DJANGO_PARTSTREAM = {"DEFAULT_CHUNK_SIZE": 0}
    for _ in range(2):
        with pytest.raises(Misuse, match="must be 1 or more, not 0"):
            client.get(url)
    settings.DJANGO_PARTSTREAM = {}
    assert client.get(url).status_code == 200


# Static declarations


def test_parts__static_ones_are_built_once():
    class View(ProgressiveView):
        parts = [("a", 1), ("b", lazy(load))]

    assert View.build_part_list(View.parts) is View.build_part_list(View.parts)


def test_parts__each_static_declaration_of_a_class_is_looked_at():
    # The same class can be mounted twice: as_view(parts=...).
    class View(ProgressiveView):
        pass

    View.build_part_list([("a", 1), ("b", lazy(load))])
    with pytest.raises(Misuse, match="the loader of part 'b' cannot be called"):
        View.build_part_list([("a", 1), ("b", lazy(load_one))])


def test_parts__of_a_subclass_are_its_own(serve, client):
    class Base(ProgressiveView):
        parts = [("who", lazy("get_who"))]

        def get_who(self, request):
            return "base"

    class Sub(Base):
        def get_who(self, request):
            return "sub"

    assert merged(walk(client, serve(Base))) == {"who": "base"}
    assert merged(walk(client, serve(Sub))) == {"who": "sub"}


def test_parts__many_declarations_of_one_class_do_not_pile_up():
    class View(ProgressiveView):
        pass

    for number in range(100):
        View.build_part_list([("a", number)])
    assert len(View._lists) <= 16


@pytest.mark.parametrize("make", [list, tuple])
def test_parts__may_be_a_list_or_a_tuple(serve, client, make):
    url = serve(parts=make([("a", 1), ("b", lazy(load)), ("c", 3)]))
    for _ in range(2):
        assert merged(walk(client, url)) == {"a": 1, "b": "loaded", "c": 3}


@pytest.mark.parametrize("make", [iter, lambda pairs: (pair for pair in pairs)])
def test_parts__static_ones_are_not_what_is_empty_once_read(serve, client, make):
    with pytest.raises(
        Misuse, match=r"ServedView: parts is a \w+, which can be read only once\. Write a list"
    ):
        client.get(serve(parts=make([("a", 1)])))
    url = serve(get_parts=lambda self: make([("a", 1)]))
    for _ in range(2):
        assert merged(walk(client, url)) == {"a": 1}


@pytest.mark.parametrize("value", [iter([1]), Note.objects.all()], ids=["iterator", "queryset"])
def test_parts__static_values_are_not_what_is_read_once_a_process(serve, client, value):
    with pytest.raises(Misuse, match="so it would be read only once per process"):
        client.get(serve(parts=[("a", value)]))


def test_parts__of_super_can_be_added_to_and_never_kept(serve, client):
    def add(self):
        return [*super(type(self), self).get_parts(), ("mine", self.request.query_params["who"])]

    url = serve(parts=[("a", 1)], get_parts=add)
    for who in ("ada", "bob"):
        assert merged(walk(client, f"{url}?who={who}")) == {"a": 1, "mine": who}
    url = serve(parts=[("a", 1)])
    assert merged(walk(client, url)) == {"a": 1}


def test_parts__of_super_cannot_be_changed_in_place(serve, client):
    def add(self):
        parts = super(type(self), self).get_parts()
        parts += [("mine", 1)]
        return parts

    with pytest.raises(TypeError, match="unsupported operand"):
        client.get(serve(parts=[("a", 1)], get_parts=add))


def test_parts__a_list_that_its_owner_changes_later_shifts_no_name(serve, client):
    parts = [("a", 1), ("b", 2)]
    url = serve(parts=parts)
    assert merged(walk(client, url)) == {"a": 1, "b": 2}
    parts.insert(0, ("secret", "secret"))
    assert merged(walk(client, url)) == {"a": 1, "b": 2}


def test_order__apiview_before_the_mixins_is_misuse():
    with pytest.raises(Misuse, match="class Wrong: APIView comes before the mixins"):
        type("Wrong", (APIView, CursorMixin), {})


@pytest.mark.parametrize("described", [None, [], {"a": {"dependencies": None}}])
def test_manifest__of_a_wrong_kind_names_the_view(serve, client, described):
    url = serve(parts=[("a", 1)], get_parts_manifest=lambda self: described)
    with pytest.raises(Misuse, match="ServedView"):
        client.get(url)


def test_parts__immediate_values_are_read_on_each_request(serve, client):
    value = {"number": 1}
    url = serve(parts=[("a", value)])
    assert get_json(client, url)["results"] == [{"a": {"number": 1}}]
    value["number"] = 2
    assert get_json(client, url)["results"] == [{"a": {"number": 2}}]


# Queries in get_parts()


@pytest.mark.django_db
@pytest.mark.parametrize(("debug", "warned"), [(True, True), (False, False)])
def test_get_parts__that_queries_is_warned_of_under_debug(serve, settings, caplog, debug, warned):
    settings.DEBUG = debug
    url = serve(get_parts=lambda self: [("count", Note.objects.count())])
    client = Client(HTTP_X_REQUEST_ID="r1")
    assert get_json(client, url)["results"] == [{"count": 0}]
    messages = [record.getMessage() for record in caplog.records]
    assert (
        "ServedView.get_parts() ran 1 queries, and will run them on every request. "
        "Put them into a loader: lazy(...). (request r1)" in messages
    ) is warned


@pytest.mark.django_db
def test_get_parts__that_does_not_query_is_not_warned_of(serve, settings, caplog):
    settings.DEBUG = True
    url = serve(get_parts=lambda self: [("count", lazy(lambda request: Note.objects.count()))])
    assert get_json(Client(), url)["results"] == [{"count": 0}]
    assert caplog.records == []
