"""Views that leave unknown keys out, instead of refusing the request."""

from __future__ import annotations

import pytest
from rest_framework.permissions import AllowAny, IsAdminUser

from partstream import HybridProgressiveView, lazy
from partstream.exceptions import Misuse

UNKNOWN = {"code": "part_unknown", "detail": "There is no such part.", "retryable": False}


class Board(HybridProgressiveView):
    permission_classes = [AllowAny]
    lenient_keys = True
    parts = [
        ("meta", 1),
        ("orders", lazy(lambda request: [2])),
        ("broken", lazy(lambda request: 1 / 0)),
        ("margins", lazy(lambda request: 3, permission_classes=[IsAdminUser])),
        ("profit", lazy(lambda request, margins: margins, depends_on=["margins"])),
    ]


@pytest.fixture
def ask(client, serve):
    url = serve(base=Board)
    return lambda keys: client.get(f"{url}parts/?keys={keys}")


def test_lenient_keys__are_left_out_and_listed_in_the_order_asked(ask):
    response = ask("zebra,orders,margins,meta,profit,apple")
    assert response.status_code == 200
    body = response.json()
    assert body["results"] == [{"meta": 1}, {"orders": [2]}]
    assert body["errors"] == [
        {"part": key, **UNKNOWN} for key in ("zebra", "margins", "profit", "apple")
    ]
    assert body["meta"]["total_parts"] == 3
    assert body["meta"]["current_part"] == 2


def test_lenient_keys__nothing_tells_hidden_from_unknown(ask):
    hidden, unknown = ask("orders,margins"), ask("orders,nothing")
    assert hidden.content.replace(b"margins", b"nothing") == unknown.content
    left, right = dict(hidden.headers), dict(unknown.headers)
    for headers in (left, right):
        headers.pop("X-Request-ID")
        headers.pop("Content-Length", None)
    assert left == right


def test_lenient_keys__all_may_be_unknown(ask):
    response = ask("b,a")
    assert response.status_code == 200
    assert response.json()["results"] == []
    assert [error["part"] for error in response.json()["errors"]] == ["b", "a"]


def test_lenient_keys__come_after_parts_that_failed(ask):
    errors = ask("nothing,broken").json()["errors"]
    assert [error["code"] for error in errors] == ["part_failed", "part_unknown"]


@pytest.mark.parametrize("keys", ["", "a,,b", "a%20b", ",".join(f"k{n}" for n in range(99))])
def test_lenient_keys__malformed_ones_are_refused(ask, keys):
    response = ask(keys)
    assert (response.status_code, response.json()["code"]) == (400, "keys_invalid")


def test_lenient_keys__may_depend_on_the_request(client, serve):
    class Choosing(Board):
        lenient_keys = False

        def get_lenient_keys(self):
            return "lenient" in self.request.query_params

    url = serve(base=Choosing)
    assert client.get(f"{url}parts/?keys=nothing").status_code == 400
    assert client.get(f"{url}parts/?keys=nothing&lenient=1").status_code == 200


def test_lenient_keys__are_not_the_default(client, serve):
    url = serve(base=Board, lenient_keys=False)
    assert client.get(f"{url}parts/?keys=nothing").status_code == 400


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_lenient_keys__another_value_is_refused(client, serve, value):
    url = serve(base=Board, lenient_keys=value)
    with pytest.raises(Misuse, match=r"lenient_keys is .*Write True or False\."):
        client.get(f"{url}parts/?keys=nothing")
