"""The private names of other packages that we touch, and what happens where one is not there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from collections import defaultdict
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.utils import ConnectionHandler
from django.http.response import ResponseHeaders
from django.template.response import SimpleTemplateResponse
from django.urls import include, path
from django.utils import timezone, translation
from django.views import View
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.views import APIView

import partstream
from partstream import HybridProgressiveView, PartError, lazy
from partstream.isolation import context
from partstream.isolation.transactions import atomic_aliases
from partstream.walks import cursor
from partstream.wire import prototypes, responses
from tests.example.models import Note
from tests.support.concurrency import in_background
from tests.support.walk_client import at, get_json

ROOT = Path(partstream.__file__).parent

ANYWHERE = "any module"

#: Name -> the module that may use it, and why.
PRIVATE = {
    "_request": (ANYWHERE, "DRF documents it as the way to Django's request"),
    "_meta": ("identity.py", "Django documents it"),
    "_default_manager": ("management/commands/partstream_walk.py", "Django documents it"),
    "_cached_user": (
        "management/commands/partstream_walk.py",
        "the user that Django's middleware would find by a session",
    ),
    "_replace": ("backends/redis_cluster.py", "Python documents it, of named tuples"),
    "_get_running_loop": (
        "isolation/transactions.py",
        "asyncio exports it to event loops; the public one raises where no loop runs",
    ),
    "_connections": ("isolation/transactions.py", "spares two exceptions for each database"),
    "_storage": ("isolation/transactions.py", "the same"),
    "_Storage": ("isolation/context.py", "spares four settings of a thread for each call"),
    "_authenticate": ("mixins/drf_defaults.py", "spares an exception for each request"),
    "_user": ("mixins/drf_defaults.py", "tells whether the request is authenticated already"),
    "_allowed_methods": ("mixins/drf_defaults.py", "tells whether a view overrides it"),
    "_wrapped": ("identity.py", "a user that nobody has loaded is not loaded for the log"),
    "_non_atomic_requests": (
        "isolation/transactions.py",
        "what Django's non_atomic_requests() sets",
    ),
    **dict.fromkeys(
        ("_body", "_files", "_post", "_read_started", "_stream"),
        (
            "parts/endpoint_calls.py",
            "the client's body is not the endpoint's, and nothing public takes it away",
        ),
    ),
    "_from_testcase": (
        "isolation/testcase_transactions.py",
        "tells a test's transaction from others; without it, nothing warns",
    ),
    "_pylibmc": ("backends/faults.py", "the module of pylibmc's exceptions"),
    "_options": ("backends/cache_trials.py", "tells whether a cache pickles"),
    "_cache": ("backends/cache_trials.py", "the same"),
    "_serializer": ("backends/cache_trials.py", "the same"),
}

#: What subclasses define: of OpenTelemetry's instrumentor, as it asks them to, and of
#: drf-spectacular's schema, where a view with a paginator would be taken for a list.
INVITED = {"_instrument", "_uninstrument", "_is_list_view"}


# The list


def is_private(name):
    """Whether a name is private: of one underscore, and not our own attribute of a request."""
    return (
        name.startswith("_")
        and not name.startswith(("__", "_partstream_"))
        and name.isidentifier()
        and name != "_"
    )


def is_own_object(node):
    """Whether an expression is ``self``, ``cls`` or ``super()``."""
    if isinstance(node, ast.Name):
        return node.id in {"self", "cls"}
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "super"


class Names:
    """The private names in a source: what it defines, and what it uses.

    Attributes:
        defined: Names of functions, classes, variables and slots, and what is set on ``self``.
        own: Names that it uses of ``self``, ``cls`` or ``super()``.
        used: All other names that it uses.
    """

    def __init__(self, source):
        self.defined, self.own, self.used = set(), set(), set()
        tree = ast.parse(source)
        slots = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"
            for part in ast.walk(node.value)
        }
        for node in ast.walk(tree):
            for name, names in self._found(node, is_slot=id(node) in slots):
                if is_private(name):
                    names.add(name)

    def _found(self, node, *, is_slot):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, self.defined
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, self.defined
        elif isinstance(node, ast.Attribute):
            own = is_own_object(node.value)
            yield node.attr, self.own if own else self.used
            if own and isinstance(node.ctx, ast.Store):
                yield node.attr, self.defined
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module:
                modules.append(node.module)
            for module in modules:
                yield from ((name, self.used) for name in module.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in node.value.split("."):
                yield name, self.defined if is_slot else self.used


def sources():
    """Path within the package -> its `Names`."""
    return {
        str(file.relative_to(ROOT).as_posix()): Names(file.read_text(encoding="utf-8"))
        for file in ROOT.rglob("*.py")
    }


def foreign_names(found):
    """Name -> the modules that use it, of the names that are not ours.

    A name of ``self`` is ours if any module defines it; of other objects, if this module does.
    """
    everywhere = set().union(*(names.defined for names in found.values()))
    modules = defaultdict(set)
    for module, names in found.items():
        for name in (names.used - names.defined) | (names.own - everywhere):
            modules[name].add(module)
    return modules


def test_list__is_complete():
    modules = foreign_names(sources())
    assert modules.pop("_request")
    listed = {name: {module} for name, (module, _) in PRIVATE.items() if module != ANYWHERE}
    assert modules == listed


@pytest.mark.parametrize(
    "line",
    [
        "x._name",
        "x._name = 1",
        "x()._name",
        "self._name",
        "super()._name()",
        "self.x._name",
        "from x import _name",
        "from x._name import y",
        "import x._name",
        "getattr(x, '_name')",
        "'_name' in vars(x)",
        "import_string('x._name')",
    ],
)
def test_list__a_name_of_others_is_found(line):
    assert foreign_names({"a.py": Names(line)}) == {"_name": {"a.py"}}


@pytest.mark.parametrize(
    "line",
    [
        "self._name = 1; self._name",
        "self._name = 1; x._name",
        "_name = 1; x._name",
        "def _name(): pass\nself._name()",
        "class A:\n __slots__ = ('_name',)\n def f(self): self._name",
        "x.__name; x.name; _; x._",
    ],
)
def test_list__a_name_of_our_own_is_not(line):
    assert foreign_names({"a.py": Names(line)}) == {}
    others = {"a.py": Names("self._name; super()._name"), "b.py": Names("self._name = 1")}
    assert foreign_names(others) == {}


@cache
def names_of_class(kind):
    """The `Names` in the source of a class; None if it has none."""
    try:
        return Names(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return None


def our_classes():
    """All classes of the package."""
    for module in walk_packages(partstream.__path__, "partstream."):
        # An integration has the name of what it integrates.
        package, _, name = module.name.rpartition(".")
        if package == "partstream.contrib" and find_spec(name) is None:
            continue
        for kind in vars(import_module(module.name)).values():
            if isinstance(kind, type) and kind.__module__ == module.name:
                yield kind


def shared_names(kind, package="partstream"):
    """The private names that a class of a package shares with its bases from other packages."""
    ours, others = set(), set()
    for base in kind.__mro__:
        names = names_of_class(base)
        if names is None:
            continue
        if base.__module__.startswith(package):
            ours |= names.defined | names.own
        else:
            others |= names.defined | names.own
    return ours & others


def test_list__has_the_names_that_we_share_with_a_base():
    classes = set(our_classes())
    assert len(classes) > 100
    assert {name for kind in classes for name in shared_names(kind)} <= PRIVATE.keys() | INVITED


def test_list__a_name_that_is_shared_with_a_base_is_found():
    class Ours(SimpleTemplateResponse):
        def set(self):
            self._is_rendered = True

    assert shared_names(Ours, __name__) == {"_is_rendered"}


# Without the names


class ByHeader(BaseAuthentication):
    """Takes the user's name from a header."""

    def authenticate(self, request):
        name = request.headers.get("X-User")
        if name == "nobody":
            raise AuthenticationFailed()
        return (User(pk=7, username=name), f"of {name}") if name else None

    def authenticate_header(self, request):
        return "ByHeader"


