"""What an entry of the cache depends on: requests that differ share nothing, others share."""

from __future__ import annotations

import itertools
import logging
import string
from dataclasses import replace
from datetime import timedelta
from datetime import timezone as datetime_timezone
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from django.test import RequestFactory
from django.urls import include, path
from django.utils import timezone, translation
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.versioning import QueryParameterVersioning

from partstream import HybridProgressiveView, ProgressiveView, cached_for, lazy
from partstream.caching.cache_keys import Caching, Scope
from partstream.identity import joined
from partstream.testing import collect
from tests.support.log_messages import message
from tests.support.walk_client import at, first_cursor, get_json, merged

pytestmark = pytest.mark.usefixtures("empty_cache")

PROTOCOL = frozenset({"cursor", "keys", "format"})


class FirstView:
    pass


class SecondView:
    pass


class Asked(NamedTuple):
    """A request and a part of it, as far as a key can depend on them."""

    view_class: Any = FirstView
    part: str = "part:orders"
    secure: bool = False
    host: str = "testserver"
    path: str = "/shop/"
    query: str = "?year=1"
    version: Any = None
    language: str | None = "en"
    zone: Any = ZoneInfo("Europe/Paris")
    identity: str | None = "user:auth.user:7"
    serializer: str | None = None
    headers: tuple[tuple[str, str], ...] = (("X-Tenant", "a"),)
    dependencies: tuple[tuple[str, bytes], ...] = (("meta", b"1"),)
    walk: str = "w1"
    caching: Caching = Caching(60, vary=("X-Tenant",))

    def scope(self):
        request = Request(
            RequestFactory().get(
                self.path + self.query,
                secure=self.secure,
                headers={"Host": self.host, **dict(self.headers)},
            )
        )
        request.version = self.version
        with translation.override(self.language), timezone.override(self.zone):
            return Scope(
                request,
                self.view_class,
                identity=self.identity,
                path=self.path,
                protocol=PROTOCOL,
            )

    def part_key(self):
        return self.scope().part_key(
            self.caching, self.part, self.serializer, list(self.dependencies)
        )

    def walk_key(self):
        return self.scope().walk_prefix(self.walk) + self.part


HERE = Asked()

#: What every key depends on -> the same request, but for that.
OF_ALL = {
    "version": [{"version": "1"}, {"version": "1.0"}, {"version": ""}, {"version": "None"}],
    "language": [{"language": "de"}, {"language": "en-gb"}, {"language": None}],
    "time zone": [
        {"zone": ZoneInfo("Europe/Berlin")},
        {"zone": datetime_timezone.utc},
        {"zone": datetime_timezone(timedelta(hours=1))},
    ],
    "identity": [{"identity": "user:auth.user:8"}, {"identity": "user:auth.user:77"}],
}
#: What else the key of a part across walks depends on.
OF_PARTS = {
    "view class": [{"view_class": SecondView}, {"view_class": None}],
    "part": [{"part": "part:order"}, {"part": "part:orderss"}, {"part": "loader:orders"}],
    "scheme": [{"secure": True}],
    "host": [{"host": "other.example"}, {"host": "testserver:8000"}],
    "path": [{"path": "/shop"}, {"path": "/shop/2/"}, {"path": "/Shop/"}],
    "query": [
        {"query": query}
        for query in (
            "",
            "?year=2",
            "?year=",
            "?year=1&year=1",
            "?year=1&year=2",
            "?year=2&year=1",
            "?year=1&month=1",
            "?month=1",
            "?Year=1",
            "?year=1,2",
            "?year=11",
            "?year=1%26year=1",
            "?year%3D1=",
            "?year1=",
        )
    ],
    "serializer": [{"serializer": "shop.Orders"}, {"serializer": "shop.Orders[]"}],
    "header": [
        {"headers": (("X-Tenant", "b"),)},
        {"headers": (("X-Tenant", ""),)},
        {"headers": ()},
    ],
    "dependencies": [
        {"dependencies": dependencies}
        for dependencies in (
            (),
            (("meta", b"2"),),
            (("meta", b"11"),),
            (("meta", b'"1"'),),
            (("mate", b"1"),),
            (("meta", b"1"), ("meta", b"1")),
            (("meta", b"1"), ("more", b"1")),
            (("meta", b"1meta1"),),
            (("meta", b"4:meta1:11"),),
        )
    ],
    "owner": [
        {"caching": Caching(60, True, ("X-Tenant",))},
        {"caching": Caching(60, False, ("X-Tenant",), lambda request: "user:auth.user:7")},
        {"caching": Caching(60, False, ("X-Tenant",), lambda request: "")},
    ],
    "vary": [
        {"caching": Caching(60)},
        {"caching": Caching(60, vary=("X-Tenant", "X-Tenant"))},
        {"caching": Caching(60, vary=("X-Tenant", "X-Other"))},
    ],
}
#: What else the key of a walk's part depends on: a cursor is bound to all the rest.
OF_WALKS = {"walk": [{"walk": "w2"}, {"walk": "w"}, {"walk": ""}]}


