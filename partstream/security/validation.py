"""The grammar of a request: the valid forms of the protocol's parameters.

It is a grammar, not a list of bad words: parameters of the application are never checked.
"""

from __future__ import annotations

import re
from collections.abc import Container

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest

from partstream.exceptions import InvalidCursor, InvalidKeys, InvalidRequest

#: The maximum length of a query string in characters.
MAX_QUERY_LENGTH = 8192

#: A part's name, and therefore a key.
PART_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"

#: A token: RFC 3986's unreserved characters. Every codec makes its tokens from these.
TOKEN = r"[A-Za-z0-9._~-]+"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_KEYS = re.compile(rf"{PART_NAME}(?:,{PART_NAME})*")
_TOKEN = re.compile(TOKEN)


def validate_query(request: HttpRequest, parameters: Container[str]) -> None:
    """Refuse a query that is too long, or where a parameter is repeated or has control characters.

    Args:
        request: Django's own request.
        parameters: Names of the protocol's parameters that no other function here checks.

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
    """The token of a query string that consists of ``parameter=TOKEN`` alone, otherwise None.

    A token has no character that is ever escaped, so it needs no decoding. A walk's client sends no
    other query, and parsing it costs more than this check.
    """
    name, _, value = query.partition("=")
    return value if name == parameter and _TOKEN.fullmatch(value) else None


def validate_token(values: list[str], longest: int) -> str:
    """The one token of a request, if it has the form of a token. It is not decoded.

    Args:
        values: The request's values for the parameter.
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
    """The requested keys, in order and without repetitions.

    Args:
        values: The request's values for ``keys``.
        most: The maximum number of keys, including repetitions.

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
