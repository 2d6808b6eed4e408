"""What to write instead: the messages about declarations that cannot work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container
from difflib import get_close_matches
from typing import Any, Final

from .layout import Names

_ARGUMENTS: Final = (
    "depends_on",
    "size",
    "timeout",
    "serializer_class",
    "many",
    "permission_classes",
    "permission_view",
    "executor",
)
#: What `lazy` is given by mistake, and what to write.
_INSTEAD: Final = {
    "serializer": "serializer_class=",
    "permissions": "permission_classes=[...]",
    "permission_class": "permission_classes=[...]",
    "depends": "depends_on=[...]",
    "dependencies": "depends_on=[...]",
    "requires": "depends_on=[...]",
    "fallback": "lazy(safe_call(loader, fallback=...))",
    "default": "lazy(safe_call(loader, fallback=...))",
    "ttl": "lazy(cached_for(60)(loader))",
    "cache": "lazy(cached_for(60)(loader))",
    "cached_for": "lazy(cached_for(60)(loader))",
}


def unknown_argument(name: str, *_: str) -> str:
    """The error message for an argument that `lazy` does not have."""
    close = get_close_matches(name, _ARGUMENTS, n=1)
    instead = _INSTEAD.get(name) or (f"{close[0]}=" if close else None)
    if instead is None:
        instead = f"one of {', '.join(_ARGUMENTS)}"
    return f"lazy() has no argument {name!r}. Write {instead}."


def not_a_serializer_class(given: Any) -> str:
    """The error message for a serializer instance, or anything else that is not a class."""
    one = getattr(given, "child", None)  # DRF makes a list of what has many=True.
    name = type(given if one is None else one).__name__
    many = "" if one is None else ", many=True"
    if isinstance(given, str):
        return f"lazy(serializer_class={given!r:.80}): write the class, not its name."
    return f"lazy(serializer_class={name}(...)): write the class, serializer_class={name}{many}."


def mismatch(
    name: str,
    depends_on: Names,
    function: Callable[..., Any],
    problem: str,
    parts: Container[str],
) -> str:
    """The error message for a loader that cannot be called with its arguments.

    Args:
        name: The part.
        depends_on: Its dependencies.
        function: The loader.
        problem: What Python says.
        parts: The names of all parts: any other parameter may be meant for the URL's arguments.
    """
    if inspect.isfunction(function) and function.__code__.co_varnames[:1] == ("self",):
        return (
            f"the loader of part {name!r} is a method that is not bound to a view. "
            f"Write its name: lazy({function.__name__!r})."
        )
    wanted = ", ".join(("request", *depends_on))
    foreign = [each for each in _required(function)[1:] if each not in depends_on]
    advice = "or change depends_on."
    if foreign and not any(each in parts for each in foreign):
        advice = f"and read the URL's arguments from the view: self.kwargs[{foreign[0]!r}]."
    return (
        f"the loader of part {name!r} cannot be called as ({wanted}): {problem}. "
        f"Change its parameters to ({wanted}), {advice}"
    )


def _required(function: Callable[..., Any]) -> list[str]:
    """The parameters that a function cannot be called without, in order."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # Some functions written in C have no signature.
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in variable
    ]


def bare_callable(pairs: list[Any], owner: type | None) -> str | None:
    """The error message for the first part that is a callable, with what to write instead."""
    for name, value in pairs:
        if not callable(value):
            continue
        if isinstance(value, type):
            return (
                f"part {name!r} is the class {value.__name__}. Write a value, or a loader: "
                "lazy(...). A serializer is its argument: lazy(..., serializer_class=...)."
            )
        written = "..."
        if inspect.ismethod(value):
            written = f"self.{value.__name__}"
        elif inspect.isfunction(value) and value.__name__.isidentifier():
            own = owner is not None and vars(owner).get(value.__name__) is value
            written = repr(value.__name__) if own else value.__name__
        kind = type(value).__name__
        return f"part {name!r} is a callable ({kind}). Wrap it: lazy({written})."
    return None
