"""The address of an endpoint: its path and query for some arguments, and the route there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from django.http import Http404
from django.urls import (
    NoReverseMatch,
    Resolver404,
    ResolverMatch,
    URLResolver,
    get_resolver,
    get_script_prefix,
    get_urlconf,
)
from django.urls import reverse as reverse_path
from django.utils.translation import get_language
from rest_framework.request import Request
from rest_framework.reverse import reverse
from rest_framework.settings import api_settings

from partstream.exceptions import Misuse

from .endpoint_routes import full_names, name_problem, view_problem


class Address(NamedTuple):
    """Where an endpoint is.

    Attributes:
        path: The path, not escaped, with the script's prefix.
        query: The query that versioning adds, escaped.
        match: The route.
    """

    path: str
    query: str
    match: ResolverMatch


def find_address(name: str, kwargs: Mapping[str, Any], request: Request) -> Address:
    """The address of a URL name with these values.

    Args:
        name: The name, with its namespace.
        kwargs: Values of the URL's own arguments.
        request: The request whose version counts.

    Raises:
        Http404: When the route takes no such values, or they lead to another route.
        Misuse: When the name leads nowhere, or to a view that cannot be made a part.
    """
    resolver, prefix = get_resolver(get_urlconf()), get_script_prefix()
    if request.versioning_scheme is None and not kwargs:
        kept = _kept_address(resolver, prefix, get_language(), name)
        return Address(kept.path, kept.query, _copied(kept.match))
    try:
        url = reverse(name, kwargs=dict(kwargs), request=request)
    except NoReverseMatch as error:
        raise _not_reversed(resolver, name, kwargs, error) from error
    return _address_of(resolver, prefix, name, kwargs, url)


@lru_cache(maxsize=1024)
def _kept_address(resolver: URLResolver, prefix: str, language: str | None, name: str) -> Address:
    """The address of a URL without arguments: no converter has made anything of a client's."""
    try:
        url = reverse_path(name)
    except NoReverseMatch as error:
        raise _not_reversed(resolver, name, {}, error) from error
    return _address_of(resolver, prefix, name, {}, url)


def reverse_problem(name: str, kwargs: Mapping[str, Any]) -> str | None:
    """Why a URL name, which exists, cannot be reversed with these values; None: it can."""
    try:
        reverse_path(name, kwargs=dict(kwargs))
    except NoReverseMatch as error:
        return _missing_values(name, error)
    return None


def _missing_values(name: str, error: Exception) -> str:
    names = full_names(get_resolver(get_urlconf()), name)
    if names and name not in names:
        return f"{name!r} needs its namespace. Write endpoint({names[0]!r})."
    return f"{error} Give the values of its route: kwargs={{...}}."


def _copied(match: ResolverMatch) -> ResolverMatch:
    """A copy: what a view changes in its match is seen by no later request."""
    copied = object.__new__(type(match))
    copied.__dict__ = {**vars(match), "kwargs": dict(match.kwargs)}
    return copied


def _not_reversed(
    resolver: URLResolver, name: str, kwargs: Mapping[str, Any], error: Exception
) -> Exception:
    problem = name_problem(resolver, name)
    if problem is not None:
        return Misuse(problem)
    if kwargs:
        return Http404(f"{name} takes no {kwargs!r:.200}")
    return Misuse(_missing_values(name, error))


def _address_of(
    resolver: URLResolver, prefix: str, name: str, kwargs: Mapping[str, Any], url: str
) -> Address:
    split = urlsplit(url)
    path = unquote(split.path)
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise Http404(f"{name} takes no {kwargs!r:.200}")  # Clients take such segments out.
    try:
        match = resolver.resolve("/" + path.removeprefix(prefix))
    except Resolver404 as error:
        raise Http404(f"{name} takes no {kwargs!r:.200}") from error
    if match.url_name != name.rpartition(":")[2]:
        # A value that looks like another route's address, such as "export" for a primary key.
        if kwargs:
            raise Http404(f"{name} takes no {kwargs!r:.200}")
        raise Misuse(
            f"another route, {match.view_name}, answers at {path}. Change the order of your URL "
            "patterns."
        )
    problem = view_problem(match.func)
    if problem is not None:
        raise Misuse(problem)
    pairs = [
        (key, value)
        for key, value in parse_qsl(split.query, keep_blank_values=True)
        if key != api_settings.URL_FORMAT_OVERRIDE
    ]
    return Address(path, urlencode(pairs), match)
