"""Walks from their first chunk to their end, and every cursor that cannot be followed."""

from __future__ import annotations

import itertools
import threading

import pytest
import time_machine
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.test import Client, override_settings

from partstream import PartError, ProgressiveView, lazy
from partstream.backends.cursors.signed import SignedCursorCodec
from partstream.backends.loader import get_cursor_codec
from partstream.exceptions import Misuse
from partstream.walks.cursor import Cursor
from tests.support.concurrency import LONG_PATIENCE
from tests.support.walk_client import at, first_cursor, get_json, merged, names, walk

INVALID = (
    b'{"detail":"This cursor is not valid here. Start again without a cursor.",'
    b'"code":"cursor_invalid"}'
)
EXPIRED = (
    b'{"detail":"This cursor has expired. Start again without a cursor.","code":"cursor_expired"}'
)
STALE = (
    b'{"detail":"The parts have changed since this walk began. Start again without a cursor.",'
    b'"code":"cursor_stale"}'
)
NOW = 1_800_000_000


class CountingCodec(SignedCursorCodec):
    """A codec that knows how often it was asked."""

    decoded = 0

    def decode(self, token, ttl):
        type(self).decoded += 1
        return super().decode(token, ttl)


@pytest.fixture
def url(serve, calls):
    """A view of five parts, delivered one by one; all but the first note their calls."""
    parts = [("a", 1), *((name, lazy(calls.loader(name, name * 2))) for name in "bcde")]
    return serve(parts=parts, chunk_size=1)


@pytest.fixture
def refused(client, url, calls):
    """That a request is refused with the one body, and nothing is run for it."""

    def refused(query, body=INVALID, status=400, **extra):
        calls.clear()
        response = client.get(url, QUERY_STRING=query, **extra)
        assert (response.status_code, response.content) == (status, body)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Link" not in response.headers
        assert calls == []
        return response

    return refused


# The way through


def test_walk__delivers_each_part_once_in_order(codec, client, url, calls):
    envelopes = walk(client, url)
    assert [names(envelope) for envelope in envelopes] == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert merged(envelopes) == {"a": 1, "b": "bb", "c": "cc", "d": "dd", "e": "ee"}
    assert calls == ["b", "c", "d", "e"]


def test_walk__says_where_it_stands(client, url):
    meta = [envelope["meta"] for envelope in walk(client, url)]
    assert meta[0] == {
        "total_parts": 5,
        "current_part": 1,
        "has_more": True,
        "pending": ["b", "c", "d", "e"],
    }
    assert meta[1:] == [
        {"total_parts": 5, "current_part": 2, "has_more": True},
        {"total_parts": 5, "current_part": 3, "has_more": True},
        {"total_parts": 5, "current_part": 4, "has_more": True},
        {"total_parts": 5, "current_part": 5, "has_more": False},
    ]


def test_walk__a_cursor_may_be_repeated(codec, client, url):
    first, second = walk(client, url)[:2]
    for _ in range(3):
        again = get_json(client, at(url, first["cursor"]))
        assert again["results"] == second["results"]


def test_walk__branches_go_to_the_end_on_their_own(client, url):
    envelopes = walk(client, url)
    for position, envelope in enumerate(envelopes[:-1]):
        rest = merged(walk(client, url, envelope["cursor"]))
        assert list(rest) == list("abcde")[position + 1 :]


def test_walk__of_no_parts(client, serve):
    assert get_json(client, serve(parts=[])) == {
        "results": [],
        "cursor": None,
        "meta": {"total_parts": 0, "current_part": 0, "has_more": False, "pending": []},
    }


def test_walk__of_2000_parts(codec, client, serve):
    parts = [(f"p{number}", number) for number in range(2000)]
    envelopes = walk(client, serve(parts=parts, chunk_size=50))
    assert len(envelopes) == 40
    assert merged(envelopes) == dict(parts)


