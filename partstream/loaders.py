"""Loaders: the functions that make a part's data, and what is wrapped around them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any, Final

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions as drf

from .exceptions import Misuse

logger = logging.getLogger(__name__)

#: These say "not for you", not "it broke": no fallback hides them.
DENIALS: Final = (
    PermissionDenied,
    Http404,
    drf.PermissionDenied,
    drf.NotAuthenticated,
    drf.NotFound,
)
#: What a fallback never covers: denials, and both classes that say a call was cancelled.
_UNCOVERED: Final = (*DENIALS, asyncio.CancelledError, concurrent.futures.CancelledError)


class _Absent(Enum):
    """The fallback of a loader that has none; None is one like any other. An enum copies well."""

    ABSENT = "no fallback"


_ABSENT: Final = _Absent.ABSENT


@dataclass(frozen=True)
class Loader:
    """A function that makes a part's data, with what is wrapped around it.

    It is callable like the function itself, and binds as a method does::

        class Dashboard(ProgressiveView):
            get_rates = safe_call(fetch_rates, fallback={})

    Attributes:
        function: ``func(request, **dependencies) -> data``, plain or ``async def``; the name of a
            method until the part that has it is resolved.
        fallback: What is delivered when the function fails, or a function that makes it.
    """

    function: Any
    fallback: Any = _ABSENT

    @property
    def has_fallback(self) -> bool:
        """Whether failures are covered at all."""
        return self.fallback is not _ABSENT

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, or marked as one."""
        function = self.function
        code = getattr(function, "__code__", None)
        if code is not None and not function.__dict__:
            # Neither wrapped nor marked: its code tells, without a long look.
            return bool(code.co_flags & inspect.CO_COROUTINE)
        return any(
            iscoroutinefunction(candidate) or inspect.iscoroutinefunction(candidate)
            for candidate in (function, type(function).__call__)
        )

    def with_fallback(self, fallback: Any) -> Loader:
        """The same loader, its failures covered.

        Raises:
            Misuse: When they are covered already.
        """
        if self.has_fallback:
            raise Misuse(
                "safe_call() around safe_call(): a loader has one fallback. Keep one of them."
            )
        return replace(self, fallback=fallback)

    def bound_to(self, view: Any) -> Loader:
        """The loader with the view's method, where only the method's name was given."""
        if not isinstance(self.function, str):
            return self
        found = getattr(view, self.function, None)
        if found is None:
            raise Misuse(
                f"the view has no method {self.function!r}. Define {self.function}(self, request)."
            )
        method = as_loader(found, f"the method {self.function!r}")
        return method.with_fallback(self.fallback) if self.has_fallback else method

    def __get__(self, instance: Any, owner: type | None = None) -> Loader:
        if instance is not None and isinstance(self.function, str):
            return self.bound_to(instance)
        bind = getattr(self.function, "__get__", None)
        if instance is None or bind is None:
            return self
        return replace(self, function=bind(instance, owner))

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the function as a loader would be; a failure gives the fallback."""
        if self.is_async:
            return self._call_async(request, *args, **kwargs)
        try:
            return self.function(request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the boundary; recover() logs
            return self.recover(request, error, self._name)

    async def _call_async(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await self.function(request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the boundary; _recover() logs
            data = self._recover(request, error, self._name)
            return await data if inspect.isawaitable(data) else data

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    def recover(self, request: Any, error: BaseException, subject: str) -> Any:
        """The fallback for this failure, which is logged once.

        Args:
            request: What a fallback function gets.
            error: The failure.
            subject: What failed, for the log.

        Raises:
            BaseException: ``error`` itself, where no fallback covers it.
        """
        data = self._recover(request, error, subject)
        if inspect.iscoroutine(data):
            return async_to_sync(awaited)(data)
        return data

    def _recover(self, request: Any, error: BaseException, subject: str) -> Any:
        if not self.has_fallback or not isinstance(error, Exception):
            raise error
        if isinstance(error, _UNCOVERED):
            raise error
        logger.warning("%s failed; its fallback is delivered.", subject, exc_info=error)
        return self.fallback(request, error) if callable(self.fallback) else self.fallback


async def awaited(coroutine: Any) -> Any:
    """What a coroutine returns, for ``async_to_sync``, which takes functions only."""
    return await coroutine


def safe_call(func: Callable[..., Any] | str, fallback: Any) -> Loader:
    """A loader whose failures deliver a fallback instead of an error.

    Where the loader is a part, "failure" covers the making of its JSON too: the evaluation of a
    QuerySet, the serializer, the encoding. A denial (``PermissionDenied``, ``NotAuthenticated``,
    ``Http404``), ``SystemExit``, ``KeyboardInterrupt`` and ``CancelledError`` are never covered.

    Args:
        func: The loader, plain or ``async def``, or the name of a method of the view.
        fallback: The data to deliver instead, falsy or not, or a function of
            ``(request, exception)`` that makes it. It is delivered as it is, never put through
            the part's ``serializer_class``.

    Raises:
        Misuse: When ``func`` is no function, has a fallback already, or ``fallback`` is a class.

    Example:
        ``lazy(safe_call(self.get_rates, fallback=[]))``
    """
    if isinstance(fallback, type):
        raise Misuse(
            f"safe_call(fallback={fallback.__name__}): a class is neither data nor a function of "
            f"(request, exception). For an empty one write fallback={fallback.__name__}()."
        )
    loader = Loader(func) if isinstance(func, str) else as_loader(func, "safe_call()")
    return loader.with_fallback(fallback)


def as_loader(func: Any, user: str) -> Loader:
    """The function as a `Loader`.

    Raises:
        Misuse: When it cannot be called; ``user`` says who wanted to.
    """
    if isinstance(func, Loader):
        return func
    if not callable(func):
        raise Misuse(
            f"{user} takes a function of (request), not {type(func).__name__}. "
            "Pass the function itself, without calling it."
        )
    return Loader(func)


#: (code, bound, defaults, dependencies) -> what `signature_problem` said.
_seen: dict[tuple[Any, ...], str | None] = {}
_SEEN_AT_MOST = 4096


def signature_problem(loader: Loader, dependencies: tuple[str, ...]) -> str | None:
    """Why the loader cannot be called with a request and these dependencies, if it cannot.

    A function is looked at once a process, by its code: a lambda made anew in each request is
    not looked at again.
    """
    function = loader.function
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
    # A decorator may give its function more than it is given: then its own signature counts.
    for follow in (True, False):
        try:
            signature = inspect.signature(function, follow_wrapped=follow)
        except ValueError:  # Some functions written in C have none to look at.
            return None
        try:
            signature.bind(None, **dict.fromkeys(dependencies))
        except TypeError as error:
            problem = problem or str(error)
        else:
            return None
    return problem
