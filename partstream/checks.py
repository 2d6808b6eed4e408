"""The system checks: what ``manage.py check`` says of settings, backends and static parts.

=================  ================================================================
partstream.E001    A name in ``DJANGO_PARTSTREAM`` is not a setting.
partstream.E002    A setting, or its environment variable, has a wrong value.
partstream.E003    A backend cannot be made.
partstream.E004    A view's attributes cannot work.
partstream.E005    A time budget lacks what it needs.
partstream.E006    A rate-limit store is over a cache that cannot count.
partstream.E007    A cache store is over a cache that does not give bytes back.
partstream.E008    A store and its Redis do not fit.
partstream.E009    Parts run in threads that know nothing of the request's tenant.
partstream.E010    A coroutine loader in a process whose threads are patched.
partstream.E011    The function that ``IDENTITY`` names cannot be used.
partstream.E012    A store's keys depend on the tenant of the thread that asks.
partstream.W001    ``DEFAULT_CHUNK_SIZE`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W002    A view's ``chunk_size`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W003    An environment variable looks like a misspelt setting.
partstream.W004    Whoever can write the cache can run code (``check --deploy``).
partstream.W005    A cache store cannot let exactly one of many processes run a loader.
partstream.W006    A time budget runs parts again in another process, which shares no store.
partstream.W007    Parts run in threads, outside of the transaction of ``ATOMIC_REQUESTS``.
partstream.W008    Rate limits are counted in each process by itself (``check --deploy``).
partstream.W009    Rate limits are counted in a cache that each process has for itself.
partstream.W010    A rate-limit store may wait long for a server that hangs.
partstream.W011    ``TRUSTED_PROXIES`` has a network of everybody.
partstream.W012    Nothing limits how often a client may ask (``check --deploy``).
partstream.W013    Requests pass uncounted while the store is down (``check --deploy``).
partstream.W014    Refused requests leave no audit trail (``check --deploy``).
partstream.W015    Cursors hang on a short ``SECRET_KEY`` (``check --deploy``).
=================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import getattr_static
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from .attributes import (
    budget_problem,
    cursor_parameter,
    positive,
    seconds,
    switch,
    window_limit,
)
from .backends.base import Backend
from .backends.loader import (
    get_cache_store,
    get_cursor_codec,
    get_executor,
    get_rate_limit_store,
)
from .bases import PartsMixin
from .conf import get_problems, get_settings, misspelt_variables
from .exceptions import Misuse
from .executor_checks import executor_messages
from .identity import get_identity_function
from .mixins import ChunkMixin, CursorMixin
from .security.client_ip import UNIX, Network, unmapped_networks
from .values import SHORTEST_SECRET

Messages = list[checks.CheckMessage]

_NUMBERS = ("chunk_size", "cursor_ttl", "max_keys_per_request")
_LIMITS = ("rate_limit", "burst_limit")
_ATTRIBUTES = ("parts", "cursor_query_param", "executor", "time_budget", "enable_caching")


def register() -> None:
    """Register the checks; called by the application's ``ready()``."""
    checks.register(check_settings)
    checks.register(check_backends)
    checks.register(check_backends_for_production, deploy=True)
    checks.register(check_identity)
    checks.register(check_guard)
    checks.register(check_guard_for_production, deploy=True)
    checks.register(check_views, checks.Tags.urls)


def check_settings(**_: Any) -> Messages:
    """Unknown names, wrong values, variables that look like a setting."""
    messages: Messages = [
        checks.Error(
            f"{problem.source} {problem.message}",
            hint=problem.hint,
            id="partstream.E001" if problem.unknown else "partstream.E002",
        )
        for problem in get_problems()
    ]
    messages += [
        checks.Warning(
            f"The environment variable {variable} is not read by partstream.",
            hint=f"Did you mean {likely}?",
            id="partstream.W003",
        )
        for variable, likely in misspelt_variables()
    ]
    if not get_problems():
        settings = get_settings()
        if settings.DEFAULT_CHUNK_SIZE > settings.MAX_PARTS_PER_REQUEST:
            messages.append(
                checks.Warning(
                    f"DEFAULT_CHUNK_SIZE is {settings.DEFAULT_CHUNK_SIZE}, and chunks have "
                    f"{settings.MAX_PARTS_PER_REQUEST} parts at the most.",
                    hint="Lower it, or raise MAX_PARTS_PER_REQUEST.",
                    id="partstream.W001",
                )
            )
    return messages


