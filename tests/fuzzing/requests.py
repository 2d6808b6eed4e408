"""Requests with junk in each place that a client writes to, and what their answers may be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote_from_bytes

from django.http import QueryDict

from partstream.security.validation import MAX_QUERY_LENGTH
from partstream.wire.stream_parsing import NDJSONParser, RecordParser, SSEParser

from .connections import Answer
from .settings import CANARY
from .tokens import ODD, PRINTABLE, Tokens

WALK = b"/fuzzed/"
#: The one body of each refusal of a cursor, by its status.
REFUSALS = {
    400: b'{"detail":"This cursor is not valid here. Start again without a cursor.",'
    b'"code":"cursor_invalid"}',
    409: b'{"detail":"The parts have changed since this walk began. Start again without a cursor.",'
    b'"code":"cursor_stale"}',
    410: b'{"detail":"This cursor has expired. Start again without a cursor.",'
    b'"code":"cursor_expired"}',
}
#: Names that a binding does not know of.
PROTOCOL = {"cursor", "format"}

JSON_TYPE = b"application/json"
#: Media type of a stream -> what reads it.
STREAMS = {b"application/x-ndjson": NDJSONParser, b"text/event-stream": SSEParser}
EVENT_IDS = [
    *(b"junk", b"a" * 5000, b"\xe9", b"%41", b"null", b"[1]", b"a, b", b"a;b", b"a b", b"=", b"0"),
    *(b"gAAAAA==", b"eyJ.eyJ.x", b"a" * 1024, b"a" * 1025, b"-", b"\xff" * 9, b'"', b"../x", b""),
]
#: Bytes that a header may have, as servers see it.
IN_HEADERS = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
FORWARDED = [
    *(b"192.0.2.7", b"192.0.2.7:443", b"[2001:db8::7]:443", b"2001:db8::7", b"10.1.2.3", b""),
    *(b"unix:", b"unknown", b"_hidden", b"fe80::1%eth0", b"::ffff:10.0.0.1", b"01.2.3.4"),
    *(b"0x7f.1", b"1.2.3.4.5", b"[::1", b"::1]", b":", b"::", b"%", b"1" * 3000, b"\xd9\xa3", b","),
    *(b"10.1.2.3," * 40, b"198.51.100.7", b"::ffff:198.51.100.7", b"127.0.0.1:", b'for="_x"'),
]
ACCEPTS = [
    *(b"*/*", b"application/json", b"text/html", b"application/x-ndjson", b"text/event-stream"),
    *(b"application/json; indent=4", b"application/json;indent=x", b"application/json; q=x"),
    *(b"a/b, */*", b"a", b"/", b"*", b"*/json", b";", b",", b"", b"application/*;indent=4"),
    *(b"application/json;indent=99999999", b"application/json;q=-1", b"*/*;q=0"),
    *(b"application/json" + b";a=b" * 500, b"a/b," * 2000, b"\xe2\x80\xa8", b"text/plain;\xff"),
    *(b"application/json;indent=-1", b'application/json;indent="4"', b"application/json;;;"),
]
AUTHORIZATIONS = [
    *(b"Bearer x", b"Bearer \xff\xfe", b"Bearer", b"bearer \x85", b"Basic", b"Basic x", b"Basic ="),
    *(b"Basic eDp5", b"Basic //79", b"Basic eA==", b"Basic AA==", b"Basic a b", b"Digest x", b""),
    *(b"Basic " + b"A" * 9000, b"Bearer " + b"A" * 9000, b"\xe9", b"Basic \xe9:\xe9"),
]
HOSTS = [
    *(b"localhost", b"LOCALHOST", b"localhost:80", b"localhost:x", b"evil.example", b"localhost."),
    *(b"", b"[::1]", b"[", b"local host", b"\xe9", b"localhost:99999999", b"a" * 5000, b"%00"),
    *(b"localhost/x", b"localhost?x", b"localhost#x", b"localhost\\x", b"user@localhost", b"@"),
]
COOKIES = [
    *(b"sessionid=", b"sessionid=x", b"sessionid=" + b"x" * 32, b"sessionid=\xe9" * 9, b"=", b";"),
    *(b'sessionid="\\000\\377aaaaaaaa"', b"sessionid=" + b"y" * 9000, b"a=b; " * 500, b"\xff"),
    *(b'sessionid="', b"sessionid=../../etc/passwd", b"csrftoken=x; sessionid=zzzzzzzzzz"),
]
KEYS = [b"meta", b"orders", b"news", b"broken", f"{CANARY}_margins".encode(), b"nothing", b"last"]
METHODS = [b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"FOO"]
PATHS = [
    *(b"/fuzzed", b"/fuzzed//", b"/fuzzed/%00", b"/fuzzed/parts", b"/fuzzed/parts/x", b"/", b"//"),
    *(b"/years/1/", b"/years/-1/", b"/years/%D9%A3/", b"/years/" + b"9" * 5000 + b"/", b"/%FF/"),
    *(b"/fuzzed/../fuzzed/", b"/fuzzed/%2e%2e/", b"/fuzzed/;x", b"/\xe9/", b"/years/%/"),
]


@dataclass(frozen=True)
class Request:
    """One request as it is sent.

    Attributes:
        kind: Where its junk is.
        token: Whether it is one of the tokens.
        method: The method.
        data: All of its bytes.
        statuses: What may answer it.
        body: What has to, for some of those statuses.
        ours: Whether it comes to a view for certain, and not to an error of the server or Django.
    """

    kind: str
    token: bool
    method: bytes
    data: bytes
    statuses: frozenset[int]
    body: dict[int, bytes] = field(default_factory=dict)
    ours: bool = False


class Requests:
    """Makes requests.

    Args:
        tokens: Makes those with a token.
        random: What chooses.
        limited: Whether the server counts, and believes ``X-Forwarded-For``.
    """

    def __init__(self, tokens: Tokens, random: Random, *, limited: bool) -> None:
        self._tokens = tokens
        self._random = random
        #: Beside what a request deserves.
        self._always = frozenset({429} if limited else ())
        self._limited = limited
        self._others = [
            *(self._keys, self._debug, self._format, self._accept, self._request_id),
            *(self._forwarded, self._authorization, self._cookie, self._host, self._path),
            *(self._method, self._raw, self._long_query, self._last_event_id),
        ]

    def with_token(self) -> Request:
        """A request with a token, whose one answer is known."""
        kind, query = self._tokens.query(self._random)
        status = self._answer_of(query)
        headers = self._harmless() if self._random.random() < 0.2 else []
        body = {status: REFUSALS[status]} if status in REFUSALS else {}
        if len(query) > MAX_QUERY_LENGTH:
            body = {}
        return self._request(
            kind, {status}, WALK + b"?" + query, headers, token=True, body=body, ours=True
        )

    def other(self) -> Request:
        """A request with junk somewhere else."""
        return self._random.choice(self._others)()

    def _answer_of(self, query: bytes) -> int:
        """By a reading of the contract that shares no line with the code."""
        if len(query) > MAX_QUERY_LENGTH:
            return 400
        values = QueryDict(query)
        if set(values) - PROTOCOL or len(values.getlist("cursor")) != 1:
            return 400
        return self._tokens.known.get(values["cursor"], 400)

    def _request(
        self,
        kind: str,
        statuses: set[int],
        target: bytes = WALK,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        method: bytes = b"GET",
        host: bytes = b"localhost",
        token: bool = False,
        body: dict[int, bytes] | None = None,
        ours: bool = False,
    ) -> Request:
        headers = headers or []
        if self._limited and not any(name == b"X-Forwarded-For" for name, _ in headers):
            # Not all of them are one client.
            headers = [*headers, (b"X-Forwarded-For", self._address())]
        lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: " + host]
        lines += [name + b": " + value for name, value in headers]
        data = b"\r\n".join(lines) + b"\r\n\r\n"
        allowed = self._always | statuses
        return Request(kind, token, method, data, frozenset(allowed), body or {}, ours)

    def _address(self) -> bytes:
        # A third is one client, which has used up its limits soon; the others are a flood.
        number = self._random.randrange(256**2) if self._random.random() < 0.67 else 0
        return b"192.0.%d.%d, 10.0.0.1" % divmod(number, 256)

    def _bytes(self, alphabet: bytes, most: int = 30) -> bytes:
        return bytes(self._random.choices(alphabet, k=self._random.randint(0, most)))

    def _one_of(self, listed: list[bytes], alphabet: bytes = IN_HEADERS) -> bytes:
        """One of the list, two of them, or anything."""
        choice = self._random.random()
        if choice < 0.6:
            return self._random.choice(listed)
        if choice < 0.8:
            return self._random.choice((b", ", b"", b";")).join(self._random.choices(listed, k=2))
        return self._bytes(alphabet).strip()

    def _harmless(self) -> list[tuple[bytes, bytes]]:
        """Junk in headers that no answer depends on."""
        headers = [
            (b"X-Request-ID", self._one_of([b"a", b"a" * 65, b"a" * 3000, b"\xe9", b"a b", b""])),
            (b"User-Agent", self._bytes(IN_HEADERS).strip()),
            (b"Accept-Language", self._one_of([b"de", b"x" * 600, b"de;q=x", b"*", b"de,"])),
        ]
        if not self._limited:
            headers.append((b"X-Forwarded-For", self._one_of(FORWARDED)))
        return self._random.sample(headers, k=self._random.randint(1, len(headers)))

    # One for each place

    def _parameter(self, name: bytes, listed: list[bytes]) -> bytes:
        value = self._one_of([*listed, *ODD], bytes(range(256)))
        query = name + b"=" + quote_from_bytes(value, safe=",").encode()
        return query + b"&" + query if self._random.random() < 0.1 else query

    def _keys(self) -> Request:
        names = b",".join(self._random.choices(KEYS, k=self._random.choice((1, 2, 3, 11))))
        query = self._parameter(b"keys", [names, names, names, b"", b",", b"meta,", b"meta, news"])
        return self._request("keys", {200, 400}, b"/fuzzed/parts/?" + query)

    def _debug(self) -> Request:
        target = self._random.choice((WALK, b"/fuzzed/parts/", b"/fuzzed/manifest/"))
        query = self._parameter(b"debug", [b"1", b"0", b"true", b""])
        return self._request("debug", {200, 400}, target + b"?keys=meta&" + query)

    def _format(self) -> Request:
        target = self._random.choice((WALK, b"/fuzzed/parts/", b"/fuzzed/manifest/"))
        query = self._parameter(b"format", [b"json", b"api", b"html", b"../x", b""])
        return self._request("format", {200, 400, 404}, target + b"?keys=meta&" + query)

    def _accept(self) -> Request:
        return self._request("Accept", {200, 406}, headers=[(b"Accept", self._one_of(ACCEPTS))])

    def _request_id(self) -> Request:
        return self._request("harmless headers", {200}, headers=self._harmless())

    def _forwarded(self) -> Request:
        headers = [(b"X-Forwarded-For", self._one_of(FORWARDED))]
        for name in (b"X-Forwarded-For", b"X-Real-IP", b"Forwarded", b"X-Forwarded-Host"):
            if self._random.random() < 0.2:
                headers.append((name, self._one_of(FORWARDED)))
        # 403: one of the addresses is blocked where they are believed.
        statuses = {200, 403} if self._limited else {200}
        return self._request("X-Forwarded-For", statuses, headers=headers)

    def _authorization(self) -> Request:
        headers = [(b"Authorization", self._one_of(AUTHORIZATIONS))]
        return self._request("Authorization", {200, 401, 403}, headers=headers)

    def _cookie(self) -> Request:
        return self._request("Cookie", {200}, headers=[(b"Cookie", self._one_of(COOKIES))])

    def _host(self) -> Request:
        return self._request("Host", {200, 400}, host=self._one_of(HOSTS))

    def _path(self) -> Request:
        target = self._one_of(PATHS, PRINTABLE + b"%%//")
        return self._request("path", {200, 400, 404}, b"/" + target.lstrip(b"/"))

    def _method(self) -> Request:
        target = self._random.choice((WALK, b"/fuzzed/parts/?keys=meta", b"/fuzzed/manifest/"))
        method = self._random.choice(METHODS)
        return self._request("method", {200, 405}, target, method=method)

    def _raw(self) -> Request:
        query = self._parameter(self._random.choice((b"cursor", b"keys", b"debug")), [b"meta"])
        place = self._random.randrange(len(query))
        junk = self._random.choice([*ODD, self._bytes(bytes(range(256)), 5), b"#", b"\r\nX: y"])
        target = WALK + b"?" + query[:place] + junk + query[place:]
        return self._request("raw bytes", {200, 400, 404, 405, 406}, target)

    def _long_query(self) -> Request:
        query = self._random.choice((b"x=1&" * 1500, b"&" * 8193, b"y" * 8193, b"a&" * 1001))
        return self._request("long query", {200, 400}, WALK + b"?" + query)

    def _last_event_id(self) -> Request:
        value = self._one_of(EVENT_IDS)
        headers = [(b"Accept", b"text/event-stream"), (b"Last-Event-ID", value)]
        statuses = {400} if value else {200}
        return self._request("Last-Event-ID", statuses, headers=headers, body={400: REFUSALS[400]})


def fault(request: Request, answer: Answer) -> str | None:
    """What is wrong with an answer; None: nothing."""
    if answer.status >= 500:
        return f"it is a {answer.status}"
    if CANARY.encode() in answer.raw.lower() or b"Traceback" in answer.raw:
        return "an internal is in it"
    html = answer.headers.get(b"content-type", b"").startswith(b"text/html")
    if b"x-request-id" not in answer.headers or (request.kind == "Host" and html):
        # It never came to a view: the server or Django refused it. A host that is none does, and
        # Django refuses it there.
        if request.ours or answer.status < 400:
            return "no view answered"
        return None
    if answer.status not in request.statuses:
        return f"its status is {answer.status}, and not in {sorted(request.statuses)}"
    if answer.status in request.body and answer.body != request.body[answer.status]:
        return "its body is not the one of its refusal"
    if request.method == b"HEAD":
        return None
    content_type = answer.headers.get(b"content-type", b"")
    if answer.status == 200 and content_type in STREAMS:
        return stream_fault(STREAMS[content_type](), answer.body)
    if not content_type.startswith(JSON_TYPE):
        return "it is not JSON by its Content-Type"
    try:
        content = json.loads(answer.body)
    except ValueError:
        return "it is not JSON"
    if answer.status >= 400 and not {"detail", "code"} <= content.keys():
        return "it has no detail and code"
    return None


def stream_fault(parser: RecordParser, body: bytes) -> str | None:
    """What is wrong with a stream; None: nothing."""
    try:
        records = list(parser.feed(body))
    except ValueError:
        return "a record is not JSON"
    if not records or records[-1]["cursor"] is not None:
        return "it has no end"
    return "it broke" if any("stream_error" in record for record in records) else None
