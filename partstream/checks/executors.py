"""What ``manage.py check`` reports about views whose parts run in other threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import getattr_static
from typing import Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from partstream.backends.executors.base import Executor
from partstream.backends.executors.daemon_threads import patched_by
from partstream.backends.loader import get_executor
from partstream.conf import get_settings
from partstream.mixins.base import PartsMixin
from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader, as_loader

#: Packages that keep a tenant on the thread's database connection. Each is the name of an app, and
#: the beginning of a database's ``ENGINE``.
_TENANT_PACKAGES: Final = ("django_tenants", "tenant_schemas")


def executor_messages(
    view_class: type[PartsMixin], fixed: Mapping[str, Any], *, streams: bool
) -> Iterator[Any]:
    """What a view's executor is missing for its parts.

    Args:
        view_class: The view.
        fixed: Those of its attributes that its class determines.
        streams: Whether it streams its parts.
    """
    try:
        executors = executors_in_use(view_class, fixed)
    except ImproperlyConfigured:
        return  # Another check reports it.
    loaders = loaders_of(view_class, fixed)
    package = _tenant_package()
    unset = {executor: names for executor, names in executors.items() if not executor.sets_state}
    if package is not None and unset:
        if any(_may_use_threads(executor, names, loaders) for executor, names in unset.items()):
            yield _tenant_error(view_class, package, "may run in other threads")
        elif streams and any(
            executor.watches_time and (names or loaders is None)
            for executor, names in unset.items()
        ):
            where = "run in other threads when they are streamed"
            yield _tenant_error(view_class, package, where, ", or set MAX_STREAMS to 0")
    yield from _green_thread_errors(view_class, loaders)


def executors_in_use(
    view_class: type[PartsMixin], fixed: Mapping[str, Any]
) -> dict[Executor, list[str]]:
    """The executors that run parts of a view, with the names of their static lazy parts.

    If ``get_parts()`` determines the parts, or if none is lazy, it is the view's executor.

    Raises:
        Misuse: When one cannot be made.
    """
    own = get_executor(fixed.get("executor"), f"{view_class.__name__}.executor")
    found: dict[Executor, list[str]] = {}
    for name, part in (_lazy_parts(view_class, fixed) or {}).items():
        where = f"{view_class.__name__}: the executor of part {name!r}"
        executor = own if part.executor is None else get_executor(part.executor, where)
        found.setdefault(executor, []).append(name)
    return found or {own: []}


def are_parts_known(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> bool:
    """Whether the parts are static: ``get_parts()`` may give a part an executor of its own."""
    return _lazy_parts(view_class, fixed) is not None


def may_run_loaders(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> bool:
    """Whether a view has lazy parts, or ``get_parts()`` determines its parts."""
    return _lazy_parts(view_class, fixed) != {}


def _tenant_error(
    view_class: type[PartsMixin], package: str, where: str, otherwise: str = ""
) -> checks.Error:
    functions = "a function of (request) that sets the tenant on the thread's connection as "
    functions += "before_call, and one that resets it as after_call,"
    if package == "django_tenants":
        hooks = "partstream.contrib.django_tenants"
        functions = f'"{hooks}.before_call" as before_call and "{hooks}.after_call" as after_call'
    return checks.Error(
        f"{package} keeps the tenant on the database connection of the request's thread, but parts "
        f"of {view_class.__name__} {where}, where they would read another schema.",
        hint=f"Set {functions} in the OPTIONS of PART_EXECUTOR, or of the view's or the part's "
        f"executor{otherwise}.",
        obj=view_class,
        id="partstream.E009",
    )


def _tenant_package() -> str | None:
    engines = [database.get("ENGINE", "") for database in django_settings.DATABASES.values()]
    for package in _TENANT_PACKAGES:
        if apps.is_installed(package) or any(
            engine.startswith(f"{package}.") for engine in engines
        ):
            return package
    return None


def _may_use_threads(
    executor: Executor, names: Iterable[str], loaders: Mapping[str, Loader] | None
) -> bool:
    if not executor.watches_time:
        return False
    if executor.concurrent or get_settings().PART_TIMEOUT is not None or loaders is None:
        return True
    return any(loaders[name].timeout is not None for name in names)


def _green_thread_errors(
    view_class: type[PartsMixin], loaders: Mapping[str, Loader] | None
) -> Iterator[checks.Error]:
    package = patched_by()
    if package is None:
        return
    for name, loader in (loaders or {}).items():
        if loader.is_async:
            yield checks.Error(
                f"{view_class.__name__}: the loader of part {name!r} is a coroutine function, but "
                f"{package} has patched threads in this process.",
                hint="Write a plain function (def instead of async def), or run the process "
                "without monkey-patching.",
                obj=view_class,
                id="partstream.E010",
            )


def loaders_of(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> dict[str, Loader] | None:
    """The loaders of a view's static parts, by name; None: ``get_parts()`` determines them."""
    parts = _lazy_parts(view_class, fixed)
    if parts is None:
        return None
    return {name: _of_class(view_class, part) for name, part in parts.items()}


def _lazy_parts(
    view_class: type[PartsMixin], fixed: Mapping[str, Any]
) -> dict[str, LazyPart] | None:
    """A view's static lazy parts, by name; None: ``get_parts()`` determines them."""
    if fixed.get("parts") is None or view_class.get_parts is not PartsMixin.get_parts:
        return None
    part_list = view_class.build_part_list(fixed["parts"])
    return {name: part for name, part in part_list if isinstance(part, LazyPart)}


def _of_class(view_class: type, part: LazyPart) -> Loader:
    """A part's loader; if it was given by name, the class's method."""
    loader = as_loader(part.loader, "lazy()")
    if not isinstance(loader.function, str):
        return loader
    method = getattr_static(view_class, loader.function, None)
    method = getattr(method, "__func__", method)
    if not isinstance(method, Loader) and not callable(method):
        return loader
    own = as_loader(method, "lazy()")
    timeout = loader.timeout if loader.timeout is not None else own.timeout
    return Loader(own.function, timeout=timeout)
