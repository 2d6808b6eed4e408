"""Loaders: the functions that return a part's data, and their wrappers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from typing import Any, Final

from partstream.backends.executors.coroutines import is_coroutine_function, run_coroutine
from partstream.caching.cache_keys import Caching
from partstream.exceptions import Misuse
from partstream.logs import get_logger
from partstream.setting_kinds import COUNT, SECONDS, SWITCH

from .direct_calls import call_loader, call_loader_async
from .failures import is_covered

logger = get_logger("partstream.parts")


class _Absent(Enum):
    """Marks a loader without a fallback, since None is a valid one. An enum survives copying."""

    ABSENT = "no fallback"


_ABSENT: Final = _Absent.ABSENT


class DeclaredPart:
    """The base of what `lazy` returns, by which the wrappers of loaders know it."""


@dataclass(frozen=True)
class Loader:
    """A function that returns a part's data, with its wrappers.

    A call passes the wrappers in this order, however you write them: cache, single flight,
    fallback, timeout, function. A loader binds to a view like a method::

        class Dashboard(ProgressiveView):
            get_rates = safe_call(fetch_rates, fallback={})

    Attributes:
        function: ``func(request, **dependencies) -> data``, plain or ``async def``; or the name of
            a method of the view, until the part is resolved.
        fallback: The data to deliver if the function fails, or a function that returns it.
        timeout: Seconds that the function may take; None: it has no timeout.
        caching: How long data is kept, and who shares it; None: it is not kept.
    """

    function: Any
    fallback: Any = _ABSENT
    timeout: float | None = None
    caching: Caching | None = None

    @property
    def has_fallback(self) -> bool:
        """Whether the loader has a fallback, which may be None."""
        return self.fallback is not _ABSENT

    @property
    def has_plain_fallback(self) -> bool:
        """Whether the fallback is a function, but not a coroutine function."""
        return callable(self.fallback) and not is_coroutine_function(self.fallback)

    @cached_property
    def is_plain(self) -> bool:
        """Whether it has no timeout and no caching, and is not a coroutine function."""
        return self.timeout is None and self.caching is None and not self.is_async

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, or marked as one."""
        function = self.function
        code = getattr(function, "__code__", None)
        if code is not None and not function.__dict__:
            # Neither wrapped nor marked, so its code flags are enough.
            return bool(code.co_flags & inspect.CO_COROUTINE)
        return is_coroutine_function(function)

    @property
    def qualified_name(self) -> str:
        """The function's name, for logs and keys."""
        function = self.function
        module = getattr(function, "__module__", "")
        return f"{module}.{getattr(function, '__qualname__', repr(type(function)))}"

    def wrapped(self, **around: Any) -> Loader:
        """The same loader with one more wrapper.

        Raises:
            Misuse: When the loader has that wrapper already.
        """
        for name, value in around.items():
            if getattr(self, name) is not _DEFAULTS[name] and value is not _DEFAULTS[name]:
                raise Misuse(_TWICE[name])
        return replace(self, **around)

    def bound_to(self, view: Any) -> Loader:
        """The loader with the view's method in place of the method's name, which it must have."""
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
        """Call the function as a part would, with all its wrappers.

        With `cached_for`, you get the JSON data that a client would see, whether or not it was
        cached.
        """
        if self.is_async:
            return call_loader_async(self, request, args, kwargs)
        return call_loader(self, request, args, kwargs)

    def recover(self, request: Any, error: BaseException, subject: str) -> Any:
        """The fallback for this failure, which is logged once.

        Args:
            request: The first argument of a fallback function.
            error: The failure.
            subject: What failed, for the log.

        Raises:
            BaseException: ``error`` itself, if no fallback covers it.
        """
        data = self.recover_later(request, error, subject)
        if inspect.iscoroutine(data):
            return run_coroutine(data)
        return data

    def recover_later(self, request: Any, error: BaseException, subject: str) -> Any:
        """Like `recover`, but an ``async def`` fallback function's coroutine is not awaited."""
        if not self.has_fallback or not is_covered(error):
            raise error
        logger.warning("%s failed; its fallback is delivered.", subject, exc_info=error)
        return self.fallback(request, error) if callable(self.fallback) else self.fallback


_DEFAULTS: Final = {
    field.name: field.default for field in fields(Loader) if field.name != "function"
}
_TWICE: Final = {
    "fallback": "safe_call() around safe_call(): a loader can have one fallback. Keep one of them.",
    "timeout": (
        "a timeout around a timeout: with_timeout(), or lazy(timeout=...), was given a loader "
        "that has a timeout already. Keep one of them."
    ),
    "caching": "cached_for() around cached_for(): a loader can be cached once. Keep one of them.",
}
#: Where `lazy` belongs, by the caller of `as_loader`.
_NOT_AROUND_LAZY: Final = {
    "lazy()": "Write lazy() once.",
    "safe_call()": "Write lazy(safe_call(loader, fallback=...)).",
    "with_timeout()": "Write lazy(with_timeout(loader, seconds)).",
    "cached_for()": "Write lazy(cached_for(60)(loader)).",
}


