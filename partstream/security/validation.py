"""The grammar of a request: what a protocol parameter may look like.

It is a grammar and no list of bad words: parameters of the application are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Container

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest

from partstream.exceptions import InvalidCursor, InvalidKeys, InvalidRequest

#: Characters of the longest query string.
MAX_QUERY_LENGTH = 8192

#: A part's name, and so a key.
PART_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_KEYS = re.compile(rf"{PART_NAME}(?:,{PART_NAME})*")
#: RFC 3986's unreserved characters, of which every codec makes its tokens.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")


def validate_query(request: HttpRequest, parameters: Container[str]) -> None:
    """Refuse a query that is too long, or one of these parameters repeated or with controls.

    Args:
        request: Django's own request.
        parameters: Names of the protocol's parameters that have no finer check of their own.

    Raises:
        InvalidRequest: With a text for the client.
    """
    if len(request.META.get("QUERY_STRING", "")) > MAX_QUERY_LENGTH:
        raise InvalidRequest(f"The query is longer than {MAX_QUERY_LENGTH} characters.")
    try:
        values = request.GET
    except SuspiciousOperation as error:
        raise InvalidRequest("The query has too many parameters.") from error
    for name in values:
        if name in parameters:
            given = values.getlist(name)
            if len(given) > 1:
                raise InvalidRequest(f"The parameter {name!r} is given more than once.")
            if _CONTROL.search(given[0]):
                raise InvalidRequest(f"The parameter {name!r} has a control character.")


def sole_token(query: str, parameter: str) -> str | None:
    """The token of a query string that is nothing but ``parameter=TOKEN``, else None.

    A token has no character that is ever escaped, so it needs no decoding: a walk's client sends
    no other query, and parsing it costs more than reading it.
    """
    name, _, value = query.partition("=")
    return value if name == parameter and _TOKEN.fullmatch(value) else None


def validate_token(values: list[str], longest: int) -> str:
    """The one token of a request, if it can be one at all; no codec is asked.

    Args:
        values: What the request gives for the parameter.
        longest: ``MAX_CURSOR_SIZE``.

    Raises:
        InvalidCursor: With the reason, for the log.
    """
    if len(values) != 1:
        raise InvalidCursor("the cursor is given more than once")
    token = values[0]
    if not token:
        raise InvalidCursor("the cursor is empty")
    if len(token) > longest:
        raise InvalidCursor("the cursor is longer than MAX_CURSOR_SIZE")
    if not _TOKEN.fullmatch(token):
        raise InvalidCursor("the cursor has a character that no token has")
    return token


def validate_keys(values: list[str], most: int) -> list[str]:
    """The keys that a request asks for, in its order, each once.

    Args:
        values: What the request gives for ``keys``.
        most: How many it may ask for, repetitions counted.

    Raises:
        InvalidKeys: With a text for the client.
    """
    if len(values) != 1 or not values[0]:
        raise InvalidKeys("Name the parts in one parameter: ?keys=first,second")
    if not _KEYS.fullmatch(values[0]):
        raise InvalidKeys("The keys are part names, separated by commas.")
    keys = values[0].split(",")
    if len(keys) > most:
        raise InvalidKeys(f"At most {most} keys can be asked for in one request.")
    return list(dict.fromkeys(keys))
