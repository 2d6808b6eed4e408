"""Parts that are made from a project's existing endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode

from django.urls import ResolverMatch, get_resolver, get_urlconf
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request

from partstream.caching.cache_keys import Caching
from partstream.exceptions import Misuse

from .endpoint_addresses import find_address, reverse_problem
from .endpoint_calls import EndpointCall, accept_of
from .endpoint_routes import class_problem, name_of, name_problem, views_named
from .loader import Loader
from .loader_requests import drf_request

Arguments = Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None


class Endpoint:
    """The function of an `endpoint` part: it returns what the endpoint would answer.

    Attributes:
        argument_functions: Those of ``kwargs`` and ``query`` that are functions, by name.
    """

    def __init__(self, view: Any, action: str | None, kwargs: Arguments, query: Arguments) -> None:
        self._view = view
        self._action = action
        self._kwargs = kwargs
        self._query = query
        label = view if isinstance(view, str) else view.__qualname__
        self.__module__ = __name__
        self.__qualname__ = f"endpoint({label}{'' if action is None else f'.{action}'})"
        self.argument_functions = {
            name: value for name, value in (("kwargs", kwargs), ("query", query)) if callable(value)
        }

    def check(self, *, is_versioned: bool) -> None:
        """Raise `Misuse` if the URLconf has nothing that this part can be made of.

        Args:
            is_versioned: Whether the dashboard has versions, which may put a namespace before the
                name of a URL, or an argument into it.
        """
        try:
            name = self._name()
        except Misuse as error:
            raise Misuse(f"{self.__qualname__}: {error}") from error
        problem = name_problem(get_resolver(get_urlconf()), name)
        if problem is None and not is_versioned and not callable(self._kwargs):
            problem = reverse_problem(name, self._kwargs or {})
        if problem is not None:
            raise Misuse(f"{self.__qualname__}: {problem}")

    def find_views(self) -> list[Any]:
        """What ``as_view()`` returned for the routes of this endpoint; empty: there are none."""
        try:
            return views_named(get_resolver(get_urlconf()), self._name())
        except Misuse:
            return []

    def __call__(self, request: Request, **dependencies: Any) -> Any:
        """The data that the endpoint answers with.

        Raises:
            EndpointFailed: When it answers with an error.
            Http404: When its route takes no such arguments.
            NotSerializable: When it answers with something else than data.
            Misuse: When the view cannot be made a part.
        """
        request = drf_request(request)
        return EndpointCall(request, *self._target(request, dependencies)).run()

    def cache_subject(
        self, request: Request, caching: Caching, dependencies: Mapping[str, Any]
    ) -> str | None:
        """What a cache key holds of this endpoint; None: this request takes nothing from a cache.

        An entry is only for clients whom the endpoint's permissions admit now.
        """
        path, query, match = self._target(request, dependencies)
        shared = caching.shared or caching.key is not None
        if not EndpointCall(request, path, query, match).is_admitted(shared=shared):
            return None
        return f"{match.view_name} {path}?{query} {accept_of(request)}"

    def _name(self) -> str:
        return self._view if isinstance(self._view, str) else name_of(self._view, self._action)

    def _target(
        self, request: Request, dependencies: Mapping[str, Any]
    ) -> tuple[str, str, ResolverMatch]:
        """The path, not escaped, the query, and the route."""
        kwargs = self._given("kwargs", self._kwargs, request, dependencies)
        query = self._given("query", self._query, request, dependencies)
        try:
            address = find_address(self._name(), kwargs, request)
        except Misuse as error:
            raise Misuse(f"{self.__qualname__}: {error}") from error
        if not query:
            return address.path, address.query, address.match
        own = parse_qsl(address.query, keep_blank_values=True)
        # The items of a QueryDict are only the last value of each parameter.
        items = query.lists() if isinstance(query, MultiValueDict) else query.items()
        given = [(key, value) for key, value in items if value is not None]
        return address.path, urlencode([*own, *given], doseq=True), address.match

    def _given(
        self, name: str, value: Arguments, request: Request, dependencies: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        found = value(request, **dependencies) if callable(value) else value
        if found is None:
            return {}
        if not _is_dictionary(found):
            raise Misuse(
                f"{self.__qualname__}: the function {name} returned {found!r:.80}. Return a "
                'dictionary of names, for example {"pk": 7}.'
            )
        return found


def _is_dictionary(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def endpoint(
    view: Any,
    *,
    action: str | None = None,
    kwargs: Arguments = None,
    query: Arguments = None,
    **unknown: NoReturn,
) -> Loader:
    """A loader whose data is what a URL of your project would answer to this client.

    The endpoint's view runs with its own permissions, filters, serializer, paginator and
    versioning, in the client's name. Its throttles do not run, since the client was counted
    already. Nothing of the client's query is passed on by itself.

    Args:
        view: A URL name, with its namespace; or a view class that has exactly one URL with a name.
        action: The action, if ``view`` is the class of a view set.
        kwargs: Values of the URL's own arguments: a dictionary, or a function of
            ``(request, **dependencies)`` that returns one.
        query: The query, in the same form. A list gives a parameter several values; one whose value
            is None is left out.
        unknown: No other argument exists.

    Raises:
        Misuse: When an argument is invalid, or the class answers no GET or has parts itself. What
            is wrong with a URL name is reported by ``manage.py check``, and at the first use.

    Example::

        parts = [
            ("orders", lazy(endpoint("orders-list", query={"status": "open"}))),
            ("account", lazy(endpoint(AccountView), permission_classes=[IsAuthenticated])),
        ]
    """
    for name in unknown:
        raise Misuse(f"endpoint() has no argument {name!r}. Write action=, kwargs= or query=.")
    if action is not None and not isinstance(action, str):
        raise Misuse(f'endpoint(action={action!r:.80}): write its name, for example action="list".')
    if isinstance(view, str):
        if not view:
            raise Misuse('endpoint(""): write a URL name, for example endpoint("orders-list").')
        if action is not None:
            raise Misuse(
                f"endpoint({view!r}, action={action!r}): a URL name has its action already. Leave "
                "action out."
            )
    else:
        view = getattr(view, "cls", view)
        problem = class_problem(view, action)
        if problem is not None:
            raise Misuse(f"endpoint(): {problem}")
    for name, value in (("kwargs", kwargs), ("query", query)):
        if value is not None and not callable(value) and not _is_dictionary(value):
            raise Misuse(
                f"endpoint({name}={value!r:.80}): write a dictionary of names, or a function of "
                "(request) that returns one."
            )
    return Loader(Endpoint(view, action, kwargs, query))
