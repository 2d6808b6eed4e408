"""What the attributes of a view may be."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rest_framework.settings import api_settings

from .conf import LONGEST_TTL
from .exceptions import Misuse

_PARAMETER = re.compile(r"[A-Za-z0-9_-]+")


def positive(view_class: type, attribute: str, value: Any) -> int:
    """The value of a view's attribute that has to be a whole number above zero.

    Raises:
        Misuse: When it is none, or is beyond all bounds.
    """
    if type(value) is not int or not 1 <= value <= LONGEST_TTL:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write a whole number of 1 or more, "
            "or None for the setting."
        )
    return value


def cursor_parameter(view_class: type, name: Any) -> str:
    """The name of the query parameter that carries the token.

    Raises:
        Misuse: When it cannot be one, or is another of the protocol's parameters.
    """
    problem = _parameter_problem(name, api_settings.URL_FORMAT_OVERRIDE)
    if problem:
        raise Misuse(f"{view_class.__name__}.cursor_query_param is {name!r}{problem}")
    return str(name)


@lru_cache(maxsize=64)
def _parameter_problem(name: Any, format_parameter: str | None) -> str | None:
    if not isinstance(name, str) or not _PARAMETER.fullmatch(name):
        return ". Write a name of letters, digits, hyphens and underscores."
    if name in {"keys", "debug", format_parameter}:
        return ", which the protocol or DRF uses already. Choose another."
    return None
