"""The wire format and the table of statuses, as a client meets them."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import Throttled
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.throttling import BaseThrottle

from partstream import HybridProgressiveView, lazy
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

PRIVATE = "private, no-store"
VARY = "Accept, Authorization, Cookie"


@pytest.fixture
def url(serve, calls):
    """A view with a part for staff, and one that needs it."""
    return serve(
        base=HybridProgressiveView,
        parts=[
            ("meta", {"version": 1}),
            ("orders", lazy(calls.loader("orders", [1, 2]), depends_on=["meta"], size="medium")),
            ("margins", lazy(calls.loader("margins", 0.4), permission_classes=[IsAdminUser])),
            ("forecast", lazy(calls.loader("forecast", 0.8), depends_on=["margins"])),
            ("stock", lazy(calls.loader("stock", 7), size="large")),
        ],
    )


def refusal(response):
    """Status, code and detail of a refused request; nothing else is in the body."""
    body = response.json()
    assert list(body) == ["detail", "code"]
    return response.status_code, body["code"], body["detail"]


# The walk


def test_walk__first_chunk_and_last(client, url):
    response = client.get(url)
    token = response.json()["cursor"]
    assert response.content.decode() == (
        '{"results":[{"meta":{"version":1}},{"orders":[1,2]}],'
        f'"cursor":"{token}",'
        '"meta":{"total_parts":3,"current_part":2,"has_more":true,'
        '"manifest_url":"/served/manifest/","pending":["stock"]}}'
    )
    assert client.get(at(url, token)).content == (
        b'{"results":[{"stock":7}],"cursor":null,'
        b'"meta":{"total_parts":3,"current_part":3,"has_more":false,'
        b'"manifest_url":"/served/manifest/"}}'
    )


@pytest.mark.parametrize("route", ["", "parts/?keys=meta", "?cursor=junk", "parts/", "?format=%00"])
def test_headers__an_answer_is_one_clients_alone(client, url, route):
    headers = client.get(url + route).headers
    assert headers["Cache-Control"] == PRIVATE
    assert headers["Vary"] == VARY
    assert headers["Content-Type"] == "application/json"


def test_headers__allow_is_drfs(client, url):
    assert client.get(url).headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("?x=1", "x=1&"),
        ("?x=1&y=2&x=3", "x=1&x=3&y=2&"),
        ("?x=a b&y=%C3%A9&z=%26%3D", "x=a+b&y=%C3%A9&z=%26%3D&"),
        ("?debug=1", "debug=1&"),
        ("?x=%3E%3B%22%0D%0Aa", "x=%3E%3B%22%0D%0Aa&"),
    ],
)
def test_link__leads_on_with_the_other_parameters(client, url, query, kept):
    response = client.get(url + query)
    token = response.json()["cursor"]
    assert response.headers["Link"] == f'<?{kept}cursor={token}>; rel="next"'
    onward = client.get(f"{url}?{kept}cursor={token}")
    assert onward.status_code == 200
    assert "Link" not in onward.headers


def test_link__drops_the_cursor_it_came_with(client, serve):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], chunk_size=1)
    first = client.get(f"{url}?x=1").json()["cursor"]
    response = client.get(f"{url}?cursor={first}&x=1")
    assert response.headers["Link"] == f'<?x=1&cursor={response.json()["cursor"]}>; rel="next"'


def test_pending__is_of_the_first_chunk_and_of_visible_parts_only(client, url):
    first, last = walk(client, url)
    assert first["meta"]["pending"] == ["stock"]
    assert "pending" not in last["meta"]


@pytest.mark.django_db
def test_walk__staff_has_all(client, url, staff):
    client.force_login(staff)
    envelopes = walk(client, url)
    assert list(merged(envelopes)) == ["meta", "orders", "margins", "forecast", "stock"]
    assert envelopes[0]["meta"]["pending"] == ["margins", "forecast", "stock"]


def test_walk__under_asgi_is_the_same(url, codec):
    async def walk_async():
        client = AsyncClient()
        envelopes = [json.loads((await client.get(url)).content)]
        while envelopes[-1]["cursor"]:
            response = await client.get(at(url, envelopes[-1]["cursor"]))
            assert response.status_code == 200
            envelopes.append(json.loads(response.content))
        return envelopes

    theirs, ours = async_to_sync(walk_async)(), walk(Client(), url)
    for envelope in theirs + ours:
        envelope["cursor"] = bool(envelope["cursor"])
    assert theirs == ours


def test_keys_and_manifest__under_asgi_are_the_same(url, client):
    async def both():
        client = AsyncClient()
        return [
            (await client.get(f"{url}parts/?keys=stock")).content,
            (await client.get(f"{url}manifest/")).content,
            (await client.get(f"{url}?cursor=junk")).content,
        ]

    assert async_to_sync(both)() == [
        client.get(f"{url}parts/?keys=stock").content,
        client.get(f"{url}manifest/").content,
        client.get(f"{url}?cursor=junk").content,
    ]


# By key


def test_keys__the_parts_in_declared_order(client, url, calls):
    response = client.get(f"{url}parts/?keys=stock,orders")
    assert response.json() == {
        "results": [{"orders": [1, 2]}, {"stock": 7}],
        "cursor": None,
        "meta": {
            "total_parts": 3,
            "current_part": 2,
            "has_more": False,
            "manifest_url": "/served/manifest/",
        },
    }
    assert "Link" not in response.headers
    assert calls == ["orders", "stock"]


def test_keys__asked_twice_load_once(client, url, calls):
    assert names(get_json(client, f"{url}parts/?keys=stock,stock")) == ["stock"]
    assert calls == ["stock"]


def test_keys__a_dependency_is_resolved_but_not_delivered(client, serve, calls):
    url = serve(
        base=HybridProgressiveView,
        parts=[
            ("base", lazy(calls.loader("base", 20))),
            ("top", lazy(lambda request, base: base + 1, depends_on=["base"])),
        ],
    )
    assert get_json(client, f"{url}parts/?keys=top")["results"] == [{"top": 21}]
    assert calls == ["base"]
    both = get_json(client, f"{url}parts/?keys=top,base")
    assert both["results"] == [{"base": 20}, {"top": 21}]
    assert calls == ["base", "base"]


ONE = "Name the parts in one parameter: ?keys=first,second"
NAMES = "The keys are part names, separated by commas."


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", ONE),
        ("keys", ONE),
        ("keys=", ONE),
        ("keys=stock&keys=orders", ONE),
        ("keys=stock&keys=stock", ONE),
        ("Keys=stock", ONE),
        ("keys=,", NAMES),
        ("keys=stock,", NAMES),
        ("keys=stock,,orders", NAMES),
        ("keys=stock orders", NAMES),
        ("keys=stock%00", NAMES),
        ("keys=stock%0A", NAMES),
        ("keys=st%C3%B6ck", NAMES),
        ("keys=%ED%A0%80", NAMES),
        ("keys=%FF", NAMES),
        ("keys=" + "a" * 65, NAMES),
        ("keys=../stock", NAMES),
        ("keys=stock'--", NAMES),
        ("keys=" + ",".join("abcdefghijk"), "At most 10 keys can be asked for in one request."),
        ("keys=" + ",".join(["stock"] * 11), "At most 10 keys can be asked for in one request."),
    ],
)
def test_keys__malformed_are_invalid(client, url, calls, query, detail):
    response = client.get(f"{url}parts/", QUERY_STRING=query)
    assert refusal(response) == (400, "keys_invalid", detail)
    assert calls == []


def test_keys__unknown_and_forbidden_get_one_answer(client, url, calls):
    unknown = client.get(f"{url}parts/?keys=nothing")
    assert unknown.status_code == 400
    assert unknown.content == (
        b'{"detail":"At least one of the keys is not a part of this view.","code":"part_unknown"}'
    )
    del unknown.headers["X-Request-ID"]
    for keys in ("margins", "forecast", "stock,margins", "margins,nothing", "nothing,stock"):
        other = client.get(f"{url}parts/?keys={keys}")
        assert other.status_code == 400
        assert other.content == unknown.content
        del other.headers["X-Request-ID"]
        assert dict(other.headers) == dict(unknown.headers)
    assert calls == []


@pytest.mark.django_db
def test_keys__staff_may_ask_for_what_is_theirs(client, url, staff):
    client.force_login(staff)
    assert merged([get_json(client, f"{url}parts/?keys=forecast,margins")]) == {
        "margins": 0.4,
        "forecast": 0.8,
    }


def test_keys__a_cursor_means_nothing_there(client, url):
    token = first_cursor(client, url)
    for cursor in (token, "junk"):
        assert names(get_json(client, f"{url}parts/?keys=stock&cursor={cursor}")) == ["stock"]


# The manifest


def test_manifest__says_what_there_is(client, url, calls):
    response = client.get(f"{url}manifest/")
    assert response.json() == {
        "parts": {
            "meta": {"size": None, "dependencies": [], "lazy": False},
            "orders": {"size": "medium", "dependencies": ["meta"], "lazy": True},
            "stock": {"size": "large", "dependencies": [], "lazy": True},
        },
        "meta": {"total_parts": 3},
        "links": {"walk": "/served/", "parts": "/served/parts/", "stream": "/served/"},
    }
    assert list(response.json()["parts"]) == ["meta", "orders", "stock"]
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == VARY
    assert calls == []


@pytest.mark.django_db
def test_manifest__is_of_this_user(url, user, staff, calls):
    seen = []
    for account in (None, user, staff):
        client = Client()
        if account:
            client.force_login(account)
        seen.append(client.get(f"{url}manifest/"))
    nobody, ada, grace = seen
    assert nobody.content == ada.content
    assert list(grace.json()["parts"]) == ["meta", "orders", "margins", "forecast", "stock"]
    assert grace.json()["meta"] == {"total_parts": 5}
    assert nobody.headers["ETag"] == ada.headers["ETag"] != grace.headers["ETag"]
    assert calls == []


def test_manifest__is_not_sent_again(client, url):
    first = client.get(f"{url}manifest/")
    tag = first.headers["ETag"]
    again = client.get(f"{url}manifest/", HTTP_IF_NONE_MATCH=tag)
    assert (again.status_code, again.content) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary"):
        assert again.headers[name] == first.headers[name]
    other = client.get(f"{url}manifest/", HTTP_IF_NONE_MATCH='W/"other"')
    assert (other.status_code, other.content) == (200, first.content)


def test_manifest__its_tag_depends_on_the_renderer(client, url):
    as_json = client.get(f"{url}manifest/").headers["ETag"]
    as_page = client.get(f"{url}manifest/", HTTP_ACCEPT="text/html")
    assert as_page.headers["Content-Type"].startswith("text/html")
    assert as_page.headers["ETag"] != as_json


@pytest.mark.django_db
def test_manifest__no_tag_of_another_user_passes(url, staff):
    client = Client()
    client.force_login(staff)
    tag = client.get(f"{url}manifest/").headers["ETag"]
    assert Client().get(f"{url}manifest/", HTTP_IF_NONE_MATCH=tag).status_code == 200


# Refused requests


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("format=%00", "The parameter 'format' has a control character."),
        ("format=1%0D%0A", "The parameter 'format' has a control character."),
        ("format=%C2%85", "The parameter 'format' has a control character."),
        ("format=json&format=json", "The parameter 'format' is given more than once."),
        ("format=json%00", "The parameter 'format' has a control character."),
        ("x=" + "y" * 8191, "The query is longer than 8192 characters."),
        ("&".join(["x"] * 1001), "The query has too many parameters."),
    ],
    ids=lambda value: value[:40],
)
@pytest.mark.parametrize("route", ["", "parts/", "manifest/"])
def test_request__invalid(client, url, calls, route, query, detail):
    response = client.get(url + route, QUERY_STRING=query)
    assert refusal(response) == (400, "request_invalid", detail)
    assert calls == []


def test_request__invalid_comes_before_an_invalid_cursor(client, url):
    response = client.get(url, QUERY_STRING="cursor=junk&format=json&format=json")
    assert refusal(response)[1] == "request_invalid"
    response = client.get(url, QUERY_STRING=f"cursor={'A' * 8192}")
    assert refusal(response)[1] == "request_invalid"


@pytest.mark.parametrize(
    "query",
    [
        "description=%00%0D%0A",
        "q='; drop table users; --",
        "q=<script>alert(1)</script>",
        "path=../../etc/passwd&path=x",
        "x=" + "y" * 8190,
        "&".join(["x"] * 1000),
        "%00=%00",
        "=",
        "&&&",
        "x=%ED%A0%80",
    ],
    ids=lambda query: query[:20],
)
def test_request__what_is_the_applications_is_never_refused(client, url, query):
    assert client.get(url, QUERY_STRING=query).status_code == 200


def test_request__too_many_parameters_beside_a_cursor(client, url):
    token = first_cursor(client, url)
    response = client.get(url, QUERY_STRING=f"cursor={token}&" + "&".join(["x"] * 1000))
    assert refusal(response)[:2] == (400, "request_invalid")


def test_request__401(client, serve, calls):
    url = serve(
        parts=[("a", lazy(calls.loader("a")))],
        authentication_classes=[BasicAuthentication],
        permission_classes=[IsAuthenticated],
    )
    response = client.get(url)
    assert refusal(response) == (
        401,
        "not_authenticated",
        "Authentication credentials were not provided.",
    )
    assert response.headers["WWW-Authenticate"] == 'Basic realm="api"'
    assert response.headers["Cache-Control"] == PRIVATE
    assert calls == []


@pytest.mark.django_db
def test_request__401_of_wrong_credentials(client, serve):
    url = serve(parts=[("a", 1)], authentication_classes=[BasicAuthentication])
    response = client.get(url, HTTP_AUTHORIZATION="Basic YWRhOndyb25n")
    assert refusal(response) == (401, "authentication_failed", "Invalid username/password.")


def test_request__403(client, serve, calls):
    url = serve(parts=[("a", lazy(calls.loader("a")))], permission_classes=[IsAuthenticated])
    assert refusal(client.get(url)) == (
        403,
        "not_authenticated",
        "Authentication credentials were not provided.",
    )
    assert calls == []


@pytest.mark.django_db
def test_request__403_of_a_user(client, serve, user):
    client.force_login(user)
    url = serve(parts=[("a", 1)], permission_classes=[IsAdminUser])
    assert refusal(client.get(url)) == (
        403,
        "permission_denied",
        "You do not have permission to perform this action.",
    )


def test_request__404_of_an_unknown_format(client, url, calls):
    response = client.get(f"{url}?format=xml")
    assert refusal(response) == (404, "not_found", "Not found.")
    assert calls == []


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_request__405(client, url, calls, method):
    response = getattr(client, method)(url)
    assert refusal(response) == (
        405,
        "method_not_allowed",
        f'Method "{method.upper()}" not allowed.',
    )
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert response.headers["Cache-Control"] == PRIVATE
    assert calls == []


def test_request__406(client, url, calls):
    response = client.get(url, HTTP_ACCEPT="image/png")
    assert refusal(response) == (
        406,
        "not_acceptable",
        "Could not satisfy the request Accept header.",
    )
    assert calls == []


@pytest.mark.parametrize("host", ["unknown.example", "testserver@evil", "a b", "testserver:port"])
def test_request__a_wrong_host_is_no_fault_of_the_server(client, url, host):
    # Whether it is refused at all is for Django's CommonMiddleware to say.
    response = client.get(url, HTTP_HOST=host)
    assert response.status_code == 200
    assert client.get(at(url, response.json()["cursor"])).status_code == 400


# HEAD and OPTIONS


@pytest.mark.parametrize("route", ["", "parts/?keys=stock", "manifest/"])
def test_head__runs_no_loader(client, url, calls, route):
    response = client.head(url + route)
    assert (response.status_code, response.content) == (200, b"")
    assert "Link" not in response.headers
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Vary"] == VARY
    assert calls == []


@pytest.mark.parametrize(
    ("route", "status"),
    [
        ("?cursor=junk", 400),
        ("?format=%00", 400),
        ("?format=xml", 404),
        ("parts/", 400),
        ("parts/?keys=margins", 400),
    ],
)
def test_head__is_refused_as_get_is(client, url, calls, route, status):
    assert client.head(url + route).status_code == status == client.get(url + route).status_code
    assert calls == []


def test_head__of_a_cursor(client, url, calls):
    token = first_cursor(client, url)
    calls.clear()
    assert client.head(at(url, token)).status_code == 200
    assert calls == []


@pytest.mark.parametrize("route", ["", "parts/", "manifest/"])
def test_options__are_drfs(client, url, calls, route):
    response = client.options(url + route)
    assert response.status_code == 200
    assert response.json()["name"] == "Served"
    assert response.json()["renders"] == ["application/json", "text/html"]
    assert calls == []


# The project's own exception handler


def own_shape(exc, context):
    """A handler as projects write them."""
    from rest_framework.views import exception_handler

    response = exception_handler(exc, context)
    if response is not None:
        response.data = {"error": {"status": response.status_code, "codes": exc.get_codes()}}
    return response


def with_more(exc, context):
    """A handler that keeps DRF's shape and adds to it."""
    from rest_framework.views import exception_handler

    response = exception_handler(exc, context)
    response.data["support"] = "help@example.com"
    response["X-Handled"] = "yes"
    return response


