"""One call of an endpoint: a view of the project, with a sub-request, in the client's name."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from inspect import iscoroutine
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import Http404
from django.urls import ResolverMatch
from rest_framework.exceptions import APIException, NotAcceptable, NotFound
from rest_framework.exceptions import PermissionDenied as drf_denial
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream.backends.executors.coroutines import run_coroutine
from partstream.exceptions import EndpointFailed
from partstream.isolation.transactions import atomic_aliases, request_transactions, savepoints

from .fragment import NotSerializable
from .loader_requests import give_back_csrf, readdressed

_JSON: Final = "application/json"
#: ``Retry-After`` in seconds. It may also be a date, or nonsense.
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
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


class EndpointCall:
    """One call of an endpoint's view, in the client's name.

    The view's own hooks stay, but for those that belong to the client's exchange: the client is
    known already, was counted already, and gets JSON. Errors do not pass the project's
    ``EXCEPTION_HANDLER``, which may mark a transaction.

    Args:
        outer: The request that loaders see.
        path: The endpoint's path, not escaped.
        query: Its query, escaped.
        match: Its route.
    """

    def __init__(self, outer: Request, path: str, query: str, match: ResolverMatch) -> None:
        self._outer = outer
        self._match = match
        self._request = sub_request(outer, path, query, match)
        #: What the view raised; its functions refer to the list, and not to this object.
        self._errors: list[Exception] = []
        self._view = self._make_view()

    def _make_view(self) -> Any:
        callback: Any = self._match.func
        args, kwargs = self._match.args, self._match.kwargs
        view: Any = callback.cls(**callback.initkwargs)
        actions = getattr(callback, "actions", None)
        if actions:  # As ViewSetMixin.as_view() does.
            view.action_map = actions = {"head": actions.get("get"), **actions}
            for method, name in actions.items():
                setattr(view, method, getattr(view, name))
            view.request, view.args, view.kwargs = self._request, args, kwargs
        else:
            view.setup(self._request, *args, **kwargs)
        authenticators = _known_authenticators(self._outer, view.get_authenticators())
        if authenticators is not None:
            view.get_authenticators = lambda: authenticators
        view.get_throttles = list
        view.perform_content_negotiation = _negotiation(view)
        view.perform_authentication = _authentication(view.perform_authentication, self._outer)
        view.handle_exception = _keeping(view.handle_exception, self._errors)
        return view

    def run(self) -> Any:
        """The data that the endpoint answers with.

        Raises:
            EndpointFailed: When it answers with an error.
            NotSerializable: When it answers with something else than data.
        """
        with ExitStack() as stack:
            # As Django does for a request; inside the dashboard's transaction there is a savepoint.
            for alias in request_transactions(self._match.func):
                if not connections[alias].in_atomic_block:
                    stack.enter_context(transaction.atomic(using=alias))
            return data_of(self._dispatch(), self._view)

    def is_admitted(self, *, shared: bool) -> bool:
        """Whether the endpoint's permissions grant this client what a cache may have.

        Permissions of one object are asked by the view's own code. So an entry that clients share
        is for nobody, if the endpoint has such permissions and may answer with one object.

        Args:
            shared: Whether clients share the entry.
        """
        if shared and _may_judge_an_object(self._view):
            return False
        self._view.get = _answer_nothing
        try:
            with savepoints(atomic_aliases()):
                return bool(self._dispatch().status_code < 300)
        except Exception:  # noqa: BLE001 - the loader meets the same, and the boundary logs it
            return False

    def _dispatch(self) -> Any:
        match = self._match
        response = self._view.dispatch(self._request, *match.args, **match.kwargs)
        if iscoroutine(response):
            response = run_coroutine(response)
        give_back_csrf(self._request, self._outer._request)
        if self._errors:
            error = self._errors[0]
            if isinstance(error, APIException):
                raise failed(error) from error
            raise error
        return response


def _known_authenticators(outer: Request, own: Sequence[Any]) -> list[Any] | None:
    """The dashboard's authenticators, which know the client; None: the endpoint has others."""
    theirs = outer.authenticators
    if not theirs or list(map(_settings_of, own)) != list(map(_settings_of, theirs)):
        return None
    # What they set on DRF's request, such as the member of staff who acts as this user.
    told = {
        name: value
        for name, value in vars(outer).items()
        if name not in _OF_DRF and not name.startswith("_")
    }
    user, winner = outer.user, outer.successful_authenticator
    if winner is None and user is not None and user.is_authenticated:
        winner = theirs[0]  # The dashboard itself has set the user.
    found = []
    for each in theirs:
        # A copy, so that isinstance() and authenticate_header() tell the same.
        known: Any = copy.copy(each)
        known.authenticate = _answering((user, outer.auth) if each is winner else None, told)
        found.append(known)
    return found


