"""Checks whether a loader can be called with the arguments that it would get."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

#: (code, bound, defaults, dependencies) -> the result of `signature_problem`.
_seen: dict[tuple[Any, ...], str | None] = {}
_SEEN_AT_MOST = 4096


def signature_problem(function: Callable[..., Any], dependencies: tuple[str, ...]) -> str | None:
    """The reason why the function cannot be called with a request and these dependencies, or None.

    Each function is inspected once per process, by its code: a lambda created anew for each
    request is not inspected again.
    """
    plain = getattr(function, "__func__", function)
    wrapped = inspect.unwrap(plain)
    code = getattr(plain, "__code__", None)
    if code is None:
        return _bind_problem(function, dependencies)
    defaults = getattr(wrapped, "__defaults__", None) or ()
    key = (
        code,
        getattr(wrapped, "__code__", None),
        plain is function,
        len(defaults),
        dependencies,
    )
    try:
        return _seen[key]
    except KeyError:
        if len(_seen) >= _SEEN_AT_MOST:
            _seen.clear()
        problem = _seen[key] = _bind_problem(function, dependencies)
        return problem


def _bind_problem(function: Callable[..., Any], dependencies: tuple[str, ...]) -> str | None:
    problem = None
    # A decorator may pass additional arguments to its function; then its own signature counts.
    for follow in (True, False):
        try:
            signature = inspect.signature(function, follow_wrapped=follow)
        except ValueError:  # Some functions written in C have no signature.
            return None
        try:
            signature.bind(None, **dict.fromkeys(dependencies))
        except TypeError as error:
            problem = problem or str(error)
        else:
            return None
    return problem