def failing(request):
    raise PartError("Closed.", code="closed")


PARTS = [
    ("now", [1, None]),
    ("who", lazy(lambda request: [request.user.get_username(), request.auth])),
    ("of_who", lazy(lambda request, who: [*who, "again"], depends_on=["who"])),
    ("closed", lazy(failing)),
    (
        "credentials",
        lazy(lambda request: type(request.successful_authenticator).__name__, size="small"),
    ),
]

ROUTES = [
    ("get", "?cursor=junk", {}),
    ("head", "", {}),
    ("options", "", {}),
    ("post", "", {}),
    ("get", "parts/?keys=who,now", {}),
    ("get", "parts/?keys=unknown", {}),
    ("get", "manifest/", {}),
    ("get", "", {"accept": "text/html"}),
    ("get", "", {"accept": "text/x-unknown"}),
]

#: What is different in each page of the browsable API: the token of its forms, and what is left of
#: the limits.
CHANGING = re.compile(rb"(?m)(?i:csrf\w+)\W+\w{64}|<b>RateLimit:</b>.*$")


@pytest.fixture
def answers(client, mount, monkeypatch, settings, time_machine_at):
    """What a new view answers to a whole walk and to requests of all kinds, as comparable data."""
    settings.DJANGO_PARTSTREAM = {
        "CURSOR_CODEC": "partstream.backends.cursors.signed.SignedCursorCodec",
        "ENABLE_RATE_LIMITING": True,
        "RATE_LIMIT": 1000,
        "BURST_LIMIT": 1000,
    }
    monkeypatch.setattr(cursor, "urandom", bytes)

    def ask(method, url, headers):
        response = getattr(client, method)(url, headers={"x-request-id": "1", **headers})
        said = {name: value for name, value in response.headers.items() if name != "RateLimit"}
        return response, (response.status_code, said, CHANGING.sub(b"", response.content))

    def answers():
        class Served(HybridProgressiveView):
            parts = PARTS
            chunk_size = 2
            authentication_classes = [ByHeader]

        mount(path("served/", include(Served.urls())))
        found = []
        for user in ({}, {"x-user": "ada"}, {"x-user": "nobody"}):
            token = ""
            while token is not None:
                url = at("/served/", token) if token else "/served/"
                response, answer = ask("get", url, user)
                found.append(answer)
                token = response.json().get("cursor")
            for method, route, headers in ROUTES:
                response, answer = ask(method, "/served/" + route, {**user, **headers})
                found.append(answer)
                if "ETag" in response.headers:
                    known = {**user, "if-none-match": response.headers["ETag"]}
                    found.append(ask(method, "/served/" + route, known)[1])
        return found

    return answers


