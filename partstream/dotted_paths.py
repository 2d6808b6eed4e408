"""Functions that settings and options name by dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from asgiref.sync import iscoroutinefunction

from .exceptions import Misuse


def import_function(path: Any, where: str) -> Callable[[Any], Any]:
    """The function that a setting or an option names. It takes the request and is not async.

    Args:
        path: A dotted path, or the function itself.
        where: The setting or option, for error messages.

    Raises:
        Misuse: When the function cannot be imported, is a coroutine function, or cannot be called
            with a request as its only argument.
    """
    where = f"{where} = {path!r:.120}"
    function = path
    if isinstance(path, str):
        module, _, name = path.rpartition(".")
        try:
            function = getattr(import_module(module), name, None)
        except (ImportError, ValueError) as error:
            raise Misuse(f"{where} cannot be imported: {error}.") from error
        if function is None:
            raise Misuse(f"{where} cannot be imported: {module} has no {name!r}.")
    if not callable(function) or isinstance(function, type):
        raise Misuse(f"{where} is not a function. Name a function that takes (request).")
    refuse_coroutine(function, where)
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise Misuse(f"{where} cannot be called as (request): {error}.") from error
    except ValueError:
        pass  # Some C functions have no signature.
    found: Callable[[Any], Any] = function
    return found


def refuse_coroutine(function: Any, where: str) -> None:
    """Refuse a coroutine function, since its result would never be awaited.

    Raises:
        Misuse: When it is a coroutine function.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        raise Misuse(f"{where} is a coroutine function. Write def instead of async def.")
