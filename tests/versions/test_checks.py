from __future__ import annotations

import itertools
import logging

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.test import override_settings
from django.urls import URLPattern, include, path, re_path, reverse
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import (
    DjangoModelPermissions,
    DjangoModelPermissionsOrAnonReadOnly,
    IsAdminUser,
)
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from partstream import HybridProgressiveView, ProgressiveView, cached_for, conf, lazy, with_timeout
from partstream.backends import loader
from partstream.backends.caches.django_cache import DjangoCacheStore
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.backends.executors.threads import ThreadExecutor
from partstream.checks import check_guard_for_production, check_settings
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action
from tests.example.models import Note

THREADS = "partstream.backends.executors.threads.ThreadExecutor"
NULL_STORE = "partstream.backends.caches.null.NullCacheStore"
INLINE = "partstream.backends.executors.inline.InlineExecutor"


def found():
    """What our checks say, by their ids."""
    return {
        message.id: message
        for message in run_checks()
        if message.id and message.id.startswith("partstream.")
    }


@pytest.fixture
def found_in(monkeypatch):
    """All that the checks say in a process that was started in this environment, and limits
    nothing.
    """

    def found_in(environment):
        quiet = {"PARTSTREAM_ENABLE_RATE_LIMITING": "false"}
        monkeypatch.setattr(conf, "ENVIRONMENT", {**quiet, **environment})
        with override_settings(DJANGO_PARTSTREAM={}):
            return run_checks()

    return found_in


def load(request):
    return 1


def load_one(request, a):
    return a


class WithoutStreams(CursorMixin, ChunkMixin, APIView):
    def get(self, request):
        return self.walk_response(request)


class SelfCriticalCodec(SignedCursorCodec):
    """A codec that has something to say of itself."""

    def check(self):
        from django.core.checks import Warning as CheckWarning

        return [CheckWarning("Not today.", id="tests.W001")]


def test_checks__of_a_sound_project_are_silent():
    assert found() == {}
    call_command("check", fail_level="DEBUG")


def test_checks__are_registered(settings):
    settings.DJANGO_PARTSTREAM = {"PIGEONS": 1}
    with pytest.raises(SystemCheckError, match=r"partstream\.E001"):
        call_command("check")


def test_e001__an_unknown_setting(settings):
    settings.DJANGO_PARTSTREAM = {"DEFAULT_CHUNKSIZE": 1}
    message = found()["partstream.E001"]
    assert message.msg == "DJANGO_PARTSTREAM['DEFAULT_CHUNKSIZE'] is not a setting."
    assert message.hint == "Did you mean 'DEFAULT_CHUNK_SIZE'?"
    assert message.is_serious()


@pytest.mark.parametrize(
    ("setting", "msg", "hint"),
    [
        (
            {"DEFAULT_CHUNK_SIZE": "2"},
            "DJANGO_PARTSTREAM['DEFAULT_CHUNK_SIZE'] must be int, not str.",
            "The default is 2.",
        ),
        (
            {"CURSOR_KEYS": ["hunter2"]},
            "DJANGO_PARTSTREAM['CURSOR_KEYS'] has an entry that is not a string of 32 characters "
            "or more.",
            'Make each with `python -c "import secrets; print(secrets.token_urlsafe(48))"`.',
        ),
        ([], "DJANGO_PARTSTREAM must be a dictionary.", 'Write {"DEFAULT_CHUNK_SIZE": 2}.'),
    ],
    ids=["type", "keys", "dictionary"],
)
def test_e002__a_wrong_value(settings, setting, msg, hint):
    settings.DJANGO_PARTSTREAM = setting
    message = found()["partstream.E002"]
    assert (message.msg, message.hint) == (msg, hint)


def test_e002__a_wrong_variable_is_named(found_in):
    (message,) = found_in({"PARTSTREAM_CHUNK_SIZE": "two"})
    assert (message.id, message.msg, message.hint) == (
        "partstream.E002",
        "PARTSTREAM_CHUNK_SIZE must be a whole number.",
        "It is 'two'.",
    )


def test_e002__every_fault_has_its_own_message(settings):
    settings.DJANGO_PARTSTREAM = {"DEFAULT_CHUNK_SIZE": 0, "MAX_CURSOR_SIZE": 0, "PIGEONS": 1}
    assert [message.id for message in check_settings()] == [
        "partstream.E002",
        "partstream.E002",
        "partstream.E001",
    ]


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ("no.such.Codec", "cannot be imported"),
        ("django.test.Client", "is not a CursorCodec"),
        (
            {
                "BACKEND": "partstream.backends.cursors.signed.SignedCursorCodec",
                "OPTIONS": {"x": 1},
            },
            "does not accept its OPTIONS",
        ),
        ({"BACKEND": "nodots"}, "nodots"),
        ({"BACKEND": ".relative.Codec"}, ".relative.Codec"),
    ],
    ids=["path", "class", "options", "no dots", "relative"],
)
def test_e003__a_backend_that_cannot_be_made(settings, codec, says):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec}
    messages = found()
    (message,) = messages.values()
    assert message.id in ("partstream.E002", "partstream.E003")
    assert "DJANGO_PARTSTREAM['CURSOR_CODEC']" in message.msg
    assert says in message.msg or message.id == "partstream.E002"


