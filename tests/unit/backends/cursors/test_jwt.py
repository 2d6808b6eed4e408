from __future__ import annotations

import hmac
import json
import warnings

import pytest

from partstream.exceptions import CursorExpired
from partstream.keys import KeyRing
from tests.support.contracts.cursor_codec import (
    CURSOR,
    ITEMS,
    NEW,
    NOW,
    TTL,
    CursorCodecContract,
    base64url,
)

jwt = pytest.importorskip("jwt", reason="the extra jwt is not installed")

from partstream.backends.cursors.jwt import JWTCursorCodec  # noqa: E402

HEADER = {"alg": "HS256", "typ": "partstream-cursor+jwt"}
CLAIMS = {
    "aud": "partstream",
    "exp": NOW + TTL,
    "iat": NOW,
    "sub": CURSOR.binding,
    "cur": CURSOR.payload()[:-1],
}
ABSENT = object()


def compact(value):
    return json.dumps(value, separators=(",", ":"))


class TestJWTCursorCodec(CursorCodecContract):
    codec_class = JWTCursorCodec
    hides_contents = False

    def sign(self, header, claims, secret=NEW):
        """A token of these two JSON texts, signed as HS256."""
        (key,) = KeyRing([secret]).derive("cursors.jwt")
        signed = f"{base64url(header.encode())}.{base64url(claims.encode())}"
        return f"{signed}.{base64url(hmac.digest(key, signed.encode(), 'sha256'))}"

    def forge(self, items, issued, secret=NEW):
        *rest, binding = items
        claims = (
            f'{{"aud":"partstream","exp":{issued + TTL},"iat":{issued},'
            f'"sub":{binding},"cur":[{",".join(rest)}]}}'
        )
        return self.sign(compact(HEADER), claims, secret)

    # Headers

    @pytest.mark.parametrize(
        "header",
        [
            {"alg": "none"},
            {"alg": "None"},
            {"alg": "HS512"},
            {"alg": "RS256"},
            {"alg": "hs256"},
            {"alg": ["HS256"]},
            {"alg": None},
            {"typ": "JWT"},
            {"typ": None},
            {"kid": "unknown"},
            {"kid": "../../../../dev/null"},
            {"kid": 0},
            {"crit": ["exp"]},
            {"crit": ["unknown"], "unknown": 1},
            {"b64": False},
            {"b64": False, "crit": ["b64"]},
            {"jku": "https://keys.example/jwks.json"},
            {"x5u": "https://keys.example/cert.pem"},
            {"jwk": {"kty": "oct", "k": "AAAA"}},
            {"zip": "DEF"},
            {"x": "y" * 10_000},
        ],
        ids=compact,
    )
    def test_header__any_other_is_refused(self, clock, header):
        self.refused(self.sign(compact({**HEADER, **header}), compact(CLAIMS)))

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "{}",
            "[]",
            "null",
            "not json",
            '{"alg":"HS256"}',
            '{"typ":"partstream-cursor+jwt"}',
            '{"alg": "HS256", "typ": "partstream-cursor+jwt"}',
            '{"typ":"partstream-cursor+jwt","alg":"HS256"}',
            '{"alg":"none","alg":"HS256","typ":"partstream-cursor+jwt"}',
            '{"x":' + "[" * 5000 + "]" * 5000 + "}",
        ],
    )
    def test_header__spelt_in_any_other_way_is_refused(self, clock, header):
        self.refused(self.sign(header, compact(CLAIMS)))

    @pytest.mark.parametrize("signature", ["", "AAAA", "A" * 43])
    @pytest.mark.parametrize("algorithm", ["HS256", "none"])
    def test_header__without_a_signature_is_refused(self, clock, algorithm, signature):
        header = base64url(compact({**HEADER, "alg": algorithm}).encode())
        self.refused(f"{header}.{base64url(compact(CLAIMS).encode())}.{signature}")

    # Claims

    @pytest.mark.parametrize(
        ("claim", "value"),
        [
            *((claim, ABSENT) for claim in CLAIMS),
            *((claim, None) for claim in CLAIMS),
            *(("aud", value) for value in ("other", "", ["partstream"], ["partstream", "other"])),
            *(("aud", value) for value in ({"partstream": 1}, 1, "Partstream", "partstream ")),
            *(("exp", value) for value in (str(NOW + TTL), NOW + 0.5, True, [NOW + TTL], 10**400)),
            *(("exp", value) for value in (float("nan"), float("inf"), NOW, 2**53)),
            *(
                ("iat", value)
                for value in (str(NOW), NOW + 0.5, True, [NOW], float("nan"), 10**400)
            ),
            *(("sub", value) for value in (1, ["a"], {"a": 1}, "other")),
            *(("cur", value) for value in ("1234567", 7, {"a": 1}, [], [[*CURSOR.payload()[:-1]]])),
            ("nbf", NOW - 1),
            ("nbf", NOW + 1000),
            ("iss", "somebody"),
            ("jti", "1"),
            ("admin", True),
        ],
    )
    def test_claims__one_fault_is_refused(self, clock, claim, value):
        claims = {**CLAIMS, claim: value}
        if value is ABSENT:
            del claims[claim]
        self.refused(self.sign(compact(HEADER), compact(claims)))

    @pytest.mark.parametrize("text", ["null", "[]", "7", '"text"', "", "not json", "[" * 5000])
    def test_claims__that_are_no_object_are_refused(self, clock, text):
        self.refused(self.sign(compact(HEADER), text))

    def test_exp__ends_a_token_that_its_ttl_would_not(self, clock):
        token = self.make().encode(CURSOR.payload(), 10)
        clock.shift(11)
        with pytest.raises(CursorExpired):
            self.make().decode(token, TTL)

    def test_exp__is_not_stretched_by_leeway(self, clock):
        token = self.make().encode(CURSOR.payload(), 10)
        clock.shift(10)
        assert self.make().decode(token, TTL) == CURSOR.payload()

    # Whole tokens

    def test_token__is_a_jwt_that_others_can_read(self, token):
        (key,) = KeyRing([NEW]).derive("cursors.jwt")
        options = {"verify_exp": False, "verify_iat": False}
        assert jwt.get_unverified_header(token) == HEADER
        assert jwt.decode(token, key, ["HS256"], audience="partstream", options=options) == CLAIMS

    def test_token__made_by_pyjwt_with_the_secret_itself_is_refused(self, clock):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            token = jwt.encode(CLAIMS, NEW, "HS256", headers={"typ": HEADER["typ"]})
        self.refused(token)

    def test_token__is_refused_by_the_other_codecs(self, token):
        for other in self.others:
            self.refused(token, other(keys=KeyRing([NEW])))

    def test_forge__takes_what_the_codec_takes(self, clock):
        assert self.sign(compact(HEADER), compact(CLAIMS)) == self.make().encode(
            CURSOR.payload(), TTL
        )
        assert self.forge(ITEMS, NOW) == self.make().encode(CURSOR.payload(), TTL)