def check_backends(**_: Any) -> Messages:
    """Whether each backend can be made, and what it says of itself."""
    backends, messages = _backends()
    for backend in backends:
        messages += backend.check()
    return messages


def check_backends_for_production(**_: Any) -> Messages:
    """What backends say of themselves that matters only in production."""
    return [message for backend in _backends()[0] for message in backend.check_deploy()]


def _backends() -> tuple[list[Backend], Messages]:
    """The settings' backends, and what is wrong with those that cannot be made."""
    if get_problems():
        return [], []
    backends: list[Backend] = []
    messages: Messages = []
    getters: list[Callable[[], Backend]] = [get_cursor_codec, get_cache_store, get_executor]
    if get_settings().ENABLE_RATE_LIMITING:
        getters.append(get_rate_limit_store)
    for get_backend in getters:
        try:
            backends.append(get_backend())
        except ImproperlyConfigured as error:
            messages.append(checks.Error(str(error), id="partstream.E003"))
    return backends, messages


def check_identity(**_: Any) -> Messages:
    """Whether the function of ``IDENTITY`` can be imported, and called with a request."""
    if get_problems() or get_settings().IDENTITY is None:
        return []
    try:
        get_identity_function()
    except Misuse as error:
        hint = "It is a function of (request) that returns a string, or None."
        return [checks.Error(str(error), hint=hint, id="partstream.E011")]
    return []


def check_guard(**_: Any) -> Messages:
    """Whether the guard believes whom it should not."""
    if get_problems():
        return []
    trusted = [entry for entry in get_settings().TRUSTED_PROXIES if entry != UNIX]
    networks = unmapped_networks(trusted)
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    together: list[Network] = [*collapse_addresses(four), *collapse_addresses(six)]
    return [
        checks.Warning(
            f"TRUSTED_PROXIES has all of IPv{network.version}: any client can name any address as "
            "its own.",
            hint="List the networks of your own proxies.",
            id="partstream.W011",
        )
        for network in together
        if network.prefixlen == 0
    ]


def check_guard_for_production(**_: Any) -> Messages:
    """What of the guard is switched off, or weak."""
    if get_problems():
        return []
    settings = get_settings()
    unlimited = settings.RATE_LIMIT is None and settings.BURST_LIMIT is None
    shortest = min(map(len, _secrets()), default=SHORTEST_SECRET)
    doubts = [
        (
            unlimited or not settings.ENABLE_RATE_LIMITING,
            "Nothing limits how often a client may ask.",
            "Set ENABLE_RATE_LIMITING, and RATE_LIMIT or BURST_LIMIT.",
            "partstream.W012",
        ),
        (
            settings.RATE_LIMIT_ON_STORE_ERROR == "open",
            "While the rate-limit store is down, every request passes uncounted.",
            'Set RATE_LIMIT_ON_STORE_ERROR to "local" or "closed".',
            "partstream.W013",
        ),
        (
            not settings.ENABLE_AUDIT_LOGGING,
            "Refused requests leave no audit trail.",
            "Set ENABLE_AUDIT_LOGGING, and a handler for the logger partstream.audit.",
            "partstream.W014",
        ),
        (
            shortest < SHORTEST_SECRET,
            f"Cursors hang on SECRET_KEY and its fallbacks; one has {shortest} characters.",
            f"Make each {SHORTEST_SECRET} random characters or more, or set CURSOR_KEYS.",
            "partstream.W015",
        ),
    ]
    return [
        checks.Warning(message, hint=hint, id=identifier)
        for found, message, hint, identifier in doubts
        if found
    ]