def test_e003__what_a_backend_says_of_itself_is_passed_on(settings):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": f"{__name__}.SelfCriticalCodec"}
    assert "tests.W001" in {message.id for message in run_checks()}


class Broken(ProgressiveView):
    parts = [("a", lazy(load_one))]


class BrokenHybrid(HybridProgressiveView):
    parts = [("a", 1), ("b", lazy("get_lost"))]


class Dynamic(ProgressiveView):
    parts = [("a", 1), ("a", 2)]

    def get_parts(self):
        return [("a", 1)]


def test_e004__static_parts_are_found_through_the_urlconf(mount):
    mount(path("deep/", include([path("er/", include([path("broken/", Broken.as_view())]))])))
    message = found()["partstream.E004"]
    assert message.msg.startswith("Broken: the loader of part 'a' cannot be called as (request): ")
    assert message.obj is Broken


def test_e004__of_a_hybrid_view_in_a_namespace(mount):
    urls = include((BrokenHybrid.urls(name="board"), "board"), namespace="one")
    mount(path("board/", urls))
    assert "Define get_lost(self, request)." in found()["partstream.E004"].msg


def test_e004__of_parts_given_to_as_view(mount):
    mount(path("view/", ProgressiveView.as_view(parts=[("a", 1), ("a", 2)])))
    assert "part 'a' is declared twice" in found()["partstream.E004"].msg


def test_e004__of_a_decorated_view(mount):
    from django.views.decorators.cache import cache_page

    mount(path("view/", cache_page(60)(Broken.as_view())))
    assert "partstream.E004" in found()


def test_e004__of_a_viewset(mount):
    class BrokenSet(ProgressiveView, ViewSet):
        parts = [("a", 1), ("a", 2)]

    mount(path("view/", BrokenSet.as_view({"get": "get"})))
    assert "BrokenSet: part 'a' is declared twice" in found()["partstream.E004"].msg


def test_e004__is_silent_of_views_that_override_get_parts(mount):
    mount(path("view/", Dynamic.as_view()))
    assert found() == {}


class Given(ProgressiveView):
    """Declares nothing itself."""


def test_e004__a_view_without_parts(mount):
    mount(path("view/", Given.as_view()))
    message = found()["partstream.E004"]
    assert message.msg == (
        "Given declares no parts. Set the attribute parts = [...], or define get_parts(self)."
    )
    assert message.obj is Given


class Computed(ProgressiveView):
    @property
    def parts(self):
        return [("a", 1)]


@pytest.mark.parametrize(
    "callback",
    [
        Given.as_view(parts=[("a", 1)]),
        Given.as_view(get_parts=lambda: [("a", 1)]),
        Computed.as_view(),
        Given.as_view(parts=[]),
    ],
    ids=["parts", "get_parts", "property", "empty"],
)
def test_e004__parts_that_come_from_elsewhere_are_no_fault(mount, callback):
    mount(path("view/", callback))
    assert found() == {}


class Texts(HybridProgressiveView):
    parts = [("orders", "get_orders"), ("stock", "get_stock"), ("meta", {"a": "get_orders"})]

    def get_orders(self, request):
        return []

    @cached_for(60)
    def get_stock(self, request):
        return []


def test_w018__a_text_that_is_the_name_of_a_method(mount):
    mount(path("view/", include(Texts.urls())))
    messages = [message for message in run_checks() if message.id == "partstream.W018"]
    assert [message.msg for message in messages] == [
        f"Texts: part {name!r} is the text 'get_{name}', which is the name of a method, too."
        for name in ("orders", "stock")
    ]
    assert messages[0].hint.startswith("Write lazy('get_orders') to deliver what the method ")


@pytest.mark.parametrize(
    "text",
    ["", "get", "GET orders", "dispatch", "get_parts", "walk_response", "lost", "chunk_size"],
)
def test_w018__other_texts_are_data(mount, text):
    view = type("Data", (HybridProgressiveView,), {"parts": [("a", text)], "get": Texts.get})
    mount(path("view/", view.as_view()))
    assert found() == {}


@pytest.mark.parametrize("function", [path, re_path])
def test_urls__without_include_is_misuse_at_once(function):
    says = r"Texts\.urls\(\) stands in path\(\) without include\(\)\. Write path\(\.\.\., include\("
    with pytest.raises(Misuse, match=says):
        function("view/", Texts.urls(name="texts"))


def test_urls__are_a_list_of_patterns(mount, client):
    routes = Texts.urls(name="texts")
    assert [type(pattern) for pattern in routes + routes] == [URLPattern] * 6
    mount(*routes)
    assert (reverse("texts"), reverse("texts-parts")) == ("/", "/parts/")
    assert client.get("/manifest/").status_code == 200
    mount(path("view/", include((Texts.urls(name="texts"), "shop"), namespace="shop")))
    assert reverse("shop:texts-manifest") == "/view/manifest/"
    resolver = path("view/", include(Texts.urls(name="texts")))
    # Django reads it for each request.
    assert type(resolver.url_patterns) is list
    mount(*i18n_patterns(resolver))
    assert reverse("texts") == "/en-us/view/"


