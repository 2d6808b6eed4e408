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
from partstream.isolation.transactions import request_transactions
from partstream.mixins import ChunkMixin, CursorMixin, StreamMixin
from partstream.mixins.attributes import KINDS, budget_problem, checked, cursor_parameter
from partstream.mixins.base import PartsMixin
from partstream.parts.endpoints import Endpoint

from .executors import (
    are_parts_known,
    executor_messages,
    executors_in_use,
    loaders_of,
    may_run_loaders,
)
from .parts import (
    check_parts_exist,
    part_messages,
    permission_messages,
    sharing_messages_of_parts,
)

Messages = list[checks.CheckMessage]


_ATTRIBUTES = ("parts", "cursor_query_param", "executor", *KINDS)


def check_views(**_: Any) -> Messages:
    """Check the attributes of each mounted view, including its static ``parts``."""
    messages: Messages = []
    streaming = _streaming_classes()
    for view_class, callback, fixed in _examined():
        streams = view_class in streaming
        try:
            _check_view(view_class, fixed)
            check_parts_exist(view_class, callback, fixed)
            messages += _view_messages(view_class, fixed)
            messages += _transaction_messages(view_class, fixed, callback, streams=streams)
            messages += executor_messages(view_class, fixed, streams=streams)
            messages += part_messages(view_class, fixed)
            initkwargs = getattr(callback, "initkwargs", {})
            messages += permission_messages(view_class, fixed, initkwargs)
        except Misuse as error:
            messages.append(checks.Error(str(error), obj=view_class, id="partstream.E004"))
    return _once(messages)


def check_views_for_production(**_: Any) -> Messages:
    """Check what mounted views need of stores that several processes share."""
    messages: Messages = []
    streaming = _streaming_classes()
    for view_class, _callback, fixed in _examined():
        try:
            messages += _sharing_messages(view_class, fixed)
            if view_class in streaming:
                messages += _sharing_messages_of_streams(view_class, fixed)
            messages += sharing_messages_of_parts(view_class, fixed)
        except (Misuse, ImproperlyConfigured):
            continue  # Another check reports it.
    return _once(messages)


def _examined() -> Iterator[tuple[type[PartsMixin], Any, dict[str, Any]]]:
    """Each mounted view, with its callback and those attributes that its class determines."""
    if get_problems() or not getattr(django_settings, "ROOT_URLCONF", None):
        return
    for view_class, callback in _mounted(get_resolver().url_patterns):
        initkwargs = getattr(callback, "initkwargs", {})
        # The attributes of an instance, as far as its class determines them: checks make none.
        declared = {
            name: initkwargs.get(name, getattr_static(view_class, name, None))
            for name in _ATTRIBUTES
        }
        # The value of a property is known on an instance only.
        fixed = {name: value for name, value in declared.items() if not hasattr(value, "__get__")}
        yield view_class, callback, fixed


def _streaming_classes() -> set[type[PartsMixin]]:
    """The views that answer with a stream on one of their routes."""
    if get_problems() or get_settings().MAX_STREAMS == 0:
        return set()
    return {
        view_class
        for view_class, callback, _ in _examined()
        if issubclass(view_class, StreamMixin)
        and view_class.offers_streams(getattr(callback, "initkwargs", {}))
    }


def _once(messages: Messages) -> Messages:
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
    budget = _budget(view_class, fixed)
    if budget is None:
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


def _budget(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> float | None:
    """The time budget of a view's chunks; None: it has none."""
    budget: float | None = fixed.get("time_budget")
    if budget is None:
        budget = get_settings().CHUNK_TIME_BUDGET
    return budget if issubclass(view_class, ChunkMixin) else None


def _sharing_messages(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> Iterator[Any]:
    """Warn about a view with a time budget over a store that processes do not share."""
    store = get_cache_store()
    if store.keeps and not store.shared and _budget(view_class, fixed) is not None:
        yield checks.Warning(
            f"{view_class.__name__} has a time budget, but {type(store).__name__} is not shared: "
            "a part that moves to the next chunk runs again if another process answers it.",
            hint="If you run more than one process, use a store that they share, such as "
            '"partstream.backends.caches.redis.RedisCacheStore".',
            obj=view_class,
            id="partstream.W006",
        )


def _sharing_messages_of_streams(
    view_class: type[PartsMixin], fixed: Mapping[str, Any]
) -> Iterator[Any]:
    """Warn about a view with streams over a store that processes do not share."""
    store, caching = get_cache_store(), fixed.get("enable_caching")
    caching = get_settings().ENABLE_CACHING if caching is None else caching
    if caching and store.keeps and not store.shared and may_run_loaders(view_class, fixed):
        yield checks.Warning(
            f"{view_class.__name__} offers streams, but {type(store).__name__} is not shared: if a "
            "stream is cut and another process resumes it, parts that were running run again.",
            hint="If you run more than one process, use a store that they share, such as "
            '"partstream.backends.caches.redis.RedisCacheStore".',
            obj=view_class,
            id="partstream.W023",
        )


def _transaction_messages(
    view_class: type[PartsMixin], fixed: Mapping[str, Any], callback: Any, *, streams: bool
) -> Iterator[Any]:
    """Warn about a view inside a transaction, if parts run in threads or in streams."""
    try:
        executors = executors_in_use(view_class, fixed)
    except ImproperlyConfigured:
        return
    places, others = [], []
    if any(executor.concurrent for executor in executors):
        places.append("in threads, which cannot see it")
        others.append("use the InlineExecutor")
    if streams and may_run_loaders(view_class, fixed):
        places.append("in streams, which go on after it has ended")
        others.append("set MAX_STREAMS to 0")
    if places and request_transactions(callback):
        yield checks.Warning(
            f"{view_class.__name__} runs parts outside of the transaction that ATOMIC_REQUESTS "
            f"opens for each request: {', and '.join(places)}.",
            hint="Decorate the view class with method_decorator(transaction.non_atomic_requests, "
            f'name="dispatch"), or {" and ".join(others)}.',
            obj=view_class,
            id="partstream.W007",
        )


def _check_view(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> None:
    """Raise `Misuse` if an attribute of a view is invalid."""
    if fixed.get("parts") is not None and view_class.get_parts is PartsMixin.get_parts:
        view_class.build_part_list(fixed["parts"])
        _check_endpoints(view_class, fixed)
    for name in KINDS:
        if fixed.get(name) is not None:
            checked(view_class, name, fixed[name])
    if issubclass(view_class, CursorMixin) and "cursor_query_param" in fixed:
        cursor_parameter(view_class, fixed["cursor_query_param"])


def _check_endpoints(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> None:
    is_versioned = getattr(view_class, "versioning_class", None) is not None
    for name, loader in (loaders_of(view_class, fixed) or {}).items():
        if isinstance(loader.function, Endpoint):
            try:
                loader.function.check(is_versioned=is_versioned)
            except Misuse as error:
                raise Misuse(f"{view_class.__name__}: part {name!r}: {error}") from error


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
        if (
            isinstance(view_class, type)
            and issubclass(view_class, PartsMixin)
            and view_class.serves_parts(getattr(pattern.callback, "initkwargs", {}))
        ):
            yield view_class, pattern.callback