@pytest.mark.parametrize(
    "spell",
    [
        lambda token: f"cursor={token}",
        lambda token: f"cursor={token}&",
        lambda token: f"&&cursor={token}",
        lambda token: f"curs%6Fr={token}",
        lambda token: f"cursor=%{ord(token[0]):02X}{token[1:]}",
        lambda token: f"cursor={token}&format=json",
    ],
    ids=itertools.count(),
)
def test_cursor__may_be_spelt_as_urls_can_be(client, url, spell):
    token = first_cursor(client, url)
    response = client.get(url, QUERY_STRING=spell(token))
    assert response.status_code == 200, response.content
    assert names(response.json()) == ["b"]


# Cursors that cannot be followed


@pytest.mark.parametrize(
    "query",
    [
        "cursor=",
        "cursor",
        "cursor=&x=1",
        "cursor=%00",
        "cursor=a%00",
        "cursor=%0D%0A",
        "cursor=a%0D%0ASet-Cookie:x=1",
        "cursor=%ED%A0%80",
        "cursor=%C3%A9",
        "cursor=é",
        "cursor=%FF",
        "cursor=%",
        "cursor=a+b",
        "cursor=a b",
        "cursor==",
        "cursor=../../etc/passwd",
        "cursor=null",
        "cursor=-1",
        "cursor=junk",
        "cursor=" + "A" * 1024,
        "cursor=" + "A" * 1025,
        "cursor=" + "A" * 8000,
        "cursor=a&cursor=a",
        "cursor=&cursor=",
        "curs%6Fr=",
    ],
    ids=itertools.count(),
)
def test_cursor__that_is_none_is_invalid(codec, refused, query):
    refused(query)


@pytest.mark.parametrize(
    "spell",
    [
        lambda token: f"cursor={token}&cursor={token}",
        lambda token: f"cursor={token}&curs%6Fr={token}",
        lambda token: f"cursor={token}&cursor=",
        lambda token: f"cursor=&cursor={token}",
        lambda token: f"cursor={token}%00",
        lambda token: f"cursor={token}%0A",
        lambda token: f"cursor={token}+",
        lambda token: f"cursor=+{token}",
        lambda token: f"cursor={token}=",
        lambda token: f"cursor={token}%3D",
        lambda token: f"cursor={token}%3D%3D",
        lambda token: f"cursor={token}A",
        lambda token: f"cursor={token[:-1]}",
        lambda token: f"cursor={token[1:]}",
        lambda token: f"cursor={token.swapcase()}",
        lambda token: f"cursor={token}&x=1",
        lambda token: f"x&cursor={token}",
        lambda token: f"cursor={token}&Cursor={token}",
        lambda token: f"cursor={token};x=1",
    ],
    ids=itertools.count(),
)
def test_cursor__a_good_one_spoilt_is_invalid(codec, client, url, refused, spell):
    refused(spell(first_cursor(client, url)))


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, 2),
        (2, -1),
        (2, 1.5),
        (2, 6),
        (2, True),
        (2, None),
        (2, 10**300),
        (3, "0"),
        (3, "f" * 100),
        (4, 4000),
        (6, "x"),
        (6, "A" * 22),
        (7, "more"),
    ],
)
def test_cursor__well_made_of_a_wrong_schema_is_invalid(
    codec, client, url, refused, position, value
):
    backend = get_cursor_codec()
    payload = backend.decode(first_cursor(client, url), 3600)
    payload[position : position + 1] = [value]
    refused(f"cursor={backend.encode(payload, 3600)}")


def test_cursor__with_a_field_missing_is_invalid(codec, client, url, refused):
    backend = get_cursor_codec()
    payload = backend.decode(first_cursor(client, url), 3600)
    for position in range(len(payload)):
        less = payload[:position] + payload[position + 1 :]
        refused(f"cursor={backend.encode(less, 3600)}")


def test_cursor__of_another_codec_is_invalid(client, url, refused, settings):
    token = first_cursor(client, url)
    settings.DJANGO_PARTSTREAM = {
        "CURSOR_CODEC": "partstream.backends.cursors.signed.SignedCursorCodec"
    }
    refused(f"cursor={token}")


def test_cursor__of_another_key_is_invalid(codec, client, url, refused, settings):
    token = first_cursor(client, url)
    settings.SECRET_KEY = "another secret key altogether"
    refused(f"cursor={token}")