def test_w001__chunks_larger_than_the_most(settings):
    settings.DJANGO_PARTSTREAM = {"DEFAULT_CHUNK_SIZE": 5, "MAX_PARTS_PER_REQUEST": 4}
    message = found()["partstream.W001"]
    assert message.msg == "DEFAULT_CHUNK_SIZE is 5, but a chunk has at most 4 parts."
    assert message.hint == "Lower it, or raise MAX_PARTS_PER_REQUEST."
    assert not message.is_serious()


def test_w002__a_views_chunks_larger_than_the_most(mount):
    mount(path("view/", ProgressiveView.as_view(parts=[("a", 1)], chunk_size=51)))
    message = found()["partstream.W002"]
    assert message.msg == ("ProgressiveView.chunk_size is 51, but a chunk has at most 50 parts.")


@pytest.mark.parametrize("size", ["51", 2.5, [60]], ids=repr)
def test_w002__a_chunk_size_of_another_kind_breaks_no_check(mount, size):
    mount(path("view/", ProgressiveView.as_view(parts=[("a", 1)], chunk_size=size)))
    found()


def test_w003__a_variable_that_looks_like_a_setting(found_in):
    names = ["PARTSTREAM_CHUNKSIZE", "PARTSTREAM_TEST_SOMETHING", "PARTSTREAM_X"]
    (message,) = found_in(dict.fromkeys(names, "3"))
    assert (message.id, message.msg, message.hint) == (
        "partstream.W003",
        "partstream does not read the environment variable PARTSTREAM_CHUNKSIZE.",
        "Did you mean PARTSTREAM_CHUNK_SIZE?",
    )


@pytest.mark.parametrize(
    "name", ["PARTSTREAM", "DRF_PARTSTREAM", "DJANGO_PART_STREAM", "DJANGO_PARTSTREAMS"]
)
def test_w021__a_setting_that_looks_like_ours(settings, name):
    setattr(settings, name, {"RATE_LIMIT": 1})
    message = found()["partstream.W021"]
    assert message.msg == f"partstream does not read the setting {name}."
    assert message.hint == "Rename it to DJANGO_PARTSTREAM."


@pytest.mark.parametrize(("name", "value"), [("PARTSTREAM", "on"), ("DJANGO_STREAMS", {})])
def test_w021__other_settings_are_not_ours(settings, name, value):
    setattr(settings, name, value)
    assert "partstream.W021" not in found()


class OfModels(DjangoModelPermissions):
    """A project's own."""


@pytest.mark.parametrize(
    "permission",
    [
        DjangoModelPermissions,
        DjangoModelPermissionsOrAnonReadOnly,
        OfModels,
        IsAdminUser | OfModels,
        ~OfModels & IsAdminUser,
    ],
    ids=itertools.count(),
)
def test_w022__a_permission_of_a_part_without_a_queryset(mount, permission):
    parts = [("a", 1), ("b", lazy(len, permission_classes=[IsAdminUser, permission]))]
    mount(path("view/", include(HybridProgressiveView.urls(parts=parts))))
    message = found()["partstream.W022"]
    assert " of part 'b' needs a queryset, and the view has none" in message.msg
    assert "permission_view=" in message.hint


@pytest.mark.parametrize("how", ["class", "as_view"])
def test_w022__a_permission_of_a_view_without_a_queryset(mount, how):
    attributes = {"parts": [("a", 1)], "permission_classes": [OfModels]}
    given = attributes if how == "as_view" else {}
    view = type("Guarded", (ProgressiveView,), {} if how == "as_view" else attributes)
    mount(path("view/", view.as_view(**given)))
    message = found()["partstream.W022"]
    assert "OfModels needs the queryset of the view, which has none" in message.msg
    assert message.hint == "Set queryset on the view, for example queryset = Order.objects.all()."


@pytest.mark.parametrize(
    "attributes",
    [
        {"queryset": Note.objects.all()},
        {"get_queryset": lambda self: Note.objects.all()},
        {"permission_classes": [IsAdminUser], "parts": [("a", 1)]},
        {"get_permissions": lambda self: [], "parts": [("a", 1)]},
    ],
    ids=itertools.count(),
)
def test_w022__is_silent_where_there_is_one(mount, attributes):
    parts = [("a", lazy(len, permission_classes=[OfModels]))]
    attributes = {"parts": parts, "permission_classes": [OfModels], **attributes}
    mount(path("view/", type("Guarded", (ProgressiveView,), attributes).as_view()))
    assert "partstream.W022" not in found()


def test_w022__is_silent_of_a_part_with_its_own_view(mount):
    class Notes(GenericAPIView):
        queryset = Note.objects.all()

    part = lazy(len, permission_classes=[OfModels], permission_view=Notes)
    mount(path("view/", ProgressiveView.as_view(parts=[("a", part)])))
    assert "partstream.W022" not in found()


def test_checks__without_a_urlconf(settings):
    del settings.ROOT_URLCONF
    assert found() == {}


def test_checks__without_a_secret_key_raise_nothing(settings):
    settings.SECRET_KEY = ""
    found()


class Computed(ProgressiveView):
    @property
    def parts(self):
        return [("a", self.request.user)]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.tenant = kwargs["tenant"]  # As a project might: no instance is made for a check.


