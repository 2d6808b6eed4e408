from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from django.test import RequestFactory

from partstream.security.client_ip import (
    MAX_HOPS,
    UNREADABLE,
    Networks,
    _parsed,
    bucket,
    client_address,
    get_networks,
    parse_address,
)

V4 = IPv4Address("192.0.2.7")
V6 = IPv6Address("2001:db8::7")
PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48"]


def client(networks, peer, forwarded=None):
    meta = {"REMOTE_ADDR": peer}
    if forwarded is not None:
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    return networks.client(meta)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", V4),
        (" 192.0.2.7\t", V4),
        ("192.0.2.7:443", V4),
        ("[2001:db8::7]", V6),
        ("[2001:db8::7]:443", V6),
        ("2001:db8::7", V6),
        ("2001:DB8:0:0::7", V6),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
        ("::ffff:192.0.2.7", V4),
        ("[::ffff:c000:207]:1", V4),
        # What can be read in two ways, or not at all.
        ("", None),
        ("192.0.02.7", None),
        ("0300.0.2.7", None),
        ("192.0.2", None),
        ("3221225991", None),
        ("192.0.2.7:", None),
        ("192.0.2.7:http", None),
        ("[2001:db8::7", None),
        ("[2001:db8::7]443", None),
        ("[2001:db8::7]:", None),
        ("[2001:db8::7%]]:443", None),
        ("2001:db8::7::1", None),
        ("unix:", None),
        ("localhost", None),
        ("unknown", None),
        ("_hidden", None),
        ("١٩٢.0.2.7", None),
        ("192.0.2.7\r\nX: y", None),
        ("192.0.2.7\x00", None),
        ("192.0.2.7\n", None),
        ("\xa0192.0.2.7", None),
        ("X192.0.2.7X", None),
        ("fe80::1%" + "z" * 56, IPv6Address("fe80::1")),
        ("fe80::1%" + "z" * 57, None),
        ("\ud800", None),
        ("1" * 10_000, None),
    ],
)
def test_parse_address__reads_what_servers_write(text, address):
    assert parse_address(text) == address


def test_parse_address__keeps_nothing_of_what_is_too_long():
    before = _parsed.cache_info().currsize
    for number in range(100):
        parse_address(f"{number}" + "x" * 60_000)
    assert _parsed.cache_info().currsize == before


@pytest.mark.parametrize(
    ("text", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        # Masked like an IPv6 address, all of them would count as one.
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:7", "2001:db8::/64"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("nobody", UNREADABLE),
    ],
)
def test_bucket__is_an_address_or_a_household(text, counts_as):
    assert bucket(parse_address(text)) == counts_as


# Whom to believe


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7:5000"])
@pytest.mark.parametrize("forwarded", [None, "", "198.51.100.1", "10.0.0.1, 198.51.100.1", "junk"])
def test_client__of_a_peer_that_is_not_trusted_is_the_peer(peer, forwarded):
    assert client(Networks(PROXIES), peer, forwarded) == V4
    assert client(Networks(), peer, forwarded) == V4


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (None, "10.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("192.0.2.7 ,\t10.1.2.3 , 2001:db8:ffff::1", "192.0.2.7"),
        # What stands before the first hop that is not ours is whatever the client wrote.
        ("198.51.100.1, 192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7", "192.0.2.7"),
        ("junk, 192.0.2.7", "192.0.2.7"),
        ("\r\n, 192.0.2.7", "192.0.2.7"),
        ("::ffff:10.9.9.9, ::ffff:192.0.2.7, ::ffff:10.1.2.3", "192.0.2.7"),
        # All of them are ours: the first one asks for itself.
        ("10.5.5.5, 10.1.2.3", "10.5.5.5"),
        # The last hop cannot be read, and what stands before it is not to be believed.
        ("192.0.2.7, junk", None),
        ("192.0.2.7, 010.1.2.3", None),
        ("192.0.2.7, \x0b10.1.2.3", None),
        ("192.0.2.7, X10.1.2.3X", None),
        ("192.0.2.7,", None),
        ("", None),
        ("unix:", None),
    ],
)
def test_client__behind_a_trusted_proxy_is_the_last_hop_that_is_not_ours(forwarded, found):
    address = client(Networks(PROXIES), "10.0.0.1", forwarded)
    assert address == (found and ip_address(found))