def others(differences):
    return [
        pytest.param(HERE._replace(**difference), id=f"{name}-{number}")
        for name, several in differences.items()
        for number, difference in enumerate(several)
    ]


@pytest.mark.parametrize("there", others({**OF_ALL, **OF_PARTS}))
def test_part_key__tells_two_requests_apart_that_differ_in_one_thing(there):
    assert there.part_key() != HERE.part_key()


@pytest.mark.parametrize("there", others({**OF_ALL, **OF_WALKS}))
def test_walk_key__tells_two_requests_apart_that_differ_in_one_thing(there):
    assert there.walk_key() != HERE.walk_key()


def test_part_key__no_two_of_many_requests_have_the_same():
    requests = {HERE}
    for pair in itertools.combinations({**OF_ALL, **OF_PARTS}.items(), 2):
        names, (one, other) = zip(*pair, strict=True)
        if names in {("identity", "owner"), ("header", "vary")}:
            continue  # With another owner the identity does not matter, and so on.
        requests |= {HERE._replace(**{**a, **b}) for a, b in itertools.product(one, other)}
    assert len({asked.part_key() for asked in requests}) == len(requests) > 1000


@pytest.mark.parametrize(
    "there",
    [
        HERE,
        HERE._replace(host="TESTSERVER"),
        HERE._replace(query="?cursor=abc&year=1"),
        HERE._replace(query="?keys=orders,stock&year=1&format=json"),
        HERE._replace(headers=(("X-Tenant", "a"), ("X-Other", "b"))),
        HERE._replace(headers=(("x-tenant", "a"), ("User-Agent", "b"))),
        HERE._replace(caching=replace(HERE.caching, ttl=1)),
    ],
    ids=itertools.count(),
)
def test_part_key__is_the_same_for_what_does_not_matter(there):
    assert there.part_key() == HERE.part_key()
    assert there.walk_key() == HERE.walk_key()


def test_part_key__the_order_of_parameters_does_not_matter():
    one, other = HERE._replace(query="?a=1&b=2&b=3"), HERE._replace(query="?b=2&a=1&b=3")
    assert one.part_key() == other.part_key()
    assert HERE._replace(query="?a=1&b=3&b=2").part_key() != one.part_key()


def test_part_key__a_walk_does_not_matter():
    assert HERE._replace(walk="w2").part_key() == HERE.part_key()


def test_keys__are_short_and_plain_and_tell_nothing():
    asked = HERE._replace(
        part="p" * 64, path="/ö/", query="?q=" + "x" * 5000, identity="\ud800ü", walk="w" * 1000
    )
    plain = set(string.ascii_letters + string.digits + "._-")
    for key in (asked.part_key(), asked.walk_key() + ".lock"):
        assert set(key) <= plain
        assert len(key) <= 200
        assert key.startswith("partstream.")
    assert "orders" not in HERE.part_key()