def test_cursor__longer_than_the_setting_is_invalid(codec, client, url, refused, settings):
    token = first_cursor(client, url)
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec, "MAX_CURSOR_SIZE": 128}
    refused(f"cursor={token}")


@pytest.mark.parametrize(
    "query",
    ["cursor=", "cursor=%00", "cursor=" + "A" * 1025, "cursor=a&cursor=a", "cursor=%C3%A9"],
    ids=itertools.count(),
)
def test_cursor__of_a_wrong_form_reaches_no_codec(settings, refused, query):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": f"{__name__}.CountingCodec"}
    CountingCodec.decoded = 0
    refused(query)
    assert CountingCodec.decoded == 0


def test_cursor__is_decoded_once(settings, client, url):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": f"{__name__}.CountingCodec"}
    token = first_cursor(client, url)
    CountingCodec.decoded = 0
    get_json(client, at(url, token))
    assert CountingCodec.decoded == 1


def test_cursor__what_a_codec_raises_is_invalid(settings, refused):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": f"{__name__}.CrashingCodec"}
    refused("cursor=abc")


class CrashingCodec(SignedCursorCodec):
    """A codec with a fault of its own."""

    def unseal(self, token):
        raise ZeroDivisionError("the codec's own text")


def test_cursor__the_reason_is_in_the_log(client, url, refused, caplog):
    caplog.set_level("INFO", logger="partstream")
    response = refused("cursor=abc&cursor=abc")
    (record,) = [record for record in caplog.records if record.name == "partstream.requests"]
    assert record.getMessage() == (
        "ServedView refused a cursor: the cursor is given more than once. "
        f"(request {response.headers['X-Request-ID']})"
    )


# Age


@pytest.mark.parametrize(("age", "status"), [(0, 200), (3599, 200), (3600, 200), (-59, 200)])
def test_age__within_the_ttl_is_followed(codec, client, url, age, status):
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(age)
        assert client.get(at(url, token)).status_code == status


@pytest.mark.parametrize("age", [3601, 10**8])
def test_age__beyond_the_ttl_is_expired(codec, client, url, refused, age):
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(age)
        refused(f"cursor={token}", EXPIRED, 410)


@pytest.mark.parametrize("ahead", [61, 10**8])
def test_age__from_the_future_is_invalid(codec, client, url, refused, ahead):
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(-ahead)
        refused(f"cursor={token}")


def test_age__each_chunk_begins_anew(codec, client, url):
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        for _ in range(3):
            clock.shift(3599)
            token = get_json(client, at(url, token))["cursor"]
        assert token is not None


def test_age__the_view_may_say_how_much(codec, client, serve):
    url = serve(parts=[("a", 1), ("b", 2), ("c", 3)], cursor_ttl=10, chunk_size=1)
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(10)
        assert client.get(at(url, token)).status_code == 200
        clock.shift(1)
        assert client.get(at(url, token)).content == EXPIRED


def test_age__expiry_tells_nothing_of_a_forged_cursor(codec, client, url, refused):
    with time_machine.travel(NOW, tick=False) as clock:
        token = first_cursor(client, url)
        clock.shift(10**6)
        refused(f"cursor={token[:-2]}")


# Declarations that change on the way


@pytest.fixture
def changing(serve):
    """A view whose declaration can be exchanged."""
    declared = []
    url = serve(get_parts=lambda self: [(name, name) for name in declared], chunk_size=1)

    def declare(*names):
        declared[:] = names
        return url

    return declare


@pytest.mark.parametrize(
    "changed",
    [
        ("b", "a", "c"),
        ("a", "c", "b"),
        ("a", "b"),
        ("b", "c"),
        ("a",),
        (),
        ("a", "b", "C"),
        ("A", "b", "c"),
        ("x", "a", "b", "c"),
        ("a", "x", "b", "c"),
        ("a", "b", "x", "c"),
        ("ab", "c"),
    ],
    ids=",".join,
)
def test_stale__the_parts_are_no_longer_there_in_that_order(codec, client, changing, changed):
    token = first_cursor(client, changing("a", "b", "c"))
    response = client.get(at(changing(*changed), token))
    assert (response.status_code, response.content) == (409, STALE)
    assert client.head(at(changing(*changed), token)).status_code == 409


