"""Loaders: the functions that make a part's data, and what is wrapped around them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from typing import Any, Final

from asgiref.sync import iscoroutinefunction

from partstream.caching.cache_keys import Caching
from partstream.exceptions import HookFailed, Misuse
from partstream.logs import get_logger
from partstream.setting_kinds import LONGEST_TTL

from . import direct_calls, failures
from .direct_calls import finished
from .failures import DENIALS as DENIALS

logger = get_logger("partstream.parts")

#: What a fallback never covers: among them a hook without which no code of the project's may run.
_UNCOVERED: Final = (*failures.DENIALS, *failures.CANCELLED, HookFailed)


def _is_coroutine_function(function: Any) -> bool:
    return any(
        iscoroutinefunction(candidate) or inspect.iscoroutinefunction(candidate)
        for candidate in (function, type(function).__call__)
    )


class _Absent(Enum):
    """The fallback of a loader that has none; None is one like any other. An enum copies well."""

    ABSENT = "no fallback"


_ABSENT: Final = _Absent.ABSENT


@dataclass(frozen=True)
class Loader:
    """A function that makes a part's data, with what is wrapped around it.

    Whatever the order of writing, the cache is asked first, then whoever makes the same already,
    then comes the fallback, then the timeout, then the function.

    It is callable like the function itself, and binds as a method does::

        class Dashboard(ProgressiveView):
            get_rates = safe_call(fetch_rates, fallback={})

    Attributes:
        function: ``func(request, **dependencies) -> data``, plain or ``async def``; the name of a
            method until the part that has it is resolved.
        fallback: What is delivered when the function fails, or a function that makes it.
        timeout: Seconds that the function may take; None: as long as it needs.
        caching: How long its data is kept, and for whom; None: not at all.
    """

    function: Any
    fallback: Any = _ABSENT
    timeout: float | None = None
    caching: Caching | None = None

    @property
    def has_fallback(self) -> bool:
        """Whether failures are covered at all."""
        return self.fallback is not _ABSENT

    @property
    def has_plain_fallback(self) -> bool:
        """Whether the fallback is a function, and no coroutine function."""
        return callable(self.fallback) and not _is_coroutine_function(self.fallback)

    @cached_property
    def is_plain(self) -> bool:
        """Whether nothing but a fallback is around it, and it is no coroutine function."""
        return self.timeout is None and self.caching is None and not self.is_async

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, or marked as one."""
        function = self.function
        code = getattr(function, "__code__", None)
        if code is not None and not function.__dict__:
            # Neither wrapped nor marked: its code tells, without a long look.
            return bool(code.co_flags & inspect.CO_COROUTINE)
        return _is_coroutine_function(function)

    @property
    def qualified_name(self) -> str:
        """The function's name, for logs and keys."""
        function = self.function
        module = getattr(function, "__module__", "")
        return f"{module}.{getattr(function, '__qualname__', repr(type(function)))}"

    def wrapped(self, **around: Any) -> Loader:
        """The same loader with one more thing around it.

        Raises:
            Misuse: When that is around it already.
        """
        for name, value in around.items():
            if getattr(self, name) is not _DEFAULTS[name] and value is not _DEFAULTS[name]:
                raise Misuse(_TWICE[name])
        return replace(self, **around)

    def bound_to(self, view: Any) -> Loader:
        """The loader with the view's method, where only the method's name was given."""
        if not isinstance(self.function, str):
            return self
        try:
            found = getattr(view, self.function, None)
        except RecursionError as error:
            raise Misuse(
                f"the loader {self.function!r} names itself. Name the method that makes the data."
            ) from error
        if found is None:
            raise Misuse(
                f"the view has no method {self.function!r}. Define {self.function}(self, request)."
            )
        user = f"the method {self.function!r}"
        method = as_loader(found, user) if not isinstance(found, str) else as_loader(None, user)
        around = {
            name: getattr(self, name)
            for name, default in _DEFAULTS.items()
            if getattr(self, name) is not default
        }
        return method.wrapped(**around) if around else method

    def __get__(self, instance: Any, owner: type | None = None) -> Loader:
        if instance is not None and isinstance(self.function, str):
            return self.bound_to(instance)
        bind = getattr(self.function, "__get__", None)
        if instance is None or bind is None:
            return self
        return replace(self, function=bind(instance, owner))

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the function as a part would, with all that is around it.

        Where it is cached the data is what a client would see, on a hit and on a miss.
        """
        if self.is_async:
            return direct_calls.invoke_async(self, request, args, kwargs)
        return direct_calls.invoke(self, request, args, kwargs)

    @staticmethod
    def is_denial(error: object) -> bool:
        """Whether it says "not for you", to the one who got it."""
        return failures.is_denial(error)

    def recover(self, request: Any, error: BaseException, subject: str) -> Any:
        """The fallback for this failure, which is logged once.

        Args:
            request: What a fallback function gets.
            error: The failure.
            subject: What failed, for the log.

        Raises:
            BaseException: ``error`` itself, where no fallback covers it.
        """
        data = self.recover_later(request, error, subject)
        if inspect.iscoroutine(data):
            return finished(data)
        return data

    def recover_later(self, request: Any, error: BaseException, subject: str) -> Any:
        """Like `recover`; what an ``async def`` fallback function returned is not awaited."""
        if not self.has_fallback or not isinstance(error, Exception):
            raise error
        if isinstance(failures.decisive(error), _UNCOVERED):
            raise error
        logger.warning("%s failed; its fallback is delivered.", subject, exc_info=error)
        return self.fallback(request, error) if callable(self.fallback) else self.fallback


_DEFAULTS: Final = {
    field.name: field.default for field in fields(Loader) if field.name != "function"
}
_TWICE: Final = {
    "fallback": "safe_call() around safe_call(): a loader has one fallback. Keep one of them.",
    "timeout": (
        "a timeout around a timeout: with_timeout(), or lazy(timeout=...), was given for a loader "
        "that has one. Keep one of them."
    ),
    "caching": "cached_for() around cached_for(): data is kept once. Keep one of them.",
}


def safe_call(func: Callable[..., Any] | str, fallback: Any) -> Loader:
    """A loader whose failures deliver a fallback instead of an error.

    Where the loader is a part, "failure" covers the making of its JSON too: the evaluation of a
    QuerySet, the serializer, the encoding; and its timeout. A denial (``PermissionDenied``,
    ``NotAuthenticated``, ``Http404``), ``SystemExit``, ``KeyboardInterrupt`` and
    ``CancelledError`` are never covered, and neither is an ``ExceptionGroup`` with a denial in it.

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
    return as_loader(func, "safe_call()").wrapped(fallback=fallback)


