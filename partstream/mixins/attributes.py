"""The valid values of view attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from rest_framework.settings import api_settings

from partstream.backends.caches.base import CacheStore
from partstream.backends.executors.base import Executor
from partstream.exceptions import Misuse
from partstream.setting_kinds import COUNT, LIMIT, MAX_LIMIT, SECONDS, SWITCH, Kind

_PARAMETER = re.compile(r"[A-Za-z0-9_-]+")
#: Attributes of DRF's paginators that name a query parameter.
_PAGINATION_PARAMETERS: Final = (
    "cursor_query_param",
    "page_query_param",
    "page_size_query_param",
    "limit_query_param",
    "offset_query_param",
)


_COUNT = (COUNT, "a whole number of 1 or more")
_LIMIT = (LIMIT, f"a whole number from 1 to {MAX_LIMIT:,}")
#: Attribute -> what it may be, and how to say so.
KINDS: Final[Mapping[str, tuple[Kind, str]]] = {
    "chunk_size": _COUNT,
    "cursor_ttl": _COUNT,
    "max_keys_per_request": _COUNT,
    "rate_limit": _LIMIT,
    "burst_limit": _LIMIT,
    "time_budget": (SECONDS, "seconds, for example 0.1"),
    "enable_caching": (SWITCH, "True, False"),
    "lenient_keys": (SWITCH, "True or False"),
}
#: Attributes that no setting stands behind.
_WITHOUT_SETTING: Final = frozenset({"lenient_keys"})


def checked(view_class: type, attribute: str, value: Any, source: str | None = None) -> Any:
    """The value of a view attribute, if it is one that the attribute may have.

    Args:
        view_class: The view.
        attribute: The attribute.
        value: Its value, or what its hook returned.
        source: Where the value comes from, for the message; None: the attribute.

    Raises:
        Misuse: When it is not.
    """
    kind, wanted = KINDS[attribute]
    if not kind.accepts(value):
        where = f"{view_class.__name__}.{source or attribute}"
        otherwise = "" if attribute in _WITHOUT_SETTING else ", or None for the setting"
        raise Misuse(f"{where} is {value!r}. Write {wanted}{otherwise}.")
    return value


@lru_cache(maxsize=8)
def protocol_parameters(format_parameter: str | None) -> frozenset[str]:
    """The protocol's query parameters that exist on every route."""
    return frozenset((format_parameter,) if format_parameter else ())


def budget_problem(executors: Iterable[Executor], caching: bool, store: CacheStore) -> str | None:
    """What a time budget is missing, as the end of a sentence; None: nothing.

    Args:
        executors: The view's executor, then those of its parts; empty: they are not known.
        caching: Whether the view has a walk cache.
        store: The cache store.
    """
    others = iter(executors)
    first = next(others, None)
    if first and not first.concurrent and not any(other.concurrent for other in others):
        return (
            f"{type(first).__name__} runs parts one after another. Set executor = "
            '"partstream.backends.executors.threads.ThreadExecutor", or write '
            "lazy(..., executor=...) for the parts that should run there."
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
    paginator = getattr(view_class, "pagination_class", None)
    if paginator is not None:
        _check_paginator(view_class, paginator, name)
    return str(name)


def _check_paginator(view_class: type, paginator: Any, name: str) -> None:
    """Refuse a paginator that would take the token for a page, or the reverse."""
    for attribute in _PAGINATION_PARAMETERS:
        if getattr(paginator, attribute, None) == name:
            label = getattr(paginator, "__name__", type(paginator).__name__)
            raise Misuse(
                f"{view_class.__name__}: {label}.{attribute} is {name!r}, the parameter that "
                "carries partstream's cursor. Give one of them another name, for example "
                f'cursor_query_param = "walk" in {view_class.__name__}.'
            )


@lru_cache(maxsize=64)
def _parameter_problem(name: Any, format_parameter: str | None) -> str | None:
    if not isinstance(name, str) or not _PARAMETER.fullmatch(name):
        return ". Write a name of letters, digits, hyphens and underscores."
    if name in {"keys", "debug", format_parameter}:
        return ", which the protocol or DRF already uses. Choose another name."
    return None
