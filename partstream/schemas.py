"""What views declare and loaders return, for schema generators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from django.db import connections
from rest_framework.serializers import BaseSerializer

from .exceptions import Misuse, PartstreamError
from .logs import get_logger
from .parts.declaration import LazyPart, PartList
from .parts.endpoints import Endpoint
from .parts.loader import Loader

logger = get_logger("partstream.parts")

Function = TypeVar("Function")

#: More wrappers than any loader has.
_DEEPEST = 50


@dataclass(frozen=True)
class Returned:
    """The form of a part's data.

    Attributes:
        serializer_class: A DRF serializer whose fields it has.
        many: Whether it is a list of such objects.
    """

    serializer_class: type[BaseSerializer[Any]]
    many: bool = False


#: Beside the functions: an attribute of a function would make each of its calls slower.
_returned: Final[WeakKeyDictionary[Any, Returned]] = WeakKeyDictionary()


def returns(
    serializer_class: type[BaseSerializer[Any]], *, many: bool = False
) -> Callable[[Function], Function]:
    """A decorator: describes what a loader returns, for the schema. It changes nothing else.

    Use it for a loader that returns plain data. A part with a ``serializer_class`` is described
    already.

    Args:
        serializer_class: A DRF serializer with the fields of the data. It is never called.
        many: Whether the loader returns a list of such objects.

    Raises:
        Misuse: When an argument is invalid, or what is decorated is not a function.

    Example::

        @returns(StockSerializer, many=True)
        def get_stock(self, request):
            return list(Stock.objects.values("product", "quantity"))
    """
    if not (isinstance(serializer_class, type) and issubclass(serializer_class, BaseSerializer)):
        raise Misuse(
            f"@returns({serializer_class!r:.80}): write a serializer class, for example "
            "@returns(StockSerializer, many=True)."
        )
    if type(many) is not bool:
        raise Misuse(f"@returns(many={many!r:.80}): write True or False.")

    def decorate(loader: Function) -> Function:
        function = loader.function if isinstance(loader, Loader) else loader
        if not inspect.isfunction(function):
            raise Misuse(
                f"@returns({serializer_class.__name__}) decorates {function!r:.80}. Decorate the "
                "function that returns the data."
            )
        _returned[function] = Returned(serializer_class, many)
        return loader

    return decorate


def returned_by(part: Any, view_class: type) -> Returned | None:
    """The form of a part's data, as its ``serializer_class`` or `returns` says; None: unknown.

    Args:
        part: The part, as the view declares it.
        view_class: The view, for loaders that are given by name.
    """
    if not isinstance(part, LazyPart):
        return None
    if part.serializer_class is not None:
        return Returned(part.serializer_class, part.many)
    found: Any = part.loader
    for _ in range(_DEEPEST):
        if inspect.isfunction(found) and found in _returned:
            return _returned[found]
        found = _within(found, view_class)
    return None


def _within(found: Any, view_class: type) -> Any:
    """What a wrapper of a loader wraps; None: nothing."""
    if isinstance(found, Loader):
        return found.function
    if isinstance(found, str):
        return inspect.getattr_static(view_class, found, None)
    if isinstance(found, partial):
        return found.func
    # Of bound methods and class methods, then of decorators.
    return getattr(found, "__func__", None) or getattr(found, "__wrapped__", None)


def endpoint_of(part: Any) -> Endpoint | None:
    """The endpoint that a part is made of; None: it is made of something else."""
    loader = part.loader if isinstance(part, LazyPart) else None
    function = loader.function if isinstance(loader, Loader) else None
    return function if isinstance(function, Endpoint) else None


def declared_parts(view: Any) -> dict[str, Any]:
    """Name -> part, as a view declares them while no client asks; empty: it cannot.

    Args:
        view: An instance with an artificial request. Queries of its ``get_parts()`` are refused.
    """
    try:
        with _without_queries():
            return dict(PartList(view.get_parts(), owner=type(view)))
    except Exception:  # What needs a real request, a URL's arguments or a database.
        logger.warning(
            "The schema does not describe the parts of %s: get_parts() failed without a request.",
            type(view).__name__,
            exc_info=True,
        )
        return {}


class _QueryRefused(PartstreamError):
    """A query, while the schema is generated."""


@contextmanager
def _without_queries() -> Iterator[None]:
    """Refuse database queries within."""

    def refuse(*_: Any) -> Any:
        raise _QueryRefused("get_parts() runs a query")

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(refuse))
        yield