def test_handler__with_its_own_shape_keeps_it(client, url, settings):
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": f"{__name__}.own_shape"}
    response = client.get(f"{url}?cursor=junk")
    assert response.status_code == 400
    assert response.json() == {"error": {"status": 400, "codes": "cursor_invalid"}}


def test_handler__that_adds_to_drfs_shape_keeps_it(client, url, settings):
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": f"{__name__}.with_more"}
    response = client.get(f"{url}parts/")
    assert response.json() == {"detail": ONE, "support": "help@example.com"}
    assert response.headers["X-Handled"] == "yes"


def wrapped(exc, context):
    """A handler that wraps the body, and keeps what clients need."""
    from rest_framework.views import exception_handler

    response = exception_handler(exc, context)
    told = {"code": exc.get_codes(), "retry_after": getattr(exc, "wait", None)}
    response.data = {"error": response.data, **told}
    return response


def test_handler__that_wraps_the_body_can_keep_what_clients_need(client, serve, settings):
    class Wait(BaseThrottle):
        def allow_request(self, request, view):
            return False

        def wait(self):
            return 6.5

    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": f"{__name__}.wrapped"}
    body = client.get(serve(parts=[("a", 1)], throttle_classes=[Wait])).json()
    assert (body["code"], body["retry_after"]) == ("throttled", 7)


