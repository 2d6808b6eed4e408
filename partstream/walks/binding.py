"""What a cursor is bound to: view, host, path, query, identity and login."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from functools import lru_cache

from rest_framework.request import Request

from partstream.identity import application_query, host_of, joined
from partstream.keys import KeyRing, keyed_digest


def _digest(key: bytes, values: tuple[str | None, ...]) -> str:
    return keyed_digest(key, joined(values))


_kept_digest = lru_cache(maxsize=256)(_digest)


class Binding:
    """What a cursor is bound to: view, host, path, query, identity and the user's login.

    It is made once per request, before any loader runs, so a loader that changes the session does
    not change the binding.

    Args:
        request: The request.
        view_class: The class of the view that walks.
        identity: The identity that the cursors belong to, see `bound_identity`.
        parameters: Names of the protocol's parameters, which are not bound; None: the request has
            no other parameters.
        keys: The key ring.
    """

    def __init__(
        self,
        request: Request,
        view_class: type,
        identity: str | None,
        parameters: frozenset[str] | None,
        keys: KeyRing,
    ) -> None:
        django_request = request._request
        self._values: tuple[str | None, ...] = (
            view_class.__module__,
            view_class.__qualname__,
            host_of(django_request),
            django_request.path_info,
            identity,
        )
        #: The same for all visitors of a path, so it is worth caching.
        self._is_common = identity is None
        if parameters is not None:
            query = application_query(dict(request.query_params.lists()), parameters)
            self._values += query
            self._is_common = self._is_common and not query
        self._keys = keys.derive("binding")
        self._digest: str | None = None
        user = request.user
        self._user = user if user is not None and user.is_authenticated else None

    def digest(self) -> str:
        """The binding under the first key and the user's current login."""
        if self._digest is None:
            make = _kept_digest if self._is_common and self._user is None else _digest
            self._digest = make(self._keys[0], (*self._values, self._login()))
        return self._digest

    def matches(self, digest: str) -> bool:
        """Whether a binding is this request's, under any key and any fallback of the login."""
        return hmac.compare_digest(self.digest(), digest) or any(
            hmac.compare_digest(_digest(key, (*self._values, login)), digest)
            for login in self._logins()
            for key in self._keys
        )

    def _login(self) -> str | None:
        hash_of = getattr(self._user, "get_session_auth_hash", None)
        return hash_of() if hash_of is not None else None

    def _logins(self) -> Iterator[str | None]:
        yield self._login()
        fallbacks = getattr(self._user, "get_session_auth_fallback_hash", None)
        if fallbacks is not None:
            yield from fallbacks()