def _settings_of(authenticator: Any) -> tuple[type, dict[str, Any]]:
    return type(authenticator), getattr(authenticator, "__dict__", {})


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


def _negotiation(view: Any) -> Callable[..., Any]:
    negotiator, suffix = view.get_content_negotiator(), view.kwargs.get("format")

    def perform_content_negotiation(request: Request, force: bool = False) -> Any:
        renderers = view.get_renderers()
        known = list(filter(_is_json, renderers)) or renderers
        accept = request._request.META["HTTP_ACCEPT"]
        if accept == known[0].media_type == _JSON and not suffix:
            return known[0], _JSON  # DRF would come to the same, and parse all headers.
        try:
            return negotiator.select_renderer(request, known, suffix)
        except (NotAcceptable, Http404):
            return known[0], known[0].media_type

    return perform_content_negotiation


def _is_json(renderer: Any) -> bool:
    return "json" in (renderer.media_type or "")


def _keeping(
    theirs: Callable[[Exception], Any], errors: list[Exception]
) -> Callable[[Exception], Any]:
    """Keep what means something to a part. The project's handler gets the rest.

    ``dispatch()`` goes on with a response, so that ``finalize_response()`` runs.
    """

    def handle_exception(error: Exception) -> Any:
        if not isinstance(error, (APIException, Http404, PermissionDenied)):
            return theirs(error)
        errors.append(error)
        known: Any = error
        if not isinstance(error, APIException):
            known = NotFound() if isinstance(error, Http404) else drf_denial()
        status = known.status_code if known.status_code in range(400, 600) else 500
        return Response(failed(known).data, status=status, exception=True)

    return handle_exception


def _answer_nothing(request: Request, *args: Any, **kwargs: Any) -> Response:
    """Stands in for the handler of a view whose permissions are asked."""
    return Response()


def _may_judge_an_object(view: Any) -> bool:
    """Whether the view may answer with one object, which a permission of its own judges."""
    is_list = getattr(view, "detail", None) is False or (
        isinstance(view, ListModelMixin) and not isinstance(view, RetrieveModelMixin)
    )
    return not is_list and any(
        getattr(type(permission), "has_object_permission", None)
        is not BasePermission.has_object_permission
        for permission in view.get_permissions()
    )


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
        seconds = int(wait) if _SECONDS.fullmatch(wait) else None
        raise EndpointFailed(status, getattr(response, "data", None), seconds)
    if status < 300:
        if isinstance(response, Response):
            renderer = getattr(response, "accepted_renderer", None)
            if renderer is None or _is_json(renderer):
                return response.data
        elif not response.streaming and _is_json_body(response):
            try:
                return json.loads(response.content)
            except ValueError as error:
                raise NotSerializable(f"its body is no JSON: {error}") from error
    # Not response.close(): it tells Django that the client's own request has ended.
    close = getattr(getattr(response, "file_to_stream", None), "close", None)
    if close is not None:
        close()
    raise NotSerializable(
        f"{type(view).__name__} answered {status} with a {type(response).__name__} that is no "
        "JSON. Name an endpoint that answers with JSON."
    )


def _is_json_body(response: Any) -> bool:
    content_type: str = response.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip() == _JSON
