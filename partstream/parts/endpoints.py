"""Parts that are made from a project's existing endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from inspect import iscoroutine
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db import connections, transaction
from django.urls import ResolverMatch, get_resolver, get_urlconf
from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from partstream.backends.executors.coroutines import run_coroutine
from partstream.caching.cache_keys import Caching
from partstream.exceptions import Misuse
from partstream.isolation.transactions import request_transactions

from .endpoint_addresses import find_address
from .endpoint_calls import accept_of, admits, data_of, failed, make_view, sub_request
from .endpoint_routes import class_problem, name_of, name_problem, views_named
from .loader import Loader

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

    def check(self) -> None:
        """Raise `Misuse` if the URLconf has nothing that this part can be made of."""
        problem = name_problem(get_resolver(get_urlconf()), self._name())
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
        path, query, match = self._target(request, dependencies)
        django_request = sub_request(request, path, query, match)
        view = make_view(match.func, request, django_request, match)
        with ExitStack() as stack:
            # As Django does for a request; inside the dashboard's transaction there is a savepoint.
            for alias in request_transactions(match.func):
                if not connections[alias].in_atomic_block:
                    stack.enter_context(transaction.atomic(using=alias))
            try:
                response = view.dispatch(django_request, *match.args, **match.kwargs)
                if iscoroutine(response):
                    response = run_coroutine(response)
            except APIException as error:
                raise failed(error) from error
            return data_of(response, view)

    def cache_subject(
        self, request: Request, caching: Caching, dependencies: Mapping[str, Any]
    ) -> str | None:
        """What a cache key holds of this endpoint; None: this request takes nothing from a cache.

        Entries that several clients share are for those whom the endpoint's permissions admit.
        """
        path, query, match = self._target(request, dependencies)
        if caching.shared or caching.key is not None:
            django_request = sub_request(request, path, query, match)
            if not admits(make_view(match.func, request, django_request, match), django_request):
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
        given = query.lists() if isinstance(query, MultiValueDict) else query.items()
        return address.path, urlencode([*own, *given], doseq=True), address.match

    def _given(
        self, name: str, value: Arguments, request: Request, dependencies: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        found = value(request, **dependencies) if callable(value) else value
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise Misuse(
                f"{self.__qualname__}: the function {name} returned {found!r:.80}. Return a "
                'dictionary, for example {"pk": 7}.'
            )
        return found


def endpoint(
    view: Any, *, action: str | None = None, kwargs: Arguments = None, query: Arguments = None
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
        query: The query, in the same form. A list gives a parameter several values.

    Raises:
        Misuse: When an argument is invalid, or the class answers no GET or has parts itself. What
            is wrong with a URL name is reported by ``manage.py check``, and at the first use.

    Example::

        parts = [
            ("orders", lazy(endpoint("orders-list", query={"status": "open"}))),
            ("account", lazy(endpoint(AccountView), permission_classes=[IsAuthenticated])),
        ]
    """
    if isinstance(view, str):
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
        if value is not None and not callable(value) and not isinstance(value, Mapping):
            raise Misuse(
                f"endpoint({name}={value!r:.80}): write a dictionary, or a function of (request) "
                "that returns one."
            )
    return Loader(Endpoint(view, action, kwargs, query))
