"""What to write instead: the messages about declarations that cannot work."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Container, Iterable
from difflib import get_close_matches
from typing import Any, Final

from django.db.models import QuerySet

from .endpoints import Endpoint
from .layout import Names
from .loader import DeclaredPart, Loader

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
#: Where a function of the request finds the URL's arguments.
_KWARGS_OF_REQUEST: Final = 'request.parser_context["kwargs"]'


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


def not_a_permission_class(given: Any) -> str:
    """The error message for anything in ``permission_classes`` that is not a class."""
    instead = "a class, not a string" if isinstance(given, str) else "the class, not a call"
    return f"lazy(permission_classes=[{given!r:.80}]): write {instead}, for example [IsAdminUser]."


def malformed(pairs: list[Any]) -> str | None:
    """The error message for the first entry of a list of parts that is not a pair; None: all are.

    Args:
        pairs: The entries, of any kind.
    """
    for entry in pairs:
        if isinstance(entry, DeclaredPart):
            return 'a lazy part has no name. Write a pair: ("orders", lazy(...)).'
        if not (isinstance(entry, (tuple, list)) and len(entry) == 2):
            return (
                f"{entry!r:.80} is not a (name, value) pair. Write for example "
                '("orders", lazy(...)).'
            )
        if not isinstance(entry[0], str):
            return f"{entry[0]!r:.80} is not a valid name. A part's name must be a str."
    return None


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
        if _is_in_class(function):
            return (
                f"the loader of part {name!r} is a method that is not bound to a view. "
                f"Write its name: lazy({function.__name__!r})."
            )
        return (
            f"the loader of part {name!r} takes self, but {function.__name__} is not a method. "
            f"Remove self from its parameters, or define it in the view's class and write its "
            f"name: lazy({function.__name__!r})."
        )
    subject = f"the loader of part {name!r}"
    return not_callable_with(subject, depends_on, function, problem, parts)


def not_callable_with(
    subject: str,
    depends_on: Names,
    function: Callable[..., Any],
    problem: str,
    parts: Container[str],
) -> str:
    """The error message for a function that cannot be called with a part's dependencies.

    Args:
        subject: What the function is.
        depends_on: The part's dependencies.
        function: The function.
        problem: What Python says.
        parts: See `mismatch`.
    """
    wanted = ", ".join(("request", *depends_on))
    says = f"{subject} cannot be called as ({wanted}): {problem}."
    foreign = [each for each in _required(function)[1:] if each not in depends_on]
    if foreign and all(each in parts for each in foreign):
        named = json.dumps([*depends_on, *foreign])
        return f"{says} Write lazy(..., depends_on={named})."
    advice = "or change depends_on."
    if foreign and not any(each in parts for each in foreign):
        # A function has no view.
        place = "self.kwargs" if inspect.ismethod(function) else _KWARGS_OF_REQUEST
        advice = f"and read the URL's arguments from {place}[{foreign[0]!r}]."
    return f"{says} Change its parameters to ({wanted}), {advice}"


def _is_in_class(function: Callable[..., Any]) -> bool:
    """Whether a function is defined in the body of a class."""
    scope = function.__qualname__.rpartition(".")[0]
    return scope != "" and not scope.endswith("<locals>")


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
        if isinstance(value, Loader) and isinstance(value.function, Endpoint):
            return f"part {name!r} is an endpoint. Wrap it: lazy(endpoint(...))."
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


def serializer_mistake(name: str, loader: Loader, many: bool, data: Any) -> str | None:
    """The error message for data that the serializer of a part cannot read; None: it could.

    Args:
        name: The part.
        loader: The part's loader.
        many: Whether the serializer was to get a list.
        data: What the loader returned.
    """
    kind = type(data).__name__
    if isinstance(loader.function, Endpoint):
        return (
            f"part {name!r}: the endpoint has serialized its data already. Leave "
            "serializer_class out."
        )
    if not many and isinstance(data, (list, tuple, QuerySet)):
        return (
            f"part {name!r}: the serializer got a {kind}, not one object. Write "
            "lazy(..., serializer_class=..., many=True)."
        )
    if many and not isinstance(data, Iterable):
        return (
            f"part {name!r}: many=True needs a list or a QuerySet, but the loader returned one "
            f"{kind}. Leave many=True out."
        )
    return None