@pytest.mark.parametrize("header", ["Content-Type", "content-length", "X-Tenant"])
def test_part_key__finds_a_header_by_any_name(header):
    caching = Caching(60, vary=(header,))
    keys = set()
    for value in ("5", "7"):
        meta = {f"{header}".upper().replace("-", "_"): value}
        meta |= {f"HTTP_{name}": text for name, text in meta.items()}
        request = RequestFactory().get("/", **meta)
        keys.add(Scope(request, None, identity="a", path="/").part_key(caching, "part:orders"))
    assert len(keys) == 2


def test_scope__is_as_its_request_began():
    request = Request(RequestFactory().get("/"))
    request.version = None
    with translation.override("de"):
        scope = Scope(request, FirstView, identity="a", path="/")
    with translation.override("fr"):
        later = scope.walk_prefix("w")
        assert Scope(request, FirstView, identity="a", path="/").walk_prefix("w") != later
    with translation.override("de"):
        assert Scope(request, FirstView, identity="a", path="/").walk_prefix("w") == later


# The encoding


def test_joined__is_injective():
    values = [None, "", "-", ":", "a", "1:", "1:a", "0:", "2:1:", "aa"]
    tuples = [several for size in range(4) for several in itertools.product(values, repeat=size)]
    assert len({joined(several) for several in tuples}) == len(tuples) == 1111


def test_part_key__nothing_moves_from_headers_to_dependencies():
    headers = HERE._replace(
        caching=Caching(60, vary=("X-A", "X-B")),
        headers=(("X-A", "meta"), ("X-B", "0")),
        dependencies=(),
    )
    dependencies = HERE._replace(caching=Caching(60), dependencies=(("meta", b""),))
    assert headers.part_key() != dependencies.part_key()


# Whose it is


def test_owner__no_two_kinds_meet():
    names = ["shared", "identity:7", "key:7", "7", "", "-", "None"]
    owners = [Caching(60, shared=True).owner_of(None, "7")]
    owners += [Caching(60).owner_of(None, name) for name in names]
    owners += [Caching(60, key=lambda request, n=name: n).owner_of(None, "7") for name in names]
    assert len(set(owners)) == len(owners) == 15


def test_owner__without_an_identity_is_none():
    assert Caching(60).owner_of(None, None) is None
    assert Caching(60, key=lambda request: None).owner_of(None, "7") is None
    assert Caching(60, shared=True).owner_of(None, None) == "shared"


@pytest.mark.parametrize("junk", [7, b"tenant", ["tenant"], True, 0.5, object()], ids=type)
def test_owner__a_key_is_a_text(junk):
    with pytest.raises(TypeError, match="Return a string, or None"):
        Caching(60, key=lambda request: junk).owner_of(None, "7")


def test_version__without_a_function_is_one_for_all():
    assert Caching(60).version_of(None) == ""


def test_version__no_two_meet():
    versions = [Caching(60, version=lambda request, n=name: n).version_of(None) for name in " -7"]
    assert len({*versions, Caching(60).version_of(None)}) == 4
    assert Caching(60, version=lambda request: None).version_of(None) is None


@pytest.mark.parametrize("junk", [7, b"1", ["1"], True, 0.5, object()], ids=type)
def test_version__is_a_text(junk):
    with pytest.raises(TypeError, match=r"cached_for\(version=...\) returned .* Return a string"):
        Caching(60, version=lambda request: junk).version_of(None)


# In views


class Counted(HybridProgressiveView):
    """Each of its parts says how often it was made; the first is kept for everybody."""

    chunk_size = 1
    authentication_classes = ()
    made = itertools.count(1)
    parts = [
        ("all", lazy("get_all")),
        ("own", lazy("get_own")),
        ("seen", lazy("get_seen", depends_on=["all"])),
    ]

    def get_identity(self, request):
        return request.headers.get("who")

    @cached_for(60, shared=True)
    def get_all(self, request):
        return ["all", next(self.made)]

    @cached_for(60)
    def get_own(self, request):
        return ["own", next(self.made)]

    @cached_for(60, shared=True)
    def get_seen(self, request, all):
        return [all, next(self.made)]