def test_stale__appended_parts_belong_to_the_next_walk(codec, client, changing):
    token = first_cursor(client, changing("a", "b", "c"))
    envelopes = walk(client, changing("a", "b", "c", "d", "e"), token)
    assert merged(envelopes) == {"b": "b", "c": "c"}
    assert envelopes[-1]["meta"] == {"total_parts": 3, "current_part": 3, "has_more": False}


def test_stale__parts_that_came_back_are_fine(client, changing):
    token = first_cursor(client, changing("a", "b", "c"))
    assert client.get(at(changing("a"), token)).status_code == 409
    assert client.get(at(changing("a", "b", "c"), token)).status_code == 200


# Retries


@pytest.fixture
def flaky(serve, calls):
    """A view of which one part fails as long as ``flaky.broken`` is set."""

    class Flaky:
        broken = True

    def load(request, base):
        calls.append("flaky")
        if Flaky.broken:
            raise PartError("Not yet.", code="not_yet")
        return base

    Flaky.url = serve(
        parts=[
            ("first", 1),
            ("base", lazy(calls.loader("base", "ground"))),
            ("flaky", lazy(load, depends_on=["base"])),
            ("last", lazy(calls.loader("last"))),
        ],
        chunk_size=3,
    )
    return Flaky


def test_retry__delivers_just_that_part(codec, client, flaky, calls):
    (error,) = get_json(client, flaky.url)["errors"]
    flaky.broken = False
    calls.clear()
    assert get_json(client, at(flaky.url, error["retry_cursor"])) == {
        "results": [{"flaky": "ground"}],
        "cursor": None,
        "meta": {"total_parts": 4, "current_part": 4, "has_more": False},
    }
    assert calls == ["flaky"]  # What it depends on was kept.


def test_retry__that_fails_may_be_tried_again(codec, client, flaky):
    (error,) = get_json(client, flaky.url)["errors"]
    for _ in range(3):
        envelope = get_json(client, at(flaky.url, error["retry_cursor"]))
        assert (envelope["results"], envelope["cursor"]) == ([], None)
        (error,) = envelope["errors"]
        assert error == {
            "part": "flaky",
            "code": "not_yet",
            "detail": "Not yet.",
            "retryable": True,
            "retry_cursor": error["retry_cursor"],
        }


def test_retry__does_not_stop_the_walk(client, flaky):
    envelopes = walk(client, flaky.url)
    assert list(merged(envelopes)) == ["first", "base", "last"]
    assert len(envelopes) == 2


def test_retry__belongs_to_its_walk(codec, client, flaky):
    envelope = get_json(client, flaky.url)
    backend = get_cursor_codec()
    onward = backend.decode(envelope["cursor"], 3600)
    retry = backend.decode(envelope["errors"][0]["retry_cursor"], 3600)
    assert retry[1] == onward[1]
    assert (onward[2:4], retry[2:4]) == ([3, ""], [2, "1"])


# Keys that change on the way


def ring(number):
    """The keys after ``number`` rotations, the newest first."""
    return [f"the {index:03} key of a long row of keys" for index in range(number, -1, -1)]


def test_rotation__the_walk_goes_on_under_the_new_key(codec, client, url, settings):
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec, "CURSOR_KEYS": ring(0)}
    token = first_cursor(client, url)
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec, "CURSOR_KEYS": ring(1)}
    token = get_json(client, at(url, token))["cursor"]
    settings.DJANGO_PARTSTREAM = {"CURSOR_CODEC": codec, "CURSOR_KEYS": ring(1)[:1]}
    assert list(merged(walk(client, url, token))) == ["c", "d", "e"]


def test_rotation__of_a_secret_key_ends_no_walk(codec, client, url, settings):
    token = first_cursor(client, url)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new secret key of the project"
    token = get_json(client, at(url, token))["cursor"]
    settings.SECRET_KEY_FALLBACKS = []
    assert list(merged(walk(client, url, token))) == ["c", "d", "e"]


