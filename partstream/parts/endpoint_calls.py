"""One call of an endpoint: a view of the project, with a sub-request, in the client's name."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.urls import ResolverMatch
from rest_framework.exceptions import APIException, NotAcceptable
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream.exceptions import EndpointFailed

from .fragment import NotSerializable
from .loader_requests import readdressed

_JSON: Final = "application/json"
#: What belongs to the client's own exchange: conditions, ranges, a body, encodings.
_NOT_PASSED_ON: Final = (
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_RANGE",
    "HTTP_IF_RANGE",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_TRANSFER_ENCODING",
    "CONTENT_TYPE",
)
#: What Django and DRF have found for the client's request, and must find anew.
_FOUND: Final = (
    "_body",
    "_post",
    "_files",
    "accepted_types",
    "accepted_types_by_precedence",
    "auth",
)
#: What DRF sets on its own request; each view finds it for itself.
_OF_DRF: Final = frozenset(
    (
        *("parsers", "authenticators", "negotiator", "parser_context"),
        *("accepted_renderer", "accepted_media_type", "version", "versioning_scheme"),
    )
)


def accept_of(request: Request) -> str:
    """The ``Accept`` header of the sub-request: JSON, with the client's version parameters."""
    media_type = getattr(request, "accepted_media_type", None) or ""
    _, separator, parameters = media_type.partition(";")
    return _JSON + separator + parameters


def sub_request(request: Any, path: str, query: str, match: ResolverMatch) -> Any:
    """A copy of Django's request that asks for another URL.

    It shares what middleware has set: session, messages, attributes of the project's own. It has no
    body, no conditions and no ranges.
    """
    outer = request._request
    meta = {"REQUEST_METHOD": "GET", "CONTENT_LENGTH": "0", "HTTP_ACCEPT": accept_of(request)}
    made: Any = readdressed(outer, path, query, meta, _NOT_PASSED_ON)
    for name in _FOUND:
        vars(made).pop(name, None)
    # DRF wrote the user that it authenticated to Django's request. An endpoint with other
    # authenticators must find the one that the middleware had found.
    if hasattr(request, "_partstream_user"):
        vars(made).pop("user", None)
        if request._partstream_user is not None:
            made.user = request._partstream_user
    made.method, made.resolver_match = "GET", match
    made.content_type, made.content_params = "", {}
    made._stream, made._read_started = io.BytesIO(), False
    return made


def make_view(
    callback: Any, outer: Request, django_request: HttpRequest, match: ResolverMatch
) -> Any:
    """An instance of an endpoint's view, ready for ``dispatch()``.

    Its own hooks stay, but for those that belong to the client's exchange: the client is known
    already, was counted already, and gets JSON. Errors are raised, so that no transaction is
    marked.

    Args:
        callback: What ``as_view()`` returned.
        outer: The request that loaders see.
        django_request: See `sub_request`.
        match: The endpoint's route.
    """
    view: Any = callback.cls(**callback.initkwargs)
    actions = getattr(callback, "actions", None)
    if actions:  # As ViewSetMixin.as_view() does.
        view.action_map = actions = {"head": actions.get("get"), **actions}
        for method, name in actions.items():
            setattr(view, method, getattr(view, name))
        view.request, view.args, view.kwargs = django_request, match.args, match.kwargs
    else:
        view.setup(django_request, *match.args, **match.kwargs)
    authenticators = _known_authenticators(outer, view.get_authenticators())
    if authenticators is not None:
        view.get_authenticators = lambda: authenticators
    view.get_throttles = list
    view.perform_content_negotiation = _negotiation(view.get_renderers(), view)
    view.perform_authentication = _authentication(view.perform_authentication, outer)
    view.handle_exception = _raising(view.handle_exception)
    return view


def _known_authenticators(outer: Request, own: Sequence[Any]) -> list[Any] | None:
    """The dashboard's authenticators, which know the client; None: the endpoint has others."""
    theirs = outer.authenticators or []
    if [type(each) for each in own] != [type(each) for each in theirs]:
        return None
    # What they set on DRF's request, such as the member of staff who acts as this user.
    told = {
        name: value
        for name, value in vars(outer).items()
        if name not in _OF_DRF and not name.startswith("_")
    }
    found = []
    for each in theirs:
        # A copy, so that isinstance() and authenticate_header() tell the same.
        known: Any = copy.copy(each)
        answer = (outer.user, outer.auth) if each is outer.successful_authenticator else None
        known.authenticate = _answering(answer, told)
        found.append(known)
    return found