class InheritingView(Counted):
    """The same in every way but its name."""


class VersionedView(Counted):
    versioning_class = QueryParameterVersioning


@pytest.fixture
def urls(mount):
    mount(
        path("shop/", include(Counted.urls())),
        path("again/", include(Counted.urls())),
        path("other/", include(InheritingView.urls())),
        path("alone/", Counted.as_view(chunk_size=3)),
    )


def everything(client, url, **extra):
    return dict(collect(client, url, **extra))


def test_views__what_a_walk_keeps_is_there_for_the_next_one(client, urls):
    first = everything(client, "/shop/", headers={"who": "ada"})
    assert everything(client, "/shop/", headers={"who": "ada"}) == first


def test_views__a_walk_and_a_request_by_key_share(client, urls):
    who = {"who": "ada"}
    walked = everything(client, "/shop/?year=1", headers=who)
    asked_for = get_json(client, "/shop/parts/?keys=all,own,seen&year=1", headers=who)
    assert merged([asked_for]) == walked
    assert merged([get_json(client, "/shop/parts/?year=1&keys=own", headers=who)]) == {
        "own": walked["own"]
    }
    # And the other way round.
    asked_for = get_json(client, "/shop/parts/?keys=own,all&format=json", headers=who)
    walked = everything(client, "/shop/", headers=who)
    assert merged([asked_for]).items() <= walked.items()


def test_views__another_identity_makes_its_own(client, urls):
    ada, grace = (everything(client, "/shop/", headers={"who": who}) for who in ("ada", "grace"))
    assert ada["own"] != grace["own"]
    assert (ada["all"], ada["seen"]) == (grace["all"], grace["seen"])


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("/again/", {}),
        ("/other/", {}),
        ("/shop/?year=1", {}),
        ("/shop/", {"HTTP_HOST": "other.example"}),
    ],
    ids=["path", "subclass", "query", "host"],
)
def test_views__elsewhere_everything_is_made_anew(client, urls, url, extra):
    here = everything(client, "/shop/", HTTP_WHO="ada")
    there = everything(client, url, HTTP_WHO="ada", **extra)
    assert not {str(data) for data in here.values()} & {str(data) for data in there.values()}


def test_views__another_language_time_zone_or_version_makes_its_own(client, mount, settings):
    mount(path("shop/", VersionedView.as_view(chunk_size=3)))
    seen = [everything(client, "/shop/", headers={"who": "ada"})["own"]]
    with translation.override("de"):
        seen.append(everything(client, "/shop/", headers={"who": "ada"})["own"])
    with timezone.override(ZoneInfo("Asia/Tokyo")):
        seen.append(everything(client, "/shop/", headers={"who": "ada"})["own"])
    assert len(set(map(tuple, seen))) == 3
    assert everything(client, "/shop/", headers={"who": "ada"})["own"] == seen[0]


def test_views__a_version_that_no_parameter_says_counts_too(client, mount):
    class HeaderVersioning(QueryParameterVersioning):
        def determine_version(self, request, *args, **kwargs):
            return request.headers.get("version")

    mount(path("shop/", Counted.as_view(chunk_size=3, versioning_class=HeaderVersioning)))
    one, two, again = (
        everything(client, "/shop/", headers={"who": "ada", "version": version})
        for version in ("1", "2", "1")
    )
    assert one["own"] != two["own"]
    assert one == again


def test_views__a_dependency_with_other_data_makes_the_part_anew(client, serve):
    numbers = itertools.count(1)
    url = serve(
        chunk_size=2,
        authentication_classes=(),
        parts=[
            ("rate", lazy(lambda request: request.headers["rate"])),
            ("price", lazy(made_of_rate(numbers), depends_on=["rate"])),
        ],
    )
    seen = [everything(client, url, headers={"rate": rate})["price"] for rate in "abab"]
    assert seen == [["a", 1], ["b", 2], ["a", 1], ["b", 2]]


def made_of_rate(numbers):
    return cached_for(60, shared=True)(lambda request, rate: [rate, next(numbers)])


