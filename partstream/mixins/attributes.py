"""The valid values of view attributes."""

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
    """The value of a view attribute that must be a whole number above zero.

    Raises:
        Misuse: When it is not, or when it is above the upper bound.
    """
    if type(value) is not int or not 1 <= value <= LONGEST_TTL:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write a whole number of 1 or more, "
            "or None for the setting."
        )
    return value


def window_limit(view_class: type, attribute: str, value: Any) -> int:
    """The value of a view attribute that limits a client's requests in a window.

    Raises:
        Misuse: When it is not a whole number within its bounds.
    """
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write a whole number from 1 to "
            f"{MAX_LIMIT:,}, or None for the setting."
        )
    return value


def seconds(view_class: type, attribute: str, value: Any) -> float:
    """The value of a view attribute that must be a number of seconds above zero.

    Raises:
        Misuse: When it is not.
    """
    if type(value) not in (int, float) or not 0 < value <= LONGEST_TTL:
        raise Misuse(
            f"{view_class.__name__}.{attribute} is {value!r}. Write seconds, for example 0.1, "
            "or None for the setting."
        )
    return float(value)


def switch(view_class: type, attribute: str, value: Any) -> bool:
    """The value of a view attribute that must be True or False.

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
    """The protocol's query parameters that exist on every route."""
    return frozenset((format_parameter,) if format_parameter else ())


def budget_problem(executor: Executor, caching: bool, store: CacheStore) -> str | None:
    """What a time budget is missing, as the end of a sentence; None: nothing."""
    if not executor.concurrent:
        return (
            f"{type(executor).__name__} runs parts one after another. Set executor = "
            '"partstream.backends.executors.threads.ThreadExecutor".'
        )
    if not caching:
        return "no walk cache to keep the parts that move on. Set enable_caching = True."
    if not store.keeps:
        return f"{type(store).__name__} keeps nothing. Set CACHE_STORE to a store that does."
    return None


def cursor_parameter(view_class: type, name: Any) -> str:
    """The name of the query parameter that carries the token.

    Raises:
        Misuse: When it is not a valid name, or is already one of the protocol's or DRF's.
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
        return ", which the protocol or DRF already uses. Choose another name."
    return None
