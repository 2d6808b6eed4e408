"""The identity of a request, and what binds cursors, caches and limits to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty
from rest_framework.request import Request

from .conf import SETTING, get_settings, get_source
from .dotted_paths import import_function
from .exceptions import Misuse
from .per_process import Kept


def get_identity(request: Request) -> str | None:
    """One stable string for the client's identity, or None for an anonymous visitor.

    It is the first of these that exists: the authenticated user's model and primary key;
    ``request.auth``, as a model's primary key or as a string; the session key. A primary key is
    unique within one database only: where the project's routers write the instance to a database
    other than ``default``, the string includes that database's alias. Objects of any other kind in
    ``request.auth`` are ignored: override the view's ``get_identity()`` to use them. A session
    stored in ``signed_cookies`` has no key of its own. A request without sessions or users is not
    an error.

    Example:
        ``"user:auth.user:7"``, or in the database ``red``: ``"user@red:auth.user:7"``
    """
    user = request.user
    if user is not None and user.is_authenticated:
        key = getattr(user, "pk", None)
        if key is not None:
            return f"user{_database(user)}:{_label(user)}:{key}"
    auth = request.auth
    if auth is None:
        pass
    elif isinstance(auth, Model) and auth.pk is not None:
        return f"auth{_database(auth)}:{_label(auth)}:{auth.pk}"
    elif isinstance(auth, str) and auth:
        return f"auth::{auth}"
    key = session_key(request)
    return f"session:{key}" if key is not None else None


def _import_function() -> Callable[[Request], str | None]:
    return import_function(get_settings().IDENTITY, get_source("IDENTITY"))


#: The function that ``IDENTITY`` names. Do not call it where the setting is None.
get_identity_function = Kept(_import_function, SETTING).get


#: What the ``IDENTITY`` function returned, in a tuple; empty where the setting is None.
Dimension = tuple[str | None, ...]


def get_dimension(request: Request) -> Dimension:
    """What the project's ``IDENTITY`` function returns for a request.

    Raises:
        Misuse: When the function does not exist, or returns neither a string nor None.
    """
    if get_settings().IDENTITY is None:
        return ()
    value = get_identity_function()(request)
    if value is not None and not isinstance(value, str):
        raise Misuse(
            f"{get_source('IDENTITY')} = {get_settings().IDENTITY!r} returned {value!r:.80}. "
            "Return a string, or None if there is nothing to tell apart."
        )
    return (value,)


def with_dimension(identity: str | None, dimension: Dimension) -> str | None:
    """The identity and the project's dimension as one string, for caches and limits.

    None for an anonymous visitor, whatever the dimension is.
    """
    return identity if identity is None else bound_identity(identity, dimension)


def bound_identity(identity: str | None, dimension: Dimension) -> str | None:
    """The same for cursors: an anonymous visitor's cursor is bound to the dimension alone."""
    if not dimension or (identity is None and dimension == (None,)):
        return identity
    # None is joined too: otherwise a project's own identity could look like a joined one.
    return joined((identity, *dimension)).decode("utf-8", "surrogatepass")


def counted_identity(
    request: Request,
    identify: Callable[[Request], tuple[str | None, Dimension]],
    ask: Callable[[Request], str | None],
) -> str | None:
    """The identity to count requests by; None: count by the client's address.

    Only a user or a credential is counted. A session is not: a client can start any number of
    sessions, and would count as a new client with each of them.

    Args:
        request: The request.
        identify: Returns the request's identity and dimension. It is called only if there is a
            user or a credential.
        ask: Returns the current identity.
    """
    session = session_key(request)
    if request.user is not None and request.user.is_authenticated:
        identity, dimension = identify(request)
        is_session = session is not None and identity == f"session:{session}"
        return None if is_session else with_dimension(identity, dimension)
    if request.auth is None:
        return None
    identity, dimension = identify(request)
    if session is None:
        return with_dimension(identity, dimension)
    # The credential may say nothing, and the view may wrap what remains: ask without the session.
    attributes = vars(request._request)
    hidden = attributes.pop("session")
    try:
        identity = ask(request)
    except AttributeError:
        return None  # The identity depends on the session.
    finally:
        attributes["session"] = hidden
    return with_dimension(identity, dimension)


def known_counted_identity(
    request: Request, identity: str | None, dimension: Dimension
) -> str | None:
    """The same for a request that was refused, without asking anything more.

    It is None, too, for a credential of a request that has a session: whether its identity depends
    on the session could only be found by asking again.

    Args:
        request: The request. It may not be authenticated yet.
        identity: What `get_identity` returned for it; None also if it was not asked.
        dimension: What the ``IDENTITY`` function returned for it.
    """
    if identity is None:
        return None
    session = session_key(request)
    user = known_user(request._request)
    if user is not None and user.is_authenticated:
        is_counted = session is None or identity != f"session:{session}"
    else:
        is_counted = session is None and getattr(request._request, "auth", None) is not None
    return with_dimension(identity, dimension) if is_counted else None


def known_user(request: HttpRequest) -> Any:
    """The user of Django's request; None if nothing has determined it yet.

    To load it may take a query, or fail as it did before.
    """
    user = getattr(request, "user", None)
    return None if isinstance(user, LazyObject) and user._wrapped is empty else user


def session_key(request: Request) -> str | None:
    """The key of the request's session, if the server stores one."""
    session = getattr(request._request, "session", None)
    if session is None or isinstance(session, CookieSession):
        return None
    return session.session_key or None


def _label(instance: Any) -> str:
    """The concrete model's label; for a user that is not a model, the name of its class."""
    meta = getattr(instance, "_meta", None)
    if meta is None:
        return f"{type(instance).__module__}.{type(instance).__qualname__}"
    return str(meta.concrete_model._meta.label_lower)


def _database(instance: Any) -> str:
    """The alias of the database that an instance is written to, as ``@alias``.

    Empty for ``default``, and for a user that is not a model. The database that it is read from
    does not matter: a replica has the same rows.
    """
    if len(django_settings.DATABASES) < 2 or not isinstance(instance, Model):
        return ""
    model: Any = instance._meta.concrete_model
    alias = router.db_for_write(model, instance=instance)
    # Escaped, so that a colon in an alias cannot be mistaken for the separator.
    return "" if alias == DEFAULT_DB_ALIAS else f"@{quote(alias, safe='')}"


def joined(values: Iterable[str | None]) -> bytes:
    """An unambiguous encoding: each value follows its length, and None differs from any text."""
    pieces: list[str] = []
    for value in values:
        pieces.append("-" if value is None else f"{len(value)}:{value}")
    return "".join(pieces).encode("utf-8", "surrogatepass")


_uses_forwarded_host = Kept(
    lambda: bool(django_settings.USE_X_FORWARDED_HOST), "USE_X_FORWARDED_HOST"
).get


def host_of(request: HttpRequest) -> str:
    """The host that the client sent. ``get_host()`` decides whether it is allowed."""
    meta = request.META
    if _uses_forwarded_host() and "HTTP_X_FORWARDED_HOST" in meta:
        return str(meta["HTTP_X_FORWARDED_HOST"]).lower()
    return str(meta.get("HTTP_HOST") or request.get_host()).lower()


def application_query(query: Mapping[str, list[str]], protocol: Collection[str]) -> tuple[str, ...]:
    """The query without the protocol's parameters, sorted: name, number of values, values."""
    found: tuple[str, ...] = ()
    for name, given in sorted(query.items()):
        if name not in protocol:
            found += (name, str(len(given)), *given)
    return found