class Plain(serializers.Serializer):
    name = serializers.CharField()


class Loud(serializers.Serializer):
    name = serializers.SerializerMethodField()

    def get_name(self, instance):
        return instance["name"].upper()


@pytest.mark.parametrize("many", [False, True])
def test_views__what_is_kept_went_through_its_serializer(client, mount, many):
    person = {"name": "ada"}
    loader = cached_for(60, shared=True)(lambda request: [person] if many else person)

    class People(ProgressiveView):
        authentication_classes = ()
        serializer = Plain

        def get_parts(self):
            return [("who", lazy(loader, serializer_class=self.serializer, many=many))]

    seen = []
    for serializer in (Plain, Loud, Plain, Loud):
        mount(path("people/", People.as_view(serializer=serializer)))
        seen.append(everything(client, "/people/")["who"])
    plain, loud = {"name": "ada"}, {"name": "ADA"}
    assert seen == ([[plain], [loud]] if many else [plain, loud]) * 2


def test_views__vary_tells_requests_apart(client, serve, calls):
    loader = cached_for(60, shared=True, vary=["X-Currency"])(
        lambda request: [request.headers.get("X-Currency"), calls.append("ran")]
    )
    url = serve(parts=[("price", lazy(loader))], authentication_classes=())
    for currency in ("EUR", "USD", "EUR", "USD"):
        headers = {"X-Currency": currency, "X-Other": currency}
        assert everything(client, url, headers=headers)["price"] == [currency, None]
    assert everything(client, url)["price"] == [None, None]
    assert calls == ["ran"] * 3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_views__without_an_identity_nothing_is_kept_and_the_log_says_so_once_a_part(
    client, serve, caplog, count
):
    caplog.set_level(logging.INFO, "partstream")
    numbers = itertools.count()
    parts = [
        (f"part_{letter}", lazy(cached_for(60)(lambda request: next(numbers))))
        for letter in "abc"[:count]
    ]
    url = serve(parts=parts, chunk_size=3, authentication_classes=())
    first = everything(client, url)
    said = [message(record) for record in caplog.records]
    assert everything(client, url).items().isdisjoint(first.items())
    assert said == [
        f"Part '{name}' of ServedView is cached_for() and runs uncached: this request has no "
        "identity. Where the data is the same for everybody, write cached_for(..., shared=True)."
        for name, _ in parts
    ]


def test_views__under_debug_the_log_says_so_once_in_a_process(client, serve, caplog, settings):
    caplog.set_level(logging.DEBUG, "partstream.cache")
    settings.DEBUG = True
    parts = [(name, lazy(cached_for(60)(lambda request: 1))) for name in ("a", "b")]
    url = serve(parts=parts, authentication_classes=())
    for _ in range(3):
        everything(client, url)
    assert [(record.levelname, message(record)[:8]) for record in caplog.records] == [
        ("WARNING", "Part 'a'"),
        ("WARNING", "Part 'b'"),
    ]
    settings.DEBUG = False
    caplog.clear()
    everything(client, url)
    everything(client, url)
    assert [record.levelname for record in caplog.records] == ["INFO"] * 4


@pytest.mark.parametrize("count", [1, 2])
def test_views__a_key_that_fails_is_logged_and_the_part_runs_uncached(client, serve, caplog, count):
    asked_keys = []

    def key(request):
        asked_keys.append(1)
        raise LookupError("no tenant")

    numbers = itertools.count()
    loader = cached_for(60, key=key)(lambda request: next(numbers))
    parts = [(f"part_{letter}", lazy(loader)) for letter in "ab"[:count]]
    url = serve(parts=parts, chunk_size=2)
    assert set(everything(client, url).values()) == set(range(count))
    assert [message(record) for record in caplog.records] == [
        f"The cache key of part '{name}' of ServedView failed; it runs uncached."
        for name, _ in parts
    ]
    assert all(record.exc_info[0] is LookupError for record in caplog.records)
    assert len(asked_keys) == count
    assert set(everything(client, url).values()) == set(range(count, 2 * count))