def test_e004__is_silent_of_what_only_an_instance_knows(mount):
    mount(path("view/", Computed.as_view()))
    assert found() == {}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("cursor_ttl", 0),
        ("cursor_ttl", 10**20),
        ("max_keys_per_request", 0),
        ("cursor_query_param", "format"),
        ("cursor_query_param", "keys"),
        ("cursor_query_param", "a b"),
        ("cursor_query_param", ""),
        ("cursor_query_param", None),
    ],
)
def test_e004__of_an_attribute_that_cannot_work(mount, client, attribute, value):
    parts = [("a", 1), ("b", 2), ("c", 3)]
    view = type("Odd", (HybridProgressiveView,), {"parts": parts, attribute: value})
    mount(path("view/", include(view.urls())))
    assert f"Odd.{attribute} is {value!r}" in found()["partstream.E004"].msg
    url = "/view/parts/?keys=a" if attribute == "max_keys_per_request" else "/view/"
    with pytest.raises(Misuse, match=f"Odd.{attribute} is"):
        client.get(url)


@pytest.mark.parametrize(
    ("variable", "likely"),
    [
        ("PARTSTREAM_DEFAULT_CHUNK_SIZE", "PARTSTREAM_CHUNK_SIZE"),
        ("PARTSTREAM_CURSOR_KEYS", "DJANGO_PARTSTREAM['CURSOR_KEYS'], in the settings module"),
    ],
)
def test_w003__of_a_setting_by_its_long_name(monkeypatch, variable, likely):
    monkeypatch.setattr(conf, "ENVIRONMENT", {variable: "3"})
    assert found()["partstream.W003"].hint == f"Did you mean {likely}?"


def test_e003__names_the_variable_that_a_backend_comes_from(monkeypatch):
    monkeypatch.setattr(conf, "ENVIRONMENT", {"PARTSTREAM_CURSOR_CODEC": "lost.Codec"})
    conf.get_settings.__self__._forget(setting=conf.SETTING)
    loader.get_cursor_codec.__self__._forget(setting=conf.SETTING)
    try:
        assert found()["partstream.E003"].msg.startswith("PARTSTREAM_CURSOR_CODEC = 'lost.Codec'")
    finally:
        conf.get_settings.__self__._forget(setting=conf.SETTING)
        loader.get_cursor_codec.__self__._forget(setting=conf.SETTING)


# Executors and time budgets


class SharedStore(DjangoCacheStore):
    """Says that other processes see what it keeps."""

    def __init__(self, **options):
        super().__init__(**options)
        self.shared = True


@pytest.fixture
def shared_store(settings):
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": f"{__name__}.SharedStore"}


def budgeted(**attributes):
    """A view with a time budget that has what it needs, but for these attributes."""
    attributes = {
        "parts": [("a", 1)],
        "executor": THREADS,
        "time_budget": 0.5,
        **attributes,
    }
    return type("Budgeted", (HybridProgressiveView,), attributes)


def test_budget__that_has_what_it_needs_is_silent(mount, shared_store):
    mount(path("view/", include(budgeted().urls())))
    assert found() == {}


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        (
            {"executor": INLINE},
            f'InlineExecutor runs parts one after another. Set executor = "{THREADS}", or write ',
        ),
        ({"executor": None}, "InlineExecutor runs parts one after another."),
        (
            {"enable_caching": False},
            "no walk cache to keep the parts that move on. Set enable_caching = True.",
        ),
    ],
    ids=["executor", "default executor", "caching"],
)
def test_e005__a_time_budget_that_lacks_something(mount, shared_store, attributes, says):
    view = budgeted(**attributes)
    mount(path("view/", include(view.urls())))
    (message,) = {id(message.obj): message for message in found().values()}.values()
    assert message.id == "partstream.E005"
    assert message.msg.startswith(f"Budgeted has a time budget of 0.5 s, but {says}")
    assert message.obj is view
    assert message.is_serious()


@pytest.mark.parametrize("nothing", ["store", "cache"])
def test_e005__a_store_that_keeps_nothing(mount, settings, nothing):
    if nothing == "store":
        store = "partstream.backends.caches.null.NullCacheStore"
        settings.DJANGO_PARTSTREAM = {"CACHE_STORE": store}
    else:
        dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
        settings.CACHES = {"default": dummy}
    mount(path("view/", include(budgeted().urls())))
    assert "keeps nothing. Set CACHE_STORE to a store that does." in found()["partstream.E005"].msg


def test_e005__of_the_settings_time_budget(mount, settings):
    settings.DJANGO_PARTSTREAM = {
        "CHUNK_TIME_BUDGET": 0.5,
        "CACHE_STORE": f"{__name__}.SharedStore",
    }
    view = type("Budgeted", (ProgressiveView,), {"parts": [("a", 1)]})
    mount(path("view/", view.as_view()))
    assert "InlineExecutor runs parts one after another" in found()["partstream.E005"].msg
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "PART_EXECUTOR": THREADS}
    assert found() == {}
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "ENABLE_CACHING": False}
    assert "no walk cache" in found()["partstream.E005"].msg


def test_e005__of_what_as_view_was_given(mount, shared_store):
    view = type("Budgeted", (ProgressiveView,), {"parts": [("a", 1)]})
    mount(path("view/", view.as_view(time_budget=0.5)))
    assert "partstream.E005" in found()
    mount(path("view/", view.as_view(time_budget=0.5, executor=THREADS)))
    assert found() == {}


