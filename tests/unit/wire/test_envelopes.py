from __future__ import annotations

import json

import pytest
from rest_framework.exceptions import ErrorDetail

from partstream import exceptions
from partstream.parts.outcome import Failure, Outcome
from partstream.wire import envelopes
from partstream.wire.envelopes import manifest
from partstream.wire.errors import REQUEST_ERRORS, to_api_exception, with_code
from partstream.wire.schemas import EnvelopeSerializer, ManifestSerializer


def envelope(*args, **kwargs):
    """An envelope, joined."""
    return b"".join(envelopes.envelope(*args, **kwargs))


GOOD = Outcome("good", b"[1]", None, 0.1, "loader")


def failed(**failure):
    return Outcome("bad", None, Failure(**{"code": "part_failed", **failure}), 0.1, "loader")


def test_envelope__of_nothing():
    assert json.loads(envelope([], total=0, current=0)) == {
        "results": [],
        "cursor": None,
        "meta": {"total_parts": 0, "current_part": 0, "has_more": False},
    }


def test_envelope__of_everything():
    body = envelope(
        [GOOD, failed(exception="KeyError: 'x'"), Outcome("more", b"null", None, 0, "immediate")],
        total=5,
        current=3,
        cursor="TOKEN",
        retry_cursors={"bad": "AGAIN"},
        manifest_url="/é/manifest/",
    )
    assert body.decode() == (
        '{"results":[{"good":[1]},{"more":null}],'
        '"errors":[{"part":"bad","code":"part_failed","detail":"This part could not be loaded.",'
        '"retryable":true,"retry_cursor":"AGAIN","exception":"KeyError: \'x\'"}],'
        '"cursor":"TOKEN","meta":{"total_parts":5,"current_part":3,"has_more":true,'
        '"manifest_url":"/é/manifest/"}}'
    )


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("part_failed", "This part could not be loaded."),
        ("part_forbidden", "You do not have permission to see this part."),
        ("part_not_found", "What this part shows does not exist."),
        ("part_invalid", "This part cannot be loaded with these parameters."),
        ("part_throttled", "This part was asked for too often. Try again later."),
        ("dependency_failed", "Another part that this one needs could not be loaded."),
        ("not_serializable", "This part's data could not be written as JSON."),
    ],
)
def test_envelope__an_error_has_the_standing_text_of_its_code(code, detail):
    body = json.loads(envelope([failed(code=code, retryable=False)], total=1, current=1))
    assert body["errors"] == [{"part": "bad", "code": code, "detail": detail, "retryable": False}]
    assert body["results"] == []


def test_envelope__an_error_may_have_a_wait_and_problems():
    outcome = failed(code="part_throttled", retry_after=7, problems={"since": ["No date."]})
    (error,) = json.loads(envelope([outcome], total=1, current=1))["errors"]
    assert (error["retry_after"], error["problems"]) == (7, {"since": ["No date."]})


def test_envelope__an_error_may_have_its_own_text_even_an_empty_one():
    for detail in ("Closed.", ""):
        body = json.loads(envelope([failed(code="closed", detail=detail)], total=1, current=1))
        assert body["errors"][0]["detail"] == detail


def test_envelope__refuses_an_outcome_that_is_neither():
    with pytest.raises(TypeError, match="neither data nor a failure"):
        envelope([Outcome("odd", None, None, 0, "loader")], total=1, current=1)


def test_manifest__keeps_the_declared_order():
    parts = {"b": {"size": None}, "a": {"size": "large"}}
    body = json.loads(manifest(parts, {"walk": "/x/"}))
    assert body == {"parts": parts, "meta": {"total_parts": 2}, "links": {"walk": "/x/"}}
    assert list(body["parts"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (exceptions.InvalidCursor("the true reason"), 400, "cursor_invalid"),
        (exceptions.CursorExpired("the true reason"), 410, "cursor_expired"),
        (exceptions.StaleCursor("the true reason"), 409, "cursor_stale"),
        (exceptions.InvalidKeys("For the client."), 400, "keys_invalid"),
        (exceptions.UnknownPart(), 400, "part_unknown"),
        (exceptions.InvalidRequest("For the client."), 400, "request_invalid"),
    ],
)
def test_to_api_exception__gives_status_and_code(error, status, code):
    answer = to_api_exception(error)
    assert answer.status_code == status
    assert answer.get_codes() == code
    assert "true reason" not in str(answer.detail)


def test_to_api_exception__of_a_subclass_is_that_of_its_class():
    class OwnInvalid(exceptions.InvalidCursor):
        pass

    assert to_api_exception(OwnInvalid("x")).get_codes() == "cursor_invalid"


def test_to_api_exception__leaves_others_alone():
    error = exceptions.PartError("Closed.")
    assert to_api_exception(error) is error
    assert len(REQUEST_ERRORS) == 9


@pytest.mark.parametrize(
    ("data", "coded"),
    [
        (
            {"detail": ErrorDetail("No.", "not_found")},
            {"detail": "No.", "code": "not_found"},
        ),
        ({"detail": "No."}, {"detail": "No."}),
        ({"detail": ErrorDetail("No.", "x"), "more": 1}, {"detail": "No.", "more": 1}),
        ({"error": {"message": "No."}}, {"error": {"message": "No."}}),
        (["No."], ["No."]),
        (None, None),
    ],
)
def test_with_code__adds_to_the_plain_shape_only(data, coded):
    assert with_code(data) == coded


def test_serializers__describe_what_is_sent():
    body = envelope(
        [GOOD, failed()],
        total=3,
        current=2,
        cursor="TOKEN",
        retry_cursors={"bad": "AGAIN"},
        manifest_url="/x/",
    )
    serializer = EnvelopeSerializer(data=json.loads(body))
    assert serializer.is_valid(), serializer.errors
    assert serializer.validated_data == json.loads(body)
    body = manifest({"a": {"size": None, "dependencies": [], "lazy": True}}, {"walk": "/x/"})
    serializer = ManifestSerializer(data=json.loads(body))
    assert serializer.is_valid(), serializer.errors
