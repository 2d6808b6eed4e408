from __future__ import annotations

import pytest
from django.test import Client, RequestFactory

from partstream import HybridProgressiveView
from partstream.exceptions import AddressDenied, InvalidRequest
from partstream.security.admission import admit

DENIED = b'{"detail":"Your address is not admitted here.","code":"ip_denied"}'


def request(query="", **meta):
    return RequestFactory().get("/", QUERY_STRING=query, **meta)


def test_admit__lets_pass_what_breaks_no_rule(settings):
    settings.DJANGO_PARTSTREAM = {"IP_ALLOWLIST": ["127.0.0.0/8"]}
    admit(request("debug=1&x=%00"))
    admit(request())


def test_admit__asks_for_the_address_first(settings):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.0/8"]}
    with pytest.raises(AddressDenied, match="blocked"):
        admit(request("debug=1&debug=2"))


def test_admit__an_address_that_cannot_be_read_is_in_no_allowlist(settings):
    settings.DJANGO_PARTSTREAM = {"IP_ALLOWLIST": ["0.0.0.0/0", "::/0"]}
    with pytest.raises(AddressDenied, match="cannot be read"):
        admit(request(REMOTE_ADDR=""))


def test_admit__looks_at_a_request_once(settings):
    asked = request()
    admit(asked)
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.0/8"]}
    admit(asked)


def test_admit__refuses_again_what_it_refused(settings):
    asked = request("debug=1&debug=2")
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="more than once"):
            admit(asked)


def test_admit__a_plain_query_is_not_parsed():
    asked = request("cursor=x")
    admit(asked, plain=True)
    assert "GET" not in vars(asked)


@pytest.mark.parametrize(
    "route", ["", "parts/?keys=a", "manifest/", "?cursor=x", "?debug=1&debug=2"]
)
def test_lists__are_asked_before_anything_else(serve, settings, route):
    class Strict(HybridProgressiveView):
        def perform_authentication(self, request):
            raise AssertionError("the address comes first")

        def get_parts(self):
            raise AssertionError("the address comes first")

    url = serve(Strict)
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["198.51.100.0/24"]}
    answer = Client(REMOTE_ADDR="198.51.100.9").get(url + route)
    assert (answer.status_code, answer.content) == (403, DENIED)
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_lists__go_by_the_true_address(serve, settings):
    url = serve(parts=[("a", 1)])
    settings.DJANGO_PARTSTREAM = {
        "IP_ALLOWLIST": ["192.0.2.0/24"],
        "TRUSTED_PROXIES": ["10.0.0.0/8"],
    }
    proxied = Client(REMOTE_ADDR="10.0.0.1")
    assert proxied.get(url, HTTP_X_FORWARDED_FOR="192.0.2.7").status_code == 200
    assert proxied.get(url, HTTP_X_FORWARDED_FOR="8.8.8.8").status_code == 403
    assert proxied.get(url, HTTP_X_FORWARDED_FOR="192.0.2.7, 8.8.8.8").status_code == 403
    assert proxied.get(url).status_code == 403
    liar = Client(REMOTE_ADDR="8.8.8.8")
    assert liar.get(url, HTTP_X_FORWARDED_FOR="192.0.2.7").status_code == 403