def test_e005__is_silent_of_views_without_chunks(mount, settings, shared_store):
    settings.DJANGO_PARTSTREAM = {**settings.DJANGO_PARTSTREAM, "CHUNK_TIME_BUDGET": 0.5}

    class Keys(KeyAccessMixin, APIView):
        parts = [("a", 1)]

    mount(path("view/", Keys.as_view()))
    assert found() == {}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("time_budget", 0),
        ("time_budget", "0.5"),
        ("time_budget", True),
        ("time_budget", float("nan")),
        ("enable_caching", 1),
        ("enable_caching", "no"),
    ],
)
def test_e004__of_a_budget_or_a_switch_that_is_none(mount, shared_store, attribute, value):
    mount(path("view/", include(budgeted(**{attribute: value}).urls())))
    assert found()["partstream.E004"].msg.startswith(f"Budgeted.{attribute} is {value!r}. Write ")


@pytest.mark.parametrize(
    ("executor", "says"),
    [
        ("no.such.Executor", "cannot be imported"),
        ("django.test.Client", "is not a Executor"),
        ({"BACKEND": THREADS, "OPTIONS": {"x": 1}}, "does not accept its OPTIONS ['x']"),
        ({"BACKEND": THREADS, "OPTIONS": {"max_workers": 0}}, "max_workers=0"),
    ],
    ids=["path", "class", "options", "value"],
)
@pytest.mark.parametrize("where", ["view", "settings"])
def test_e003__an_executor_that_cannot_be_made(mount, settings, executor, says, where):
    view = type("Odd", (ProgressiveView,), {"parts": [("a", 1)]})
    if where == "view":
        view.executor = executor
    else:
        settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": executor}
    mount(path("view/", view.as_view()))
    messages = found()
    assert list(messages) == ["partstream.E003"]
    assert says in messages["partstream.E003"].msg


@pytest.mark.parametrize(
    "executor",
    [ThreadExecutor, "nodots", ".relative.Executor", {"OPTIONS": {}}, ["x"], 7],
    ids=repr,
)
def test_e003__an_executor_of_another_kind(mount, client, executor):
    view = type("Odd", (ProgressiveView,), {"parts": [("a", 1)], "executor": executor})
    mount(path("view/", view.as_view()))
    assert "Odd.executor" in next(iter(found().values())).msg
    with pytest.raises(Misuse, match=r"Odd\.executor"):
        client.get("/view/")


@pytest.mark.parametrize(
    "executor",
    ["no.such.Executor", {"BACKEND": THREADS, "OPTIONS": {"max_per_request": 0}}],
    ids=["path", "value"],
)
def test_e003__an_executor_of_a_part_that_cannot_be_made(mount, executor):
    parts = [("a", lazy(load)), ("b", lazy(load, executor=executor))]
    mount(path("view/", type("Odd", (ProgressiveView,), {"parts": parts}).as_view()))
    (message,) = found().values()
    assert message.id == "partstream.E003"
    assert message.msg.startswith("Odd: the executor of part 'b' = ")


def test_e005__a_budget_needs_one_part_that_runs_beside_others(mount, shared_store):
    there, here = lazy(load, executor=THREADS), lazy(load, executor=INLINE)
    view = budgeted(executor=None, parts=[("here", here), ("there", there)])
    mount(path("view/", include(view.urls())))
    assert found() == {}
    view = budgeted(executor=None, parts=[("here", here), ("other", lazy(load))])
    mount(path("view/", include(view.urls())))
    assert list(found()) == ["partstream.E005"]


def test_e005__is_silent_where_the_parts_are_not_known(mount, shared_store):
    view = budgeted(executor=None, get_parts=lambda self: [("a", lazy(load, executor=THREADS))])
    mount(path("view/", include(view.urls())))
    assert found() == {}
    view.enable_caching = False
    assert "no walk cache" in found()["partstream.E005"].msg


