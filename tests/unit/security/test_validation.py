from __future__ import annotations

import pytest
from django.test import RequestFactory

from partstream.exceptions import InvalidCursor, InvalidKeys, InvalidRequest
from partstream.security.validation import (
    MAX_QUERY_LENGTH,
    validate_keys,
    validate_query,
    validate_token,
)


def request(query):
    return RequestFactory().get("/", QUERY_STRING=query)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "debug=1",
        "format=json",
        "debug=&format=",
        "debug=é",
        "description=%00%0D%0A&description=select+*+from+users",
        "q=../../etc/passwd&q=<script>",
        "x=" + "y" * (MAX_QUERY_LENGTH - 2),
        "%FF=%FF",
    ],
)
def test_query__is_taken(query):
    validate_query(request(query), {"debug", "format"})


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("debug=1&debug=1", "The parameter 'debug' is given more than once."),
        ("format=json&x=1&format=api", "The parameter 'format' is given more than once."),
        *((f"debug={code}", "has a control character") for code in ("%00", "1%00", "%0A", "%0D")),
        *((f"format={code}", "has a control character") for code in ("%1F", "%7F", "%C2%85")),
        ("x=" + "y" * (MAX_QUERY_LENGTH - 1), "longer than 8192 characters"),
        ("&".join(f"a{number}" for number in range(1001)), "too many parameters"),
    ],
)
def test_query__is_refused(query, says):
    with pytest.raises(InvalidRequest, match=says):
        validate_query(request(query), {"debug", "format"})


@pytest.mark.parametrize("token", ["a", "A-Z.a_z~09", "a" * 20])
def test_token__is_taken(token):
    assert validate_token([token], 20) == token


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "more than once"),
        (["a", "a"], "more than once"),
        ([""], "empty"),
        (["a" * 21], "longer than"),
        *(([value], "character") for value in ("a b", "a=", "a+b", "a/b", "\x00", "a\n", "a\r\nb")),
        *(([value], "character") for value in ("é", "\ud800", "\ufeffa", "٣", "\u2028", "a%")),
    ],
)
def test_token__is_refused(values, says):
    with pytest.raises(InvalidCursor, match=says):
        validate_token(values, 20)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("a", ["a"]),
        ("b,a", ["b", "a"]),
        ("a,a,b", ["a", "b"]),
        ("_1," + "x" * 64, ["_1", "x" * 64]),
        (",".join("abcdefghij"), list("abcdefghij")),
    ],
)
def test_keys__are_taken(value, keys):
    assert validate_keys([value], 10) == keys


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "Name the parts in one parameter"),
        ([""], "Name the parts in one parameter"),
        (["a", "b"], "Name the parts in one parameter"),
        ([",".join("abcdefghijk")], "At most 10 keys"),
        ([",".join("a" * 11)], "At most 10 keys"),
        *(([value], "separated by commas") for value in (",", "a,", ",a", "a,,b", "a b", "a, b")),
        *(
            ([value], "separated by commas")
            for value in ("1a", "a-b", "é", "a\n", "\x00", "x" * 65)
        ),
        *(([value], "separated by commas") for value in ("\ud800", "a;b", "a.b", "*", "a\r\nb")),
    ],
)
def test_keys__are_refused(values, says):
    with pytest.raises(InvalidKeys, match=says):
        validate_keys(values, 10)