def test_handler__headers_of_an_error_stay(client, serve):
    class Wait:
        def allow_request(self, request, view):
            return False

        def wait(self):
            return 7

    response = client.get(serve(parts=[("a", 1)], throttle_classes=[Wait]))
    assert response.status_code == Throttled.status_code
    assert response.headers["Retry-After"] == "7"
    assert response.json()["code"] == "throttled"


# Errors of the application


def test_fault__of_the_view_itself_is_djangos(serve):
    def get_parts(self):
        raise ZeroDivisionError("password=hunter2")

    url = serve(get_parts=get_parts)
    response = Client(raise_request_exception=False).get(url)
    assert response.status_code == 500
    assert b"hunter2" not in response.content


@pytest.mark.parametrize("route", ["", "parts/?keys=a"])
def test_fault__of_a_part_is_not_shown(client, serve, caplog, route):
    def load(request):
        raise Exception("password=hunter2")

    url = serve(base=HybridProgressiveView, parts=[("a", lazy(load)), ("b", 2)])
    response = client.get(url + route)
    assert response.status_code == 200
    told = response.content.decode() + str(response.headers)
    for secret in ("hunter2", "Exception", "exception", "Traceback", __file__):
        assert secret not in told
    (record,) = [record for record in caplog.records if record.exc_info]
    assert str(record.exc_info[1]) == "password=hunter2"
    assert record.getMessage() == (
        f"Part 'a' of ServedView failed. (request {response.headers['X-Request-ID']})"
    )
