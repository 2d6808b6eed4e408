"""Decorators that are always called, whatever their arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from .exceptions import Misuse

P = ParamSpec("P")
R = TypeVar("R")


def in_parentheses(written: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: say what to write if the function is used without parentheses.

    Args:
        written: How to write it, for example ``"@inline()"``.

    Raises:
        Misuse: By the function, when it gets positional arguments, since it takes none.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if args:
                name = function.__name__
                raise Misuse(f"@{name} needs parentheses. Write {written}.")
            return function(*args, **kwargs)

        return call

    return decorate