@pytest.fixture
def time_machine_at():
    import time_machine

    with time_machine.travel(1_800_000_000, tick=False):
        yield


def rename_authenticate(monkeypatch):
    """Another name for `Request._authenticate`."""
    monkeypatch.setattr(Request, "_authenticate_now", Request._authenticate, raising=False)
    monkeypatch.delattr(Request, "_authenticate")

    def user(self):
        if "_user" not in vars(self):
            self._authenticate_now()
        return self._user

    monkeypatch.setattr(Request, "user", property(user, Request.user.fset))


def rename_user(monkeypatch):
    """Another name for what keeps the user of a request."""

    def get(self):
        if "_found" not in vars(self):
            self._authenticate()
        return self._found

    def put(self, value):
        self._found = self._request.user = value

    monkeypatch.setattr(Request, "user", property(get, put))


def rename_allowed_methods(monkeypatch):
    """Another name for `View._allowed_methods`."""
    monkeypatch.setattr(View, "_allowed_now", View._allowed_methods, raising=False)
    monkeypatch.delattr(View, "_allowed_methods")
    monkeypatch.setattr(APIView, "allowed_methods", property(lambda self: self._allowed_now()))


def add_to_responses(monkeypatch):
    """Responses have an attribute that cannot be copied."""
    made = SimpleTemplateResponse.__init__

    def __init__(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.made_by = iter(())

    monkeypatch.setattr(SimpleTemplateResponse, "__init__", __init__)
    assert not prototypes.Prototype({}).is_usable


def add_to_headers(monkeypatch, *, first):
    """Headers hold two dictionaries."""
    made = ResponseHeaders.__init__

    def __init__(self, *args, **kwargs):
        if first:
            self.other = {}
        made(self, *args, **kwargs)
        self.other = {}

    monkeypatch.setattr(ResponseHeaders, "__init__", __init__)
    monkeypatch.setattr(prototypes, "_HELD_BY", prototypes._find_holder())
    assert prototypes._HELD_BY is None
    assert not prototypes.Prototype({}).is_usable


def rename_connections(monkeypatch):
    """Another name for where the handler of connections keeps them."""
    held = connections._connections

    def __getitem__(self, alias):
        try:
            return getattr(held, alias)
        except AttributeError:
            setattr(held, alias, self.create_connection(alias))
            return getattr(held, alias)

    def all(self, initialized_only=False):
        return [self[alias] for alias in self if not initialized_only or hasattr(held, alias)]

    for name, method in {
        "__getitem__": __getitem__,
        "__setitem__": lambda self, alias, value: setattr(held, alias, value),
        "__delitem__": lambda self, alias: delattr(held, alias),
        "all": all,
    }.items():
        monkeypatch.setattr(ConnectionHandler, name, method)
    monkeypatch.delattr(connections, "_connections")


class OtherLocal:
    """A ``Local`` that is built differently."""

    def __init__(self, held):
        vars(self)["held"] = held

    def __getattr__(self, name):
        if name == "_storage":
            raise AttributeError(name)
        return getattr(vars(self)["held"], name)

    def __setattr__(self, name, value):
        setattr(self.held, name, value)

    def __delattr__(self, name):
        delattr(self.held, name)


def rename_storage(monkeypatch):
    """Another name for where asgiref's ``Local`` keeps its values."""
    monkeypatch.setattr(connections, "_connections", OtherLocal(connections._connections))


def without_storage_class(monkeypatch):
    """As before asgiref 3.12."""
    monkeypatch.setattr(context, "Storage", None)


WITHOUT = {
    "_authenticate": rename_authenticate,
    "_user": rename_user,
    "_allowed_methods": rename_allowed_methods,
    "responses": add_to_responses,
    "headers": partial(add_to_headers, first=True),
    "headers, at their end": partial(add_to_headers, first=False),
    "_connections": rename_connections,
    "_storage": rename_storage,
    "_Storage": without_storage_class,
}


@pytest.fixture
def take_away():
    """Take a name away, for the time of a test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        responses._prototype.cache_clear()

        def take_away(name):
            WITHOUT[name](monkeypatch)
            responses._prototype.cache_clear()

        yield take_away
    responses._prototype.cache_clear()


@pytest.mark.parametrize("name", WITHOUT)
def test_without__a_name_all_answers_are_the_same(answers, take_away, name):
    usual = answers()
    assert {status for status, _, _ in usual} == {200, 304, 400, 401, 405, 406}
    assert b'"ada","of ada","again"' in b"".join(content for _, _, content in usual)
    take_away(name)
    assert answers() == usual


class SettingTheUser(HybridProgressiveView):
    """A view that knows its user before DRF asks for it."""

    authentication_classes = [ByHeader]
    parts = PARTS

    def initialize_request(self, request, *args, **kwargs):
        request = super().initialize_request(request, *args, **kwargs)
        request.user, request.auth = User(username="grace"), "set"
        return request


@pytest.mark.parametrize("name", [None, "_authenticate", "_user"])
def test_without__a_user_that_is_known_stays(serve, client, take_away, name):
    if name:
        take_away(name)
    url = serve(SettingTheUser)
    answer = get_json(client, url + "parts/?keys=who", headers={"x-user": "ada"})
    assert answer["results"] == [{"who": ["grace", "set"]}]


def write(text, *, fails=False):
    def load(request):
        Note.objects.create(text=text)
        if fails:
            raise PartError("Closed.", code="closed")
        return text

    return load


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("name", [None, "_connections", "_storage"])
def test_without__a_failing_part_is_rolled_back_alone(serve, client, take_away, name, atomic):
    if name:
        take_away(name)
    parts = [
        ("before", lazy(write("before"))),
        ("bad", lazy(write("bad", fails=True))),
        ("broken", lazy(lambda request: list(Note.objects.extra(where=["nonsense("])))),
        ("after", lazy(write("after"))),
    ]
    connection.settings_dict["ATOMIC_REQUESTS"] = atomic
    try:
        envelope = get_json(client, serve(parts=parts, chunk_size=4))
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert envelope["results"] == [{"before": "before"}, {"after": "after"}]
    assert [error["part"] for error in envelope["errors"]] == ["bad", "broken"]
    # Without a transaction there is nothing to roll back to.
    written = ["after", "before"] if atomic else ["after", "bad", "before"]
    assert sorted(Note.objects.values_list("text", flat=True)) == written


@pytest.mark.parametrize("name", [None, "_connections", "_storage"])
def test_without__an_event_loop_has_its_own_connections(take_away, name):
    if name:
        take_away(name)

    async def of_loop():
        there = connections["default"]
        found = [atomic_aliases()]
        there.in_atomic_block = True
        return [*found, atomic_aliases(), there]

    def in_a_new_thread():
        found = [atomic_aliases()]
        connections["default"].in_atomic_block = True
        found.append(atomic_aliases())
        *of_the_loop, there = asyncio.run(of_loop())
        assert there is not connections["default"]
        connections["default"].in_atomic_block = False
        return [*found, *of_the_loop, atomic_aliases()]

    # No query runs, so no connection is opened.
    with in_background(in_a_new_thread) as found:
        assert found() == [[], ["default"], [], ["default"], []]


@pytest.mark.parametrize("name", [None, "_Storage"])
def test_without__a_worker_has_the_language_of_its_request(serve, client, threads, take_away, name):
    if name:
        take_away(name)

    def load(request):
        return [translation.get_language(), timezone.get_current_timezone_name()]

    url = serve(parts=[("here", lazy(load, timeout=60))], executor=threads)
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        assert get_json(client, url)["results"] == [{"here": ["de", "Asia/Tokyo"]}]