def _secrets() -> list[str | bytes]:
    """The secrets of Django that cursors hang on; none where it has a check of its own to say."""
    try:
        if get_settings().CURSOR_KEYS is None:
            return [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    except ImproperlyConfigured:
        return []
    return []


def check_views(**_: Any) -> Messages:
    """Whether the attributes of each mounted view can work, its static ``parts`` among them."""
    if get_problems() or not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    messages: Messages = []
    for view_class, callback in _mounted(get_resolver().url_patterns):
        initkwargs = getattr(callback, "initkwargs", {})
        # What an instance would have, as far as its class tells: none is made for a check.
        declared = {
            name: initkwargs.get(name, getattr_static(view_class, name, None))
            for name in (*_ATTRIBUTES, *_NUMBERS, *_LIMITS)
        }
        # A property is its own affair.
        fixed = {name: value for name, value in declared.items() if not hasattr(value, "__get__")}
        try:
            _check_view(view_class, fixed)
            messages += _view_messages(view_class, fixed)
            messages += _transaction_messages(view_class, fixed, callback)
            messages += executor_messages(view_class, fixed)
        except Misuse as error:
            messages.append(checks.Error(str(error), obj=view_class, id="partstream.E004"))
    # A view with three routes says it once.
    return [message for place, message in enumerate(messages) if message not in messages[:place]]


def _view_messages(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> Iterator[Any]:
    """What is doubtful about a view whose attributes can work."""
    settings = get_settings()
    chunk_size, most = fixed.get("chunk_size"), settings.MAX_PARTS_PER_REQUEST
    if chunk_size is not None and chunk_size > most:
        yield checks.Warning(
            f"{view_class.__name__}.chunk_size is {chunk_size}, and chunks have "
            f"{most} parts at the most.",
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
        return  # What the settings' own backends lack is said elsewhere.
    budget = fixed.get("time_budget")
    budget = settings.CHUNK_TIME_BUDGET if budget is None else budget
    if budget is None or not issubclass(view_class, ChunkMixin):
        return
    caching = fixed.get("enable_caching")
    caching = settings.ENABLE_CACHING if caching is None else caching
    problem = budget_problem(executor, caching, store)
    if problem is not None:
        yield checks.Error(
            f"{view_class.__name__} has a time budget of {budget} s, and {problem}",
            obj=view_class,
            id="partstream.E005",
        )
    elif not store.shared:
        yield checks.Warning(
            f"{view_class.__name__} has a time budget, and {type(store).__name__} is not shared: "
            "a part that moves to the next chunk runs again if another process answers it.",
            hint="With more than one process take a store that they share, such as "
            '"partstream.backends.caches.redis.RedisCacheStore".',
            obj=view_class,
            id="partstream.W006",
        )


def _transaction_messages(
    view_class: type[PartsMixin], fixed: Mapping[str, Any], callback: Any
) -> Iterator[Any]:
    """Whether a view that runs its parts in threads has a transaction around it."""
    try:
        executor = get_executor(fixed.get("executor"))
    except ImproperlyConfigured:
        return
    exempt = getattr(callback, "_non_atomic_requests", ())
    atomic = [
        alias
        for alias, database in django_settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS") and alias not in exempt
    ]
    if executor.concurrent and atomic:
        yield checks.Warning(
            f"{view_class.__name__} runs its parts in threads, which see nothing of the request's "
            "transaction, and ATOMIC_REQUESTS opens one for each request.",
            hint="Decorate the view class with method_decorator(transaction.non_atomic_requests, "
            'name="dispatch"), or take the InlineExecutor.',
            obj=view_class,
            id="partstream.W007",
        )


def _check_view(view_class: type[PartsMixin], fixed: Mapping[str, Any]) -> None:
    """Raises `Misuse` for what is wrong with a view's attributes."""
    if fixed.get("parts") is not None and view_class.get_parts is PartsMixin.get_parts:
        view_class.build_part_list(fixed["parts"])
    for name in _NUMBERS:
        if fixed.get(name) is not None:
            positive(view_class, name, fixed[name])
    for name in _LIMITS:
        if fixed.get(name) is not None:
            window_limit(view_class, name, fixed[name])
    if fixed.get("time_budget") is not None:
        seconds(view_class, "time_budget", fixed["time_budget"])
    if fixed.get("enable_caching") is not None:
        switch(view_class, "enable_caching", fixed["enable_caching"])
    if issubclass(view_class, CursorMixin) and "cursor_query_param" in fixed:
        cursor_parameter(view_class, fixed["cursor_query_param"])


def _mounted(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[tuple[type[PartsMixin], Any]]:
    """Each mounted view of ours, with what ``as_view()`` returned."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _mounted(pattern.url_patterns)
            continue
        # DRF names them so on its views and on its viewsets.
        view_class = getattr(pattern.callback, "cls", None)
        if isinstance(view_class, type) and issubclass(view_class, PartsMixin):
            yield view_class, pattern.callback