def rotate(configured):
    """Change the setting under running threads.

    `override_settings` has a moment in which there are no settings at all.
    """
    django_settings.DJANGO_PARTSTREAM = configured
    for enter in (True, False):
        setting_changed.send(
            django_settings, setting="DJANGO_PARTSTREAM", value=configured, enter=enter
        )


def test_rotation__under_eight_threads_that_walk(serve):
    url = serve(parts=[(f"p{number}", number) for number in range(5)], chunk_size=1)
    rotated, walked = threading.Event(), threading.Semaphore(0)
    faults, walks = [], []

    def keep_walking():
        try:
            client = Client()
            while not rotated.is_set():
                walks.append(len(merged(walk(client, url))))
                walked.release()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            faults.append(error)
            walked.release(1000)

    threads = [threading.Thread(target=keep_walking) for _ in range(8)]
    with override_settings(DJANGO_PARTSTREAM={"CURSOR_KEYS": ring(0)}):
        for thread in threads:
            thread.start()
        for number in range(1, 101):
            assert walked.acquire(timeout=LONG_PATIENCE)
            rotate({"CURSOR_KEYS": ring(number)})
        rotated.set()
        for thread in threads:
            thread.join(LONG_PATIENCE)
    assert faults == []
    assert set(walks) == {5}


# A token that grows too long


def test_issue__a_token_too_long_names_view_and_setting(serve, client, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 128}
    url = serve(parts=[("a", 1), ("b", 2)], chunk_size=1)
    with pytest.raises(Misuse) as caught:
        client.get(url)
    message = str(caught.value)
    assert message.startswith("ServedView: a cursor over 2 parts has up to ")
    assert "MAX_CURSOR_SIZE is 128. Raise the setting, or declare fewer parts." in message


def test_issue__nothing_is_too_long_where_no_cursor_is_needed(serve, client, settings):
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 128}
    assert get_json(client, serve(base=ProgressiveView, parts=[("a", 1)]))["cursor"] is None


def test_issue__the_longest_token_of_a_walk_has_to_fit_from_the_first(serve, client, settings):
    # A retry cursor near the front is the longest; no part has to fail for it to be found.
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 400}
    url = serve(parts=[(f"p{number}", number) for number in range(1501)])
    with pytest.raises(Misuse, match="a cursor over 1501 parts has up to"):
        client.get(url)


@pytest.mark.parametrize("count", [12, 1501, 1502])
def test_issue__the_longest_token_may_be_as_long_as_the_setting(serve, client, settings, count):
    codec = {"CURSOR_CODEC": "partstream.backends.cursors.signed.SignedCursorCodec"}
    settings.DJANGO_PARTSTREAM = codec
    full = Cursor("w" * 16, 0, (1 << count - 1) - 1, count, "d" * 16, "b" * 22)
    longest = len(get_cursor_codec().encode(full.payload(), 60))
    url = serve(parts=[(f"p{number}", number) for number in range(count)])
    settings.DJANGO_PARTSTREAM = {**codec, "MAX_CURSOR_SIZE": longest}
    assert client.get(url).status_code == 200
    settings.DJANGO_PARTSTREAM = {**codec, "MAX_CURSOR_SIZE": longest - 1}
    with pytest.raises(Misuse, match=f"has up to {longest} characters"):
        client.get(url)


def test_issue__the_longest_token_is_that_of_all_parts_of_now(serve, client, settings):
    # A walk of few parts goes on while many were appended: the many have to fit as well.
    settings.DJANGO_PARTSTREAM = {"MAX_CURSOR_SIZE": 400}
    declared = [(f"p{number}", number) for number in range(6)]
    url = serve(get_parts=lambda self: declared)
    token = first_cursor(client, url)
    declared = declared + [(f"p{number}", number) for number in range(6, 1501)]
    with pytest.raises(Misuse, match="a cursor over 1501 parts has up to"):
        client.get(at(url, token))
