"""What ``manage.py check`` reports about mounted views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import getattr_static
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from partstream.backends.loader import (
    get_cache_store,
    get_executor,
)
from partstream.conf import get_problems, get_settings
from partstream.exceptions import Misuse
from partstream.mixins import ChunkMixin, CursorMixin
from partstream.mixins.attributes import KINDS, budget_problem, checked, cursor_parameter
from partstream.mixins.base import PartsMixin

from .executors import are_parts_known, executor_messages, executors_in_use

Messages = list[checks.CheckMessage]


_ATTRIBUTES = ("parts", "cursor_query_param", "executor", *KINDS)


def check_views(**_: Any) -> Messages:
    """Check the attributes of each mounted view, including its static ``parts``."""
    if get_problems() or not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    messages: Messages = []
    for view_class, callback in _mounted(get_resolver().url_patterns):
        initkwargs = getattr(callback, "initkwargs", {})
        # The attributes of an instance, as far as its class determines them: checks make none.
        declared = {
            name: initkwargs.get(name, getattr_static(view_class, name, None))
            for name in _ATTRIBUTES
        }
        # The value of a property is known on an instance only.
        fixed = {name: value for name, value in declared.items() if not hasattr(value, "__get__")}
        try:
            _check_view(view_class, fixed)
            messages += _view_messages(view_class, fixed)
            messages += _transaction_messages(view_class, fixed, callback)
            messages += executor_messages(view_class, fixed)
        except Misuse as error:
            messages.append(checks.Error(str(error), obj=view_class, id="partstream.E004"))
    # A view with three routes would report each message three times.
    return [message for place, message in enumerate(messages) if message not in messages[:place]]


def _view_messages(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> Iterator[Any]:
    """Warnings about a view whose attributes are valid."""
    settings = get_settings()
    chunk_size, most = fixed.get("chunk_size"), settings.MAX_PARTS_PER_REQUEST
    if chunk_size is not None and chunk_size > most:
        yield checks.Warning(
            f"{view_class.__name__}.chunk_size is {chunk_size}, but a chunk has at most "
            f"{most} parts.",
            hint="Lower it, or raise MAX_PARTS_PER_REQUEST.",
            obj=view_class,
            id="partstream.W002",
        )
    try:
        executor = get_executor(fixed.get("executor"), f"{view_class.__name__}.executor")
        store = get_cache_store()
    except ImproperlyConfigured as error:
        if fixed.get("executor") is not None:
            yield checks.Error(str(error), obj=view_class, id="partstream.E003")
        return  # Another check reports errors of the settings' own backends.
    try:
        executors = [executor, *executors_in_use(view_class, fixed)]
    except ImproperlyConfigured as error:
        yield checks.Error(str(error), obj=view_class, id="partstream.E003")
        return
    if not executor.concurrent and not are_parts_known(view_class, fixed):
        executors = []
    budget = fixed.get("time_budget")
    budget = settings.CHUNK_TIME_BUDGET if budget is None else budget
    if budget is None or not issubclass(view_class, ChunkMixin):
        return
    caching = fixed.get("enable_caching")
    caching = settings.ENABLE_CACHING if caching is None else caching
    problem = budget_problem(executors, caching, store)
    if problem is not None:
        yield checks.Error(
            f"{view_class.__name__} has a time budget of {budget} s, but {problem}",
            obj=view_class,
            id="partstream.E005",
        )
    elif not store.shared:
        yield checks.Warning(
            f"{view_class.__name__} has a time budget, but {type(store).__name__} is not shared: "
            "a part that moves to the next chunk runs again if another process answers it.",
            hint="If you run more than one process, use a store that they share, such as "
            '"partstream.backends.caches.redis.RedisCacheStore".',
            obj=view_class,
            id="partstream.W006",
        )


def _transaction_messages(
    view_class: type[PartsMixin], fixed: Mapping[str, Any], callback: Any
) -> Iterator[Any]:
    """Warn about a view that runs its parts in threads but is inside a transaction."""
    try:
        executors = executors_in_use(view_class, fixed)
    except ImproperlyConfigured:
        return
    exempt = getattr(callback, "_non_atomic_requests", ())
    atomic = [
        alias
        for alias, database in django_settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS") and alias not in exempt
    ]
    if atomic and any(executor.concurrent for executor in executors):
        yield checks.Warning(
            f"{view_class.__name__} runs parts in threads, which cannot see the request's "
            "transaction, but ATOMIC_REQUESTS opens one for each request.",
            hint="Decorate the view class with method_decorator(transaction.non_atomic_requests, "
            'name="dispatch"), or use the InlineExecutor.',
            obj=view_class,
            id="partstream.W007",
        )


def _check_view(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> None:
    """Raise `Misuse` if an attribute of a view is invalid."""
    if fixed.get("parts") is not None and view_class.get_parts is PartsMixin.get_parts:
        view_class.build_part_list(fixed["parts"])
    for name in KINDS:
        if fixed.get(name) is not None:
            checked(view_class, name, fixed[name])
    if issubclass(view_class, CursorMixin) and "cursor_query_param" in fixed:
        cursor_parameter(view_class, fixed["cursor_query_param"])


def _mounted(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[tuple[type[PartsMixin], Any]]:
    """Each mounted view of partstream's, with the arguments of its ``as_view()``."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _mounted(pattern.url_patterns)
            continue
        # DRF sets this attribute for both views and viewsets.
        view_class = getattr(pattern.callback, "cls", None)
        if isinstance(view_class, type) and issubclass(view_class, PartsMixin):
            yield view_class, pattern.callback