def test_client__behind_a_socket_that_is_trusted():
    networks = Networks(["unix", "10.0.0.0/8"])
    for peer in ("", "unix:"):
        assert client(networks, peer, "192.0.2.7") == V4
        assert client(networks, peer, "192.0.2.7, 10.0.0.1, unix:") == V4
    assert client(networks, "") is None


def test_client__behind_a_socket_that_is_not():
    for networks in (Networks(), Networks(["10.0.0.0/8"])):
        assert client(networks, "", "192.0.2.7") is None
        assert client(networks, "unix:/run/app.sock", "192.0.2.7") is None


def test_client__of_more_hops_than_there_can_be_cannot_be_read():
    networks = Networks(PROXIES)
    hops = ", ".join(["192.0.2.7", *["10.0.0.2"] * (MAX_HOPS + 1)])
    assert client(networks, "10.0.0.1", hops) is None
    assert client(networks, "10.0.0.1", ", ".join(["192.0.2.7"] * 10_000)) == V4
    assert client(networks, "10.0.0.1", "," * 100_000) is None
    own = ["10.0.0.2"] * (MAX_HOPS - 1)
    assert client(networks, "10.0.0.1", ", ".join(["10.9.9.9", *own])) == ip_address("10.9.9.9")
    assert client(networks, "10.0.0.1", ", ".join(["192.0.2.7", *own])) == V4
    assert client(networks, "10.0.0.1", ", ".join(["10.9.9.9", "10.0.0.2", *own])) is None


def test_client__of_a_mapped_network():
    networks = Networks(["::ffff:10.0.0.0/104"])
    assert client(networks, "10.255.0.1", "192.0.2.7") == V4
    assert client(networks, "11.0.0.1", "192.0.2.7") == ip_address("11.0.0.1")


@pytest.mark.parametrize("peer", [None, "", "unix:", "1.2.3.4:80", "fe80::1%lo", "01.2.3.4", "x"])
def test_client__of_an_odd_peer_is_no_error(peer):
    for networks in (Networks(), Networks(["unix", "0.0.0.0/0"])):
        assert networks.client({"REMOTE_ADDR": peer}) == parse_address(peer or "")
    assert Networks().client({}) is None


def test_client__a_missing_proxy_is_reported_once(caplog):
    networks = Networks(["172.16.0.0/12"])
    for _ in range(3):
        client(networks, "10.0.0.1", "192.0.2.7")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "10.0.0.1" in record.getMessage()
    assert "TRUSTED_PROXIES" in record.getMessage()
    assert "192.0.2.7" not in record.getMessage()


def test_client__a_missing_socket_is_reported(caplog):
    client(Networks(), "", "192.0.2.7")
    assert "add 'unix' to TRUSTED_PROXIES" in caplog.text


def test_client__a_stranger_that_sends_the_header_is_not_reported(caplog):
    client(Networks(), "8.8.8.8", "192.0.2.7")
    client(Networks(["10.0.0.0/8"]), "10.0.0.1", "192.0.2.7")
    client(Networks(), "10.0.0.1")
    assert caplog.records == []


def test_client_address__follows_the_settings(settings):
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.7")
    settings.DJANGO_PARTSTREAM = {}
    assert client_address(request) == ip_address("10.0.0.1")
    settings.DJANGO_PARTSTREAM = {"TRUSTED_PROXIES": ["10.0.0.1"]}
    assert client_address(request) == V4
    assert get_networks() is get_networks()


# Whom to admit


@pytest.mark.parametrize(
    ("allowed", "blocked", "admitted"),
    [
        ([], [], True),
        (["192.0.2.0/24"], [], True),
        (["192.0.2.7"], [], True),
        (["::ffff:192.0.2.0/120"], [], True),
        (["198.51.100.0/24"], [], False),
        (["2001:db8::/32"], [], False),
        ([], ["192.0.2.0/24"], False),
        ([], ["198.51.100.0/24"], True),
        (["192.0.2.0/24"], ["192.0.2.7"], False),
        (["0.0.0.0/0"], ["0.0.0.0/0"], False),
    ],
)
def test_admits__the_blocklist_wins(allowed, blocked, admitted):
    networks = Networks((), allowed, blocked)
    assert networks.admits(V4) is admitted
    assert networks.restricted is bool(allowed or blocked)


def test_admits__what_cannot_be_read_is_in_no_list():
    assert Networks((), [], ["0.0.0.0/0", "::/0"]).admits(None) is True
    assert Networks((), ["0.0.0.0/0", "::/0"], []).admits(None) is False
