"""The system checks: what ``manage.py check`` says of settings, backends and static parts.

=================  ================================================================
partstream.E001    A name in ``DJANGO_PARTSTREAM`` is not a setting.
partstream.E002    A setting, or its environment variable, has a wrong value.
partstream.E003    A backend cannot be made.
partstream.E004    A view's attributes cannot work.
partstream.W001    ``DEFAULT_CHUNK_SIZE`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W002    A view's ``chunk_size`` is above ``MAX_PARTS_PER_REQUEST``.
partstream.W003    An environment variable looks like a misspelt setting.
=================  ================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import getattr_static
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from .attributes import cursor_parameter, positive
from .backends.loader import get_cursor_codec
from .bases import PartsMixin
from .conf import get_problems, get_settings, misspelt_variables
from .exceptions import Misuse
from .mixins import CursorMixin

Messages = list[checks.CheckMessage]

_NUMBERS = ("chunk_size", "cursor_ttl", "max_keys_per_request")


def register() -> None:
    """Register the checks; called by the application's ``ready()``."""
    checks.register(check_settings)
    checks.register(check_backends)
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
    if get_problems():
        return []
    try:
        return get_cursor_codec().check()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="partstream.E003")]


def check_views(**_: Any) -> Messages:
    """Whether the attributes of each mounted view can work, its static ``parts`` among them."""
    if get_problems() or not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    most = get_settings().MAX_PARTS_PER_REQUEST
    messages: Messages = []
    for view_class, initkwargs in _mounted(get_resolver().url_patterns):
        # What an instance would have, as far as its class tells: none is made for a check.
        declared = {
            name: initkwargs.get(name, getattr_static(view_class, name, None))
            for name in ("parts", "cursor_query_param", *_NUMBERS)
        }
        try:
            _check_view(view_class, declared)
        except Misuse as error:
            messages.append(checks.Error(str(error), obj=view_class, id="partstream.E004"))
            continue
        chunk_size = declared["chunk_size"]
        if isinstance(chunk_size, int) and chunk_size > most:
            messages.append(
                checks.Warning(
                    f"{view_class.__name__}.chunk_size is {chunk_size}, and chunks have "
                    f"{most} parts at the most.",
                    hint="Lower it, or raise MAX_PARTS_PER_REQUEST.",
                    obj=view_class,
                    id="partstream.W002",
                )
            )
    return messages


def _check_view(view_class: type[PartsMixin], declared: Mapping[str, Any]) -> None:
    """Raises `Misuse` for what is wrong with a view's attributes; a property is its own affair."""
    fixed = {name: value for name, value in declared.items() if not hasattr(value, "__get__")}
    if fixed.get("parts") is not None and view_class.get_parts is PartsMixin.get_parts:
        view_class.build_part_list(fixed["parts"])
    for name in _NUMBERS:
        if fixed.get(name) is not None:
            positive(view_class, name, fixed[name])
    if issubclass(view_class, CursorMixin) and "cursor_query_param" in fixed:
        cursor_parameter(view_class, fixed["cursor_query_param"])


def _mounted(
    patterns: Iterable[URLPattern | URLResolver],
) -> Iterator[tuple[type[PartsMixin], Mapping[str, Any]]]:
    """Each mounted view of ours, with what ``as_view()`` was given."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _mounted(pattern.url_patterns)
            continue
        # DRF names them so on its views and on its viewsets.
        view_class = getattr(pattern.callback, "cls", None)
        if isinstance(view_class, type) and issubclass(view_class, PartsMixin):
            yield view_class, getattr(pattern.callback, "initkwargs", {})