def safe_call(func: Callable[..., Any] | str, fallback: Any) -> Loader:
    """A loader whose failures deliver a fallback instead of an error.

    In a part, the fallback also covers its timeout and everything that turns its
    data into JSON: evaluating a QuerySet, the serializer, the encoding. It never covers a denial or
    a missing object (``PermissionDenied``, ``NotAuthenticated``, ``Http404`` and the like, also
    inside an ``ExceptionGroup``), ``SystemExit``, ``KeyboardInterrupt`` or ``CancelledError``.

    Args:
        func: The loader, plain or ``async def``, or the name of a method of the view.
        fallback: The data to deliver instead, falsy or not, or a function of
            ``(request, exception)`` that returns it. The part's ``serializer_class`` is not applied
            to it.

    Raises:
        Misuse: When ``func`` is not a function or has a fallback already, or when ``fallback`` is a
            class.

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
    """A loader with a timeout. After the timeout, the part fails with ``part_timeout``.

    It works in any thread, under WSGI and ASGI. A plain function runs in a thread of the
    executor's pool. A thread cannot be killed, so after the timeout the function runs on and counts
    as abandoned (``get_executor().abandoned``). When too many calls are abandoned, further loaders
    with a timeout fail at once with ``capacity``. A coroutine is cancelled.

    In an atomic block the function stays in its thread and its transaction, unless parts run in
    threads anyway. There the database's own statement timeout ends its queries (PostgreSQL).

    Args:
        func: The loader, plain or ``async def``, or the name of a method of the view.
        seconds: The timeout. It starts when the loader asks for a thread.

    Raises:
        Misuse: When ``func`` is not a function or has a timeout already, or when ``seconds`` is not
            a number above zero.

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
    version: Callable[[Any], str | None] | None = None,
) -> Callable[[Callable[..., Any] | str], Loader]:
    """A decorator: the loader's data is kept across walks, and computed by one caller at a time.

    The entry is the JSON of the part, after the serializer. It belongs to one identity, view, path,
    query, language and time zone, and to the data of the part's dependencies. Errors, timeouts,
    denials and fallbacks are never kept.

    Args:
        ttl: Seconds for which an entry is kept.
        shared: Whether all identities share the entries. Only for data that is the same for every
            client.
        vary: Names of request headers that the data depends on.
        key: A function of the request that returns a string to use in place of the identity, for
            example a tenant's id. If it returns None, the data is not kept.
        version: A function of the request that returns a string, for example the time of the last
            change. Entries of another version are not used, so a client that writes and then reads
            sees its change. It is called for each request, so it must be quick. If it returns
            None, the data is not kept.

    Raises:
        Misuse: When an argument is invalid, or the loader is cached already.

    Example::

        @cached_for(300)
        def get_analytics(self, request): ...

        lazy(cached_for(60, shared=True)(get_rates))
    """
    if not COUNT.accepts(ttl):
        raise Misuse(f"cached_for({ttl!r}): write whole seconds, for example cached_for(300).")
    if not SWITCH.accepts(shared) or (shared and key is not None):
        raise Misuse("cached_for(shared=..., key=...): True or False, and one of them at most.")
    if not isinstance(vary, (list, tuple)) or not all(isinstance(name, str) for name in vary):
        raise Misuse(f"cached_for(vary={vary!r:.80}): write a list of headers, ['X-Tenant'].")
    if key is not None and not callable(key):
        raise Misuse(f"cached_for(key={key!r:.80}): write a function of (request).")
    if version is not None and not callable(version):
        raise Misuse(f"cached_for(version={version!r:.80}): write a function of (request).")
    caching = Caching(ttl, shared, tuple(vary), key, version)
    return lambda func: as_loader(func, "cached_for()").wrapped(caching=caching)


def checked_timeout(seconds: Any, where: str) -> float:
    """The timeout as a float.

    Raises:
        Misuse: When it is not a number of seconds above zero.
    """
    if not SECONDS.accepts(seconds):
        raise Misuse(f"{where}: a timeout is a number of seconds above zero.")
    return float(seconds)


def as_loader(func: Any, user: str) -> Loader:
    """The function, or the name of a method, as a `Loader`.

    Raises:
        Misuse: When it cannot be called. The message begins with ``user``.
    """
    if isinstance(func, Loader):
        return func
    if isinstance(func, DeclaredPart):
        advice = _NOT_AROUND_LAZY.get(user, "Define a function of (self, request).")
        raise Misuse(f"{user} takes a loader, not a lazy part. {advice}")
    if not callable(func) and not isinstance(func, str):
        raise Misuse(
            f"{user} takes a function of (request), not {type(func).__name__}. "
            "Pass the function itself, without calling it."
        )
    return Loader(func)
