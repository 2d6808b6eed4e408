from __future__ import annotations

import pytest
from django.test import Client, RequestFactory

from partstream import HybridProgressiveView
from partstream.exceptions import AddressDenied, InvalidRequest
from partstream.security.admission import admit

DENIED = b'{"detail":"Requests from your address are not allowed.","code":"ip_denied"}'


def request(query="", **meta):
    return RequestFactory().get("/", QUERY_STRING=query, **meta)


def format_only():
    return {"format"}


def test_admit__lets_pass_what_breaks_no_rule(settings):
    settings.DJANGO_PARTSTREAM = {"IP_ALLOWLIST": ["127.0.0.0/8"]}
    admit(request("format=json&debug=%00&debug=&x=%00"), format_only)
    admit(request(), format_only)


def test_admit__asks_for_the_address_first(settings):
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.0/8"]}
    with pytest.raises(AddressDenied, match="blocked"):
        admit(request("format=json&format=api"), format_only)


def test_admit__an_address_that_cannot_be_read_is_in_no_allowlist(settings):
    settings.DJANGO_PARTSTREAM = {"IP_ALLOWLIST": ["0.0.0.0/0", "::/0"]}
    with pytest.raises(AddressDenied, match="cannot be read"):
        admit(request(REMOTE_ADDR=""), format_only)


def test_admit__looks_at_a_request_once(settings):
    asked = request()
    admit(asked, format_only)
    settings.DJANGO_PARTSTREAM = {"IP_BLOCKLIST": ["127.0.0.0/8"]}
    admit(asked, format_only)


def test_admit__refuses_again_what_it_refused(settings):
    asked = request("format=json&format=api")
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="more than once"):
            admit(asked, format_only)


def test_admit__judges_reserved_parameters_only():
    admit(request("format=json&format=api"), lambda: {"cursor", "keys", "debug"})
    asked = request("format=json&format=api")
    admit(asked, lambda: None)  # Not known yet: …
    with pytest.raises(InvalidRequest, match="more than once"):
        admit(asked, format_only)  # … so this is the first look.


def test_admit__does_not_ask_what_is_reserved_where_there_is_no_query():
    admit(request(), None)


def test_admit__a_plain_query_is_not_parsed():
    asked = request("cursor=x")
    admit(asked, format_only, plain=True)
    assert "GET" not in vars(asked)


@pytest.mark.parametrize(
    "route", ["", "parts/?keys=a", "manifest/", "?cursor=x", "?format=json&format=api"]
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