def _answering(answer: Any, told: Mapping[str, Any]) -> Callable[[Request], Any]:
    def authenticate(request: Request) -> Any:
        vars(request).update(told)
        return answer

    return authenticate


def _authentication(theirs: Callable[[Request], None], outer: Request) -> Callable[[Request], None]:
    def perform_authentication(request: Request) -> None:
        theirs(request)
        user = request.user
        if user is not None and user.is_authenticated and not _is_same(user, outer.user):
            # The data of a part is never another user's.
            raise PermissionDenied("the endpoint takes this client for another user")

    return perform_authentication


def _is_same(user: Any, other: Any) -> bool:
    if user == other:
        return True
    key = getattr(user, "pk", None)
    return key is not None and type(user) is type(other) and key == other.pk


def _negotiation(renderers: Sequence[BaseRenderer], view: Any) -> Callable[..., Any]:
    known = [each for each in renderers if "json" in (each.media_type or "")] or [JSONRenderer()]
    negotiator, suffix = view.get_content_negotiator(), view.kwargs.get("format")

    def perform_content_negotiation(request: Request, force: bool = False) -> Any:
        accept = request._request.META["HTTP_ACCEPT"]
        if accept == known[0].media_type == _JSON and not suffix:
            return known[0], _JSON  # DRF would come to the same, and parse all headers.
        try:
            return negotiator.select_renderer(request, known, suffix)
        except (NotAcceptable, Http404):
            return known[0], known[0].media_type

    return perform_content_negotiation


def _raising(theirs: Callable[[Exception], Any]) -> Callable[[Exception], Any]:
    """Raise what means something to a part. The project's handler gets the rest."""

    def handle_exception(error: Exception) -> Any:
        if isinstance(error, (APIException, Http404, PermissionDenied)):
            raise error
        return theirs(error)

    return handle_exception


def admits(view: Any, django_request: HttpRequest) -> bool:
    """Whether the endpoint's permissions grant this client what others may have put into a cache.

    Permissions of one object are asked by the view's own code, so an entry of an object that has
    such permissions is for nobody else.
    """
    args, kwargs = view.args, view.kwargs
    try:
        request = view.request = view.initialize_request(django_request, *args, **kwargs)
        view.initial(request, *args, **kwargs)
    except Exception:  # noqa: BLE001 - the loader meets the same, and the boundary logs it
        return False
    lookup = getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", None)
    return lookup not in kwargs or not any(map(_judges_objects, view.get_permissions()))


def _judges_objects(permission: Any) -> bool:
    own = getattr(type(permission), "has_object_permission", None)
    return own is not BasePermission.has_object_permission


def failed(error: APIException) -> EndpointFailed:
    """What an exception of an endpoint's view would have told the client."""
    detail: Any = error.detail
    data = detail if isinstance(detail, (list, dict)) else {"detail": detail}
    return EndpointFailed(error.status_code, data, getattr(error, "wait", None))


def data_of(response: Any, view: APIView) -> Any:
    """The data of an endpoint's response, before rendering.

    Raises:
        EndpointFailed: When its status is an error's.
        NotSerializable: When it has no data: a redirect, a file, a page.
    """
    status = response.status_code
    if status >= 400:
        wait = response.headers.get("Retry-After", "")
        seconds = int(wait) if wait.isascii() and wait.isdigit() else None
        raise EndpointFailed(status, getattr(response, "data", None), seconds)
    if status < 300:
        if isinstance(response, Response):
            return response.data
        is_json = response.headers.get("Content-Type", "").partition(";")[0] == _JSON
        if is_json and not response.streaming:
            try:
                return json.loads(response.content)
            except ValueError as error:
                raise NotSerializable(f"its body is no JSON: {error}") from error
    # Not response.close(): it tells Django that the client's own request has ended.
    close = getattr(getattr(response, "file_to_stream", None), "close", None)
    if close is not None:
        close()
    raise NotSerializable(
        f"{type(view).__name__} answered {status} with a {type(response).__name__}, which has no "
        "data. Name an endpoint that answers with JSON."
    )