def test_w007__a_part_in_a_thread_beside_the_requests_transaction(mount, settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    parts = [("here", lazy(load)), ("there", lazy(load, executor=THREADS))]
    mount(path("view/", type("Mixed", (WithoutStreams,), {"parts": parts}).as_view()))
    assert found()["partstream.W007"].msg == (
        "Mixed runs parts outside of the transaction that ATOMIC_REQUESTS opens for each request: "
        "in threads, which cannot see it."
    )
    attributes = {"executor": THREADS, "parts": [("here", lazy(load, executor=INLINE))]}
    mount(path("view/", type("Inline", (WithoutStreams,), attributes).as_view()))
    assert found() == {}


STREAMS_AND_TRANSACTIONS = (
    "Streamed runs parts outside of the transaction that ATOMIC_REQUESTS opens for each request: "
    "in streams, which go on after it has ended."
)


def test_w007__streams_outside_of_the_requests_transaction(mount, settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    view = type("Streamed", (HybridProgressiveView,), {"parts": [("a", lazy(load))]})
    mount(path("view/", include(view.urls())))
    [message] = run_checks()
    assert (message.id, message.msg) == ("partstream.W007", STREAMS_AND_TRANSACTIONS)
    assert message.hint.endswith('name="dispatch"), or set MAX_STREAMS to 0.')
    for delivery in ("parts", "manifest"):
        mount(path(f"view/{delivery}/", view.as_view(delivery=delivery)))
        assert found() == {}
    mount(path("view/", transaction.non_atomic_requests(view.as_view())))
    assert found() == {}
    mount(path("view/", view.as_view(parts=[("a", 1)])))
    assert found() == {}
    mount(path("view/", view.as_view()))
    settings.DJANGO_PARTSTREAM = {"MAX_STREAMS": 0}
    assert found() == {}


def test_w007__streams_of_a_viewset(mount, settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)

    class Streamed(ProgressiveViewSetMixin, ViewSet):
        @progressive_action(detail=False)
        def board(self):
            return [("a", lazy(load))]

    router = SimpleRouter()
    router.register("views", Streamed, basename="view")
    mount(*router.urls)
    assert found()["partstream.W007"].msg == STREAMS_AND_TRANSACTIONS


def test_w023__streams_over_a_store_that_is_not_shared(mount, settings):
    view = type("Streamed", (HybridProgressiveView,), {"parts": [("a", lazy(load))]})
    mount(path("view/", include(view.urls())))
    assert found() == {}
    message = found_deployed()["partstream.W023"]
    assert message.msg == (
        "Streamed offers streams, but DjangoCacheStore is not shared: if a stream is cut and "
        "another process resumes it, parts that were running run again."
    )
    assert "partstream.backends.caches.redis.RedisCacheStore" in message.hint
    assert message.obj is view
    for other in (
        view.as_view(enable_caching=False),
        view.as_view(parts=[("a", 1)]),
        view.as_view(delivery="parts"),
        WithoutStreams.as_view(parts=[("a", lazy(load))]),
    ):
        mount(path("view/", other))
        assert "partstream.W023" not in found_deployed()
    mount(path("view/", include(view.urls())))
    settings.DJANGO_PARTSTREAM = {"MAX_STREAMS": 0}
    assert "partstream.W023" not in found_deployed()


def test_w023__streams_over_a_shared_store_are_sound(mount, shared_store):
    view = type("Streamed", (ProgressiveView,), {"parts": [("a", lazy(load))]})
    mount(path("view/", view.as_view()))
    assert "partstream.W023" not in found_deployed()


def test_w024__streams_without_a_heartbeat(settings):
    settings.DJANGO_PARTSTREAM = {"STREAM_HEARTBEAT": 30.0, "STREAM_MAX_SECONDS": 30.0}
    assert found()["partstream.W024"].msg == (
        "STREAM_HEARTBEAT is 30 s, but a stream ends after 30 s (STREAM_MAX_SECONDS), so it has "
        "no heartbeat."
    )
    settings.DJANGO_PARTSTREAM = {"STREAM_HEARTBEAT": 29.5, "STREAM_MAX_SECONDS": 30.0}
    assert found() == {}
    settings.DJANGO_PARTSTREAM = {"STREAM_HEARTBEAT": 30.0, "MAX_STREAMS": 0}
    assert found() == {}


def test_w006__a_budget_over_a_store_that_is_not_shared(mount):
    view = budgeted()
    mount(path("view/", include(view.urls())))
    assert found() == {}
    message = found_deployed()["partstream.W006"]
    assert message.msg == (
        "Budgeted has a time budget, but DjangoCacheStore is not shared: a part that moves to the "
        "next chunk runs again if another process answers it."
    )
    assert "partstream.backends.caches.redis.RedisCacheStore" in message.hint
    assert message.obj is view
    assert not message.is_serious()


@pytest.mark.parametrize("where", ["view", "settings"])
def test_w007__threads_beside_the_requests_transaction(mount, settings, monkeypatch, where):
    view = type("Threaded", (ProgressiveView,), {"parts": [("a", lazy(load))]})
    if where == "view":
        view.executor = THREADS
    else:
        settings.DJANGO_PARTSTREAM = {"PART_EXECUTOR": THREADS}
    mount(path("view/", view.as_view()))
    assert found() == {}
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    message = found()["partstream.W007"]
    assert message.msg == (
        "Threaded runs parts outside of the transaction that ATOMIC_REQUESTS opens for each "
        "request: in threads, which cannot see it, and in streams, which go on after it has ended."
    )
    assert message.hint == (
        "Decorate the view class with method_decorator(transaction.non_atomic_requests, "
        'name="dispatch"), or use the InlineExecutor and set MAX_STREAMS to 0.'
    )
    assert not message.is_serious()
    mount(path("view/", transaction.non_atomic_requests(view.as_view())))
    assert found() == {}
    view.executor = INLINE
    monkeypatch.setattr(view, "parts", [("a", 1)])
    mount(path("view/", view.as_view()))
    assert found() == {}


# The guard


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_w011__everybody_is_a_trusted_proxy(settings, network):
    settings.DJANGO_PARTSTREAM = {"TRUSTED_PROXIES": ["unix", "10.0.0.0/8", network]}
    message = found()["partstream.W011"]
    assert f"all of IPv{4 if '.' in network else 6}" in message.msg
    assert message.hint == "List only the networks of your own proxies."


def test_w011__is_silent_of_ones_own_proxies(settings):
    settings.DJANGO_PARTSTREAM = {"TRUSTED_PROXIES": ["unix", "10.0.0.0/8", "0.0.0.0/1"]}
    assert found() == {}


@pytest.mark.parametrize(
    "networks", [["::ffff:0:0/96"], ["0.0.0.0/1", "128.0.0.0/1"]], ids=["mapped", "halves"]
)
def test_w011__of_everybody_in_disguise(settings, networks):
    settings.DJANGO_PARTSTREAM = {"TRUSTED_PROXIES": networks}
    assert "all of IPv4" in found()["partstream.W011"].msg


MEMORY = "partstream.backends.rate_limits.memory.MemoryRateLimitStore"
#: Sound in production, but for what a test changes.
PRODUCTION = {"ENABLE_RATE_LIMITING": True, "CACHE_STORE": NULL_STORE}


def found_deployed():
    """What only `check --deploy` says, by id."""
    messages = run_checks(include_deployment_checks=True)
    return {message.id: message for message in messages if message.id.startswith("partstream.")}


@pytest.mark.parametrize(
    ("identifier", "configured"),
    [
        ("partstream.W008", {"RATE_LIMIT_STORE": MEMORY}),
        ("partstream.W012", {"ENABLE_RATE_LIMITING": False}),
        ("partstream.W012", {"RATE_LIMIT": None, "BURST_LIMIT": None, "RATE_LIMIT_STORE": MEMORY}),
        ("partstream.W013", {"RATE_LIMIT_ON_STORE_ERROR": "open"}),
        ("partstream.W014", {"ENABLE_AUDIT_LOGGING": False}),
        ("partstream.W020", {}),
        ("partstream.W020", {"RATE_LIMIT": None}),
        ("partstream.W020", {"BURST_LIMIT": None}),
    ],
)
def test_deploy__says_what_of_the_guard_is_off(settings, identifier, configured):
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, **configured}
    message = found_deployed()[identifier]
    assert message.hint
    assert not message.is_serious()
    assert identifier not in found()


@pytest.mark.parametrize(
    "configured",
    [
        {"TRUSTED_PROXIES": ["10.0.0.0/8"]},
        {"TRUSTED_PROXIES": ["unix"]},
        {"ENABLE_RATE_LIMITING": False},
        {"RATE_LIMIT": None, "BURST_LIMIT": None},
    ],
)
def test_w020__is_silent_where_no_proxy_can_be_missing(settings, configured):
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, **configured}
    assert "partstream.W020" not in found_deployed()