def with_timeout(func: Callable[..., Any] | str, seconds: float) -> Loader:
    """A loader that is waited for so long and no longer; then it fails with ``part_timeout``.

    It works in any thread, under WSGI and ASGI. A plain function runs in a thread of the
    executor's pool, and a thread cannot be killed: after its timeout it runs on, unwatched, and
    counts as abandoned (``get_executor().abandoned``); when too many do, further loaders with a
    timeout fail at once with ``capacity``. A coroutine is really cancelled.

    In an atomic block, unless parts run in threads anyway, the function stays in its thread, with
    its transaction; there the database's own statement timeout ends its queries (PostgreSQL).

    Args:
        func: The loader, plain or ``async def``, or the name of a method of the view.
        seconds: How long, from the moment at which a thread is asked for.

    Raises:
        Misuse: When ``func`` is no function, has a timeout already, or ``seconds`` is no number
            above zero.

    Example:
        ``lazy(safe_call(with_timeout(self.get_rates, 2.5), fallback=[]))``
    """
    return as_loader(func, "with_timeout()").wrapped(
        timeout=checked_timeout(seconds, f"with_timeout(..., {seconds!r})")
    )


def cached_for(
    ttl: int,
    *,
    shared: bool = False,
    vary: tuple[str, ...] | list[str] = (),
    key: Callable[[Any], str | None] | None = None,
) -> Callable[[Callable[..., Any] | str], Loader]:
    """Makes a loader whose data is kept across walks, and made by one caller at a time.

    What is kept is the JSON of the part, after the serializer. An entry belongs to one identity,
    view, path, query, language and time zone, and to the data of the part's dependencies. Errors,
    timeouts, denials and fallbacks are never kept.

    Args:
        ttl: Seconds that an entry is kept.
        shared: Whether all identities share the entries. Only for data that does not depend on
            who asks.
        vary: Names of request headers that the data depends on.
        key: A function of the request that returns what stands in for the identity, for example a
            tenant's id; where it returns None the data is not kept.

    Raises:
        Misuse: When an argument is not of that form, or the loader is cached already.

    Example::

        @cached_for(300)
        def get_analytics(self, request): ...

        lazy(cached_for(60, shared=True)(get_rates))
    """
    if type(ttl) is not int or not 1 <= ttl <= LONGEST_TTL:
        raise Misuse(f"cached_for({ttl!r}): write whole seconds, for example cached_for(300).")
    if type(shared) is not bool or (shared and key is not None):
        raise Misuse("cached_for(shared=..., key=...): True or False, and one of them at most.")
    if not isinstance(vary, (list, tuple)) or not all(isinstance(name, str) for name in vary):
        raise Misuse(f"cached_for(vary={vary!r:.80}): write a list of headers, ['X-Tenant'].")
    if key is not None and not callable(key):
        raise Misuse(f"cached_for(key={key!r:.80}): write a function of (request).")
    caching = Caching(ttl, shared, tuple(vary), key)
    return lambda func: as_loader(func, "cached_for()").wrapped(caching=caching)


def checked_timeout(seconds: Any, where: str) -> float:
    """The timeout, if it is one.

    Raises:
        Misuse: When it is no number of seconds above zero.
    """
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_TTL:
        raise Misuse(f"{where}: a timeout is a number of seconds above zero.")
    return float(seconds)


def as_loader(func: Any, user: str) -> Loader:
    """The function, or the name of a method, as a `Loader`.

    Raises:
        Misuse: When it cannot be called; ``user`` says who wanted to.
    """
    if isinstance(func, Loader):
        return func
    if not callable(func) and not isinstance(func, str):
        raise Misuse(
            f"{user} takes a function of (request), not {type(func).__name__}. "
            "Pass the function itself, without calling it."
        )
    return Loader(func)
