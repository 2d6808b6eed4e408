"""Makes all backends: one instance per process, from the dotted path in the setting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

from partstream.per_process import Kept
from partstream.setting_kinds import BackendPath

from ..conf import SETTING, get_settings, get_source
from ..exceptions import Misuse
from ..keys import get_key_ring
from .base import Backend
from .caches.base import CacheStore
from .cursors.base import CursorCodec
from .executors.base import Executor
from .rate_limits.base import RateLimitStore

B = TypeVar("B", bound=Backend)

#: Module of an optional dependency -> the extra that installs it.
_EXTRAS = {"jwt": "jwt", "django_redis": "redis", "redis": "redis"}


def build(setting: str, configured: str | Mapping[str, Any], family: type[B], **given: Any) -> B:
    """An instance of the backend that a setting or a view's attribute names.

    Args:
        setting: The setting or attribute, for error messages.
        configured: A dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
        family: The required base class.
        given: Constructor arguments of every backend in the family, in addition to its options.

    Raises:
        Misuse: When the path, the class or its options are invalid.
    """
    if isinstance(configured, str):
        configured = {"BACKEND": configured}
    path, options = configured["BACKEND"], configured.get("OPTIONS", {})
    module_name, _, class_name = path.rpartition(".")
    where = f"{get_source(setting) if setting.isupper() else setting} = {path!r}"
    try:
        module = import_module(module_name)
    except ImportError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra:
            raise Misuse(
                f"{where} needs a package that is not installed. "
                f"Run: pip install 'django-partstream[{extra}]'"
            ) from error
        raise Misuse(f"{where} cannot be imported: {error}.") from error
    backend = getattr(module, class_name, None)
    if not (isinstance(backend, type) and issubclass(backend, family)):
        raise Misuse(f"{where} is not a {family.__name__}. Name a class that inherits from it.")
    try:
        return backend(**given, **options)
    except Misuse as error:
        raise Misuse(f"{where}: {error}") from error
    except TypeError as error:
        raise Misuse(f"{where} does not accept its OPTIONS {sorted(options)}: {error}.") from error
    except Exception as error:
        # For example, the client of a cache may reject its LOCATION.
        raise Misuse(
            f"{where} cannot be made: {type(error).__name__}: {error}. Check its OPTIONS, and "
            "the cache that they name."
        ) from error


def _make_cursor_codec() -> CursorCodec:
    return build(
        "CURSOR_CODEC",
        get_settings().CURSOR_CODEC,
        CursorCodec,  # type: ignore[type-abstract]
        keys=get_key_ring(),
    )


#: The process's cursor codec.
get_cursor_codec = Kept(_make_cursor_codec, SETTING, "SECRET_KEY", "SECRET_KEY_FALLBACKS").get


def _make_cache_store() -> CacheStore:
    settings = get_settings()
    return build(
        "CACHE_STORE",
        settings.CACHE_STORE,
        CacheStore,  # type: ignore[type-abstract]
        keys=get_key_ring(),
        max_size=settings.MAX_FRAGMENT_SIZE,
    )


#: The process's cache store.
get_cache_store = Kept(
    _make_cache_store, SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"
).get


def _make_rate_limit_store() -> RateLimitStore:
    return build(
        "RATE_LIMIT_STORE",
        get_settings().RATE_LIMIT_STORE,
        RateLimitStore,  # type: ignore[type-abstract]
    )


#: The process's rate-limit store.
get_rate_limit_store = Kept(_make_rate_limit_store, SETTING, "CACHES").get


class Executors:
    """The process's executors, one for each configuration in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Executor] = {}

    def all(self) -> list[Executor]:
        """All that were made."""
        return list(self._made.values())

    def get(self, where: str, configured: str | Mapping[str, Any]) -> Executor:
        """The executor of a configuration, made at its first use.

        Args:
            where: The setting or attribute, for error messages.
            configured: A dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.

        Raises:
            Misuse: When it cannot be made.
        """
        if isinstance(configured, str) and configured in self._made:
            return self._made[configured]
        try:
            BackendPath().take(configured)
        except ValueError as error:
            raise Misuse(
                f"{where} is {configured!r:.80}: it {error} It can also be an executor instance."
            ) from error
        # Two views with the same configuration share one pool.
        if isinstance(configured, str):
            key = configured
        else:
            options = configured.get("OPTIONS", {})
            key = configured["BACKEND"] + (f" {sorted(options.items())!r}" if options else "")
        executor = self._made.get(key)
        if executor is None:
            with self._lock:
                executor = self._made.get(key)
                if executor is None:
                    executor = self._made[key] = build(
                        where,
                        configured,
                        Executor,  # type: ignore[type-abstract]
                    )
        return executor


_get_executors = Kept(Executors, SETTING).get


def _get_configured() -> Executor:
    return _get_executors().get("PART_EXECUTOR", get_settings().PART_EXECUTOR)


_get_default_executor = Kept(_get_configured, SETTING).get
#: Replaces every executor, in tests.
_substitute: Executor | None = None


def get_executor(
    configured: str | Mapping[str, Any] | Executor | None = None, where: str = "PART_EXECUTOR"
) -> Executor:
    """The executor of a view's attribute, or of the settings.

    Args:
        configured: A dotted path, ``{"BACKEND": path, "OPTIONS": {...}}`` or an executor; None:
            ``PART_EXECUTOR``.
        where: The setting or attribute, for error messages.

    Raises:
        Misuse: When it cannot be made.
    """
    if _substitute is not None:
        return _substitute
    if configured is None:
        return _get_default_executor()
    # Strings first: the second check asks an ABC, which takes longer than everything else here.
    if not isinstance(configured, str) and isinstance(configured, Executor):
        return configured
    return _get_executors().get(where, configured)


def get_executors() -> list[Executor]:
    """The executor of the settings, then those that this process has made for attributes of views.

    Raises:
        Misuse: When that of the settings cannot be made.
    """
    first = get_executor()
    return [first, *(other for other in _get_executors().all() if other is not first)]


@contextmanager
def substituted(executor: Executor) -> Iterator[None]:
    """Run every part with this executor, whatever the views and settings say."""
    global _substitute
    before, _substitute = _substitute, executor
    try:
        yield
    finally:
        _substitute = before