@pytest.fixture
def audit_logger():
    """The logger of the audit trail, which is as it was after the test."""
    logger = logging.getLogger("partstream.audit")
    yield logger
    logger.propagate, logger.disabled = True, False
    logger.handlers.clear()


def test_w014__a_logger_without_a_handler(settings, audit_logger):
    settings.DJANGO_PARTSTREAM = PRODUCTION
    audit_logger.propagate = False  # Not before: pytest adds handlers where it is so.
    message = found_deployed()["partstream.W014"]
    assert "the logger partstream.audit has no handler" in message.msg
    assert '"partstream.audit": {"handlers": ["console"], "level": "WARNING"}' in message.hint
    assert "partstream.W014" not in found()
    audit_logger.addHandler(logging.NullHandler())
    assert "partstream.W014" in found_deployed()
    audit_logger.addHandler(logging.StreamHandler())
    assert "partstream.W014" not in found_deployed()
    audit_logger.disabled = True
    assert "partstream.W014" in found_deployed()


def test_w014__a_handler_of_the_root_is_one(settings):
    settings.DJANGO_PARTSTREAM = PRODUCTION
    assert logging.getLogger("partstream.audit").propagate
    assert "partstream.W014" not in found_deployed()  # pytest's own


LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DEFAULT_LIMITS = "partstream.backends.rate_limits.django_cache.DjangoCacheRateLimitStore"


def test_w009__of_the_default_store_is_for_a_deployment(settings):
    settings.DJANGO_PARTSTREAM = PRODUCTION
    assert "partstream.W009" not in found()
    assert "partstream.W009" in found_deployed()


def test_w009__of_a_store_that_was_chosen_is_for_everyone(settings):
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, "RATE_LIMIT_STORE": DEFAULT_LIMITS}
    assert "partstream.W009" in found()
    assert [each.id for each in run_checks(include_deployment_checks=True)].count(
        "partstream.W009"
    ) == 1


class Caching(HybridProgressiveView):
    parts = [
        ("wrapped", lazy(cached_for(60)(load))),
        ("timed", lazy(with_timeout(cached_for(60)(load), 5))),
        ("method", lazy("get_method")),
        ("plain", lazy(load)),
        ("called", lazy("get_called")),
        ("now", 1),
    ]

    @cached_for(60)
    def get_method(self, request):
        return 1

    def get_called(self, request):
        return 1


def test_w019__parts_cached_in_each_process(mount, settings):
    mount(path("view/", include(Caching.urls())))
    assert found() == {}
    message = found_deployed()["partstream.W019"]
    assert message.msg.startswith(
        "Caching: each process caches wrapped, timed, method for itself, since DjangoCacheStore"
    )
    assert "partstream.backends.caches.redis.RedisCacheStore" in message.hint
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": NULL_STORE}
    assert "partstream.W019" not in found_deployed()


def test_w019__a_shared_store_is_silent(mount, shared_store):
    mount(path("view/", include(Caching.urls())))
    assert "partstream.W019" not in found_deployed()