def test_views__a_key_is_asked_once_a_part_and_request(client, serve):
    asked_keys = []
    loader = cached_for(60, key=lambda request: asked_keys.append(1) or "tenant")(lambda request: 1)
    url = serve(parts=[("a", lazy(loader)), ("b", lazy(loader))], chunk_size=2)
    for _ in range(2):
        asked_keys.clear()
        everything(client, url)
        assert len(asked_keys) == 2


@pytest.mark.parametrize("options", [{"shared": True}, {"key": lambda request: "tenant"}])
def test_views__a_write_then_a_read(client, serve, options):
    stored = {"version": "1", "numbers": itertools.count()}

    def version(request):
        return stored["version"]

    loader = cached_for(60, version=version, **options)(lambda request: next(stored["numbers"]))
    url = serve(parts=[("part", lazy(loader))])
    assert [everything(client, url)["part"] for _ in range(2)] == [0, 0]
    stored["version"] = "2"
    assert [everything(client, url)["part"] for _ in range(2)] == [1, 1]
    stored["version"] = None
    assert [everything(client, url)["part"] for _ in range(2)] == [2, 3]
    stored["version"] = "1"
    assert everything(client, url)["part"] == 0


def test_views__a_version_that_is_none_says_nothing_of_an_identity(client, serve, caplog, settings):
    settings.DEBUG = True
    loader = cached_for(60, shared=True, version=lambda request: None)(lambda request: 1)
    everything(client, serve(parts=[("part", lazy(loader))]))
    assert [record for record in caplog.records if "identity" in record.getMessage()] == []


@pytest.mark.parametrize("name", ["shared", "identity:ada", "user:auth.user:7"])
def test_views__a_key_never_meets_another_owner(client, serve, name):
    numbers = itertools.count()
    kinds = {
        "shared": cached_for(60, shared=True),
        "own": cached_for(60),
        "key": cached_for(60, key=lambda request: name),
    }

    def get_parts(self):
        loader = kinds[self.request.headers["kind"]](lambda request: next(numbers))
        return [("part", lazy(loader))]

    url = serve(
        get_parts=get_parts,
        get_identity=lambda self, request: name,
        authentication_classes=(),
    )
    seen = [everything(client, url, headers={"kind": kind})["part"] for kind in [*kinds] * 2]
    assert seen == [0, 1, 2, 0, 1, 2]


@pytest.mark.django_db
def test_views__users_and_sessions_are_identities(client, serve, user, staff):
    numbers = itertools.count()
    url = serve(parts=[("own", lazy(cached_for(60)(lambda request: next(numbers))))])
    seen = []
    for who in (user, staff, user, staff):
        client.force_login(who)
        seen.append(everything(client, url)["own"])
    assert seen == [0, 1, 0, 1]
    client.logout()
    session = client.session
    session["known"] = True
    session.save()
    client.cookies["sessionid"] = session.session_key
    assert [everything(client, url)["own"] for _ in range(2)] == [2, 2]


class IsTrusted(BasePermission):
    def has_permission(self, request, view):
        return "trusted" in request.headers


def test_views__a_shared_entry_still_needs_the_permission(client, serve):
    part = lazy(
        cached_for(60, shared=True)(lambda request: "secret"), permission_classes=[IsTrusted]
    )
    url = serve(HybridProgressiveView, parts=[("secret", part)], authentication_classes=())
    assert everything(client, url, headers={"trusted": "1"}) == {"secret": "secret"}
    assert everything(client, url) == {}
    assert client.get(url + "parts/?keys=secret").status_code == 400


def test_views__the_cursor_is_in_no_key(client, serve):
    numbers = itertools.count()
    loader = cached_for(60, shared=True)(lambda request: next(numbers))
    url = serve(parts=[("a", 1), ("b", lazy(loader))], chunk_size=1, authentication_classes=())
    tokens = [first_cursor(client, url) for _ in range(2)]
    assert tokens[0] != tokens[1]
    assert [merged([get_json(client, at(url, token))]) for token in tokens] == [{"b": 0}] * 2
