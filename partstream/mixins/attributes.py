"""What the attributes of a view may be."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rest_framework.settings import api_settings

from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.base import Executor
from partstream.conf import MAX_LIMIT
from partstream.exceptions import Misuse
from partstream.setting_kinds import LONGEST_TTL

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


def window_limit(view_class: type, attribute: str, value: Any) -> int:
    """The value of a view's attribute that limits how often a client may ask.

    Raises:
        Misuse: When it is none.
    """
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write a whole number from 1 to "
            f"{MAX_LIMIT:,}, or None for the setting."
        )
    return value


def seconds(view_class: type, attribute: str, value: Any) -> float:
    """The value of a view's attribute that has to be a number of seconds above zero.

    Raises:
        Misuse: When it is none.
    """
    if type(value) not in (int, float) or not 0 < value <= LONGEST_TTL:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write seconds, for example 0.1, "
            "or None for the setting."
        )
    return float(value)


def switch(view_class: type, attribute: str, value: Any) -> bool:
    """The value of a view's attribute that is True or False.

    Raises:
        Misuse: When it is neither.
    """
    if type(value) is not bool:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write True, False, or None for the "
            "setting."
        )
    return value


@lru_cache(maxsize=8)
def protocol_parameters(format_parameter: str | None) -> frozenset[str]:
    """Names of the query parameters that are the protocol's on every route."""
    return frozenset((format_parameter,) if format_parameter else ())


def budget_problem(executor: Executor, caching: bool, store: CacheStore) -> str | None:
    """What a time budget lacks, as the end of a sentence; None: it can be kept."""
    if not executor.concurrent:
        return (
            f"{type(executor).__name__} runs parts one after another. Take executor = "
            '"partstream.backends.executors.threads.ThreadExecutor".'
        )
    if not caching:
        return "no walk cache to keep what moves to the next chunk. Set enable_caching = True."
    if not store.keeps:
        return f"{type(store).__name__} keeps nothing. Set CACHE_STORE to a store that does."
    return None


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
