"""The requests that loaders see: a copy of the client's request with another path and query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from django.http import HttpRequest, QueryDict
from django.urls import Resolver404, ResolverMatch, get_script_prefix, resolve
from rest_framework.request import Request

#: What Django's CSRF middleware reads from ``request.META`` after the view.
_CSRF: Final = ("CSRF_COOKIE", "CSRF_COOKIE_NEEDS_UPDATE")


def readdressed(
    request: HttpRequest,
    path: str,
    query: str,
    meta: Mapping[str, Any] | None = None,
    without: Iterable[str] = (),
) -> HttpRequest:
    """A copy of Django's request with another path and query.

    It shares what middleware has set: session, user, messages, attributes of the project's own.

    Args:
        request: Django's request.
        path: The path, not escaped, with the script's prefix.
        query: The query, escaped.
        meta: What is changed in ``META``, besides the path and the query.
        without: Names that are left out of ``META``.
    """
    # copy.copy() would leave out what cannot be pickled, such as resolver_match.
    copied = type(request).__new__(type(request))
    path_info = "/" + path.removeprefix(get_script_prefix())
    own = {**request.META, **(meta or {}), "PATH_INFO": path_info, "QUERY_STRING": query}
    for name in without:
        own.pop(name, None)
    copied.__dict__ = attributes = {**vars(request), "META": own}
    attributes["path"], attributes["path_info"] = path, path_info
    for name in ("headers", "GET"):
        attributes.pop(name, None)
    if not hasattr(type(request), "GET"):  # A request that no server made.
        copied.GET = QueryDict(query)
    if "environ" in attributes:
        attributes["environ"] = own
    if "scope" in attributes:
        attributes["scope"] = {
            **attributes["scope"],
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
        }
    return copied


class LoaderRequest(Request):
    """A DRF request without the protocol's parameters, with the path of the walk.

    Links that a loader makes from it are the same in every delivery, and none has a token. Most
    loaders do not look at their request, so what it takes from the original, and the copy of
    Django's request, are made when something first needs them.

    Args:
        original: The request that the view answers.
        path: The walk's path, not escaped.
        get_protocol: Returns the names of the protocol's query parameters.
    """

    #: Two threads may make it at once; both have the one that was first.
    _partstream_made: HttpRequest | None = None

    def __init__(
        self, original: Request, path: str, get_protocol: Callable[[], Iterable[str]]
    ) -> None:
        self._original = original
        self._path = path
        self._get_protocol = get_protocol
        self._is_filled = False

    def __getattr__(self, name: str) -> Any:
        """An attribute of the original, such as its version, or of Django's request."""
        known = vars(self)
        if "_original" not in known:  # A copy that is not made yet.
            raise AttributeError(name)
        if not known["_is_filled"]:
            for key, value in vars(self._original).items():
                if key != "_request":
                    known.setdefault(key, value)
            self._is_filled = True
        # Another thread may have filled it.
        return known[name] if name in known else super().__getattr__(name)  # type: ignore[misc]

    @property
    def user(self) -> Any:
        """The client's user, see DRF's class."""
        return self._original.user

    @user.setter
    def user(self, value: Any) -> None:
        self._original.user = value

    @property
    def auth(self) -> Any:
        """The client's credential, see DRF's class."""
        return self._original.auth

    @auth.setter
    def auth(self, value: Any) -> None:
        self._original.auth = value

    @property
    def _request(self) -> HttpRequest:
        """Django's request, for DRF's class."""
        made = self._partstream_made
        if made is None:
            original = self._original._request
            query = original.GET.copy()
            for name in self._get_protocol():
                query.pop(name, None)
            seen = readdressed(original, self._path, query.urlencode())
            if seen.path != original.path:
                seen.resolver_match = _match_of(seen)
            made = vars(self).setdefault("_partstream_made", seen)
        return made

    @_request.setter
    def _request(self, value: HttpRequest) -> None:
        self._partstream_made = value

    def give_back(self) -> None:
        """Let Django's CSRF middleware see the token that a loader asked for."""
        if self._partstream_made is not None:
            give_back_csrf(self._partstream_made, self._original._request)


def _match_of(request: HttpRequest) -> ResolverMatch | None:
    """The route of a request's path; that which Django found, if there is no other."""
    try:
        return resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return request.resolver_match


def give_back_csrf(made: HttpRequest, original: HttpRequest) -> None:
    """Set on the client's request what asking for a CSRF token has set on a copy."""
    for name in _CSRF:
        if name in made.META:
            original.META[name] = made.META[name]


def drf_request(request: Any) -> Request:
    """DRF's request, even if a loader is called with Django's."""
    if isinstance(request, Request):
        return request
    known = Request(request)
    if hasattr(request, "user"):
        # Both, or DRF would authenticate, and write an anonymous visitor to Django's request.
        known.user, known.auth = request.user, getattr(request, "auth", None)
    known.version = known.versioning_scheme = None
    return known