def test_w019__a_view_that_cannot_work_is_left_to_others(mount, settings):
    mount(path("view/", type("Twice", (Given,), {"parts": [("a", 1)] * 2}).as_view()))
    assert "partstream.E004" in found_deployed()
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.nowhere.Store"}
    assert "partstream.E003" in found_deployed()


def test_deploy__of_a_short_secret(settings):
    settings.SECRET_KEY = "x" * 31
    settings.DJANGO_PARTSTREAM = PRODUCTION
    message = found_deployed()["partstream.W015"]
    assert (
        message.msg == "Cursors depend on SECRET_KEY and its fallbacks; one has only 31 characters."
    )
    assert "partstream.W015" not in found()
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, "CURSOR_KEYS": ["abcdefgh" * 4]}
    assert "partstream.W015" not in found_deployed()


def test_deploy__of_a_short_fallback(settings):
    settings.SECRET_KEY_FALLBACKS = ["x" * 40, "x" * 7]
    settings.DJANGO_PARTSTREAM = PRODUCTION
    assert "one has only 7 characters" in found_deployed()["partstream.W015"].msg


def test_e003__an_empty_fallback(settings):
    """Whoever knows of it could make cursors."""
    settings.SECRET_KEY_FALLBACKS = [""]
    assert "SECRET_KEY_FALLBACKS has an empty secret" in found()["partstream.E003"].msg
    with pytest.raises(Misuse, match="empty secret"):
        loader.get_cursor_codec()


@pytest.mark.parametrize("keys", [None, ["abcdefgh" * 4]], ids=["none", "keys"])
def test_deploy__without_a_secret_key_raises_nothing(settings, keys):
    settings.SECRET_KEY = ""
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, "CURSOR_KEYS": keys}
    check_guard_for_production()


def test_e003__a_cache_that_cannot_be_reached_as_it_is_written(settings):
    pytest.importorskip("django_redis")
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "127.0.0.1:6379"}
    }
    store = "partstream.backends.rate_limits.redis.RedisRateLimitStore"
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, "RATE_LIMIT_STORE": store}
    assert "RATE_LIMIT_STORE" in found()["partstream.E003"].msg


MONITORING = "partstream.middleware.PerformanceMiddleware"


def test_w016__figures_of_one_process(settings):
    settings.MIDDLEWARE = [MONITORING]
    assert "see the figures of one process only" in found_deployed()["partstream.W016"].msg
    assert "partstream.W016" not in found()


@pytest.mark.parametrize(
    ("middleware", "configured"),
    [([], {}), ([MONITORING], {"ENABLE_MONITORING": False})],
)
def test_w016__is_silent_where_nothing_is_measured(settings, middleware, configured):
    settings.MIDDLEWARE, settings.DJANGO_PARTSTREAM = middleware, configured
    assert "partstream.W016" not in found_deployed()


def test_w016__is_silent_of_a_shared_store(settings, tmp_path):
    settings.MIDDLEWARE = [MONITORING]
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": tmp_path,
        }
    }
    assert "partstream.W016" not in found_deployed()


def test_w016__leaves_a_faulty_store_to_others(settings):
    settings.MIDDLEWARE = [MONITORING]
    settings.DJANGO_PARTSTREAM = {"CACHE_STORE": "partstream.nowhere.Store"}
    assert "partstream.W016" not in found_deployed()


def test_deploy__of_a_sound_guard_is_silent(settings):
    proxies = {"TRUSTED_PROXIES": ["10.0.0.0/8"]}
    settings.DJANGO_PARTSTREAM = {**PRODUCTION, **proxies, "RATE_LIMIT": None}
    guard = {f"partstream.W0{number}" for number in (*range(11, 16), 20)}
    assert not guard & found_deployed().keys()


@pytest.mark.parametrize("name", ["IP_ALLOWLIST", "IP_BLOCKLIST", "TRUSTED_PROXIES"])
@pytest.mark.parametrize("entry", ["300.0.0.0/8", "10.0.0.1/8", "proxy", "", 7, None, "1.2.3.4/33"])
def test_e002__a_network_that_is_none(settings, name, entry):
    settings.DJANGO_PARTSTREAM = {name: ["10.0.0.0/8", entry]}
    message = found()["partstream.E002"]
    assert message.msg.startswith(f"DJANGO_PARTSTREAM[{name!r}] has {entry!r}, which is not a")


def test_e002__unix_is_a_proxy_and_no_client(settings):
    settings.DJANGO_PARTSTREAM = {"IP_ALLOWLIST": ["unix"]}
    assert "partstream.E002" in found()


@pytest.mark.parametrize("value", ["shut", True, None, 1])
def test_e002__a_policy_that_is_none(settings, value):
    settings.DJANGO_PARTSTREAM = {"RATE_LIMIT_ON_STORE_ERROR": value}
    assert "'local', 'closed', 'open'" in found()["partstream.E002"].msg


@pytest.mark.parametrize("attribute", ["rate_limit", "burst_limit"])
def test_e004__a_views_limit_that_is_none(mount, attribute):
    mount(path("view/", ProgressiveView.as_view(parts=[("a", 1)], **{attribute: 0})))
    assert f"ProgressiveView.{attribute} is 0" in found()["partstream.E004"].msg
