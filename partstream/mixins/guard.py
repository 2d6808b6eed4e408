"""Admission, rate limits and refusals: what happens before a view's verbs run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from django.utils.cache import patch_vary_headers
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from partstream import request_ids
from partstream.conf import get_settings
from partstream.exceptions import CursorError, Misuse, PartstreamError
from partstream.identity import (
    Dimension,
    counted_identity,
    get_dimension,
    get_identity,
    known_counted_identity,
    with_dimension,
)
from partstream.logs import get_logger
from partstream.security import suspicion
from partstream.security.admission import admit
from partstream.security.refusals import tell
from partstream.throttling import (
    BURST,
    RATE,
    ClientLimits,
    ClientThrottle,
    Limit,
    client_key,
    get_limit,
)
from partstream.wire.errors import to_api_exception, with_code
from partstream.wire.negotiation import PartsContentNegotiation
from partstream.wire.prototypes import put
from partstream.wire.renderers import answer_in_json
from partstream.wire.responses import NOT_STORED, VARY, PartsResponse

from .attributes import checked, protocol_parameters
from .drf_defaults import METHOD_ATTRIBUTES, authenticate_directly, has_fixed_methods
from .request_state import RequestState

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    _Base = APIView
else:
    _Base = object

logger = get_logger("partstream.requests")

_NEGOTIATION = PartsContentNegotiation()


class GuardMixin(_Base):
    """Admits and counts requests, and responds to those it refuses. Do not use it directly."""

    #: Requests per client and minute, for this view alone; None: ``RATE_LIMIT``, shared with all
    #: views that set no limit of their own.
    rate_limit: int | None = None
    #: Walks and streams that a client may begin in ten seconds, for this view alone; None:
    #: ``BURST_LIMIT``.
    burst_limit: int | None = None

    _state: RequestState | None = None
    _others: tuple[RequestState, ...] = ()
    _throttle: ClientThrottle | None = None
    _kept_headers: ClassVar[dict[str, str] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kept_headers = None

    # Hooks

    def get_identity(self, request: Request) -> str | None:
        """The identity that the data belongs to: see `partstream.identity.get_identity`."""
        return get_identity(request)

    def get_rate_limit(self) -> int | None:
        """Requests per client and minute; None: no limit."""
        if self.rate_limit is None:
            return get_settings().RATE_LIMIT
        return self.rate_limit

    def get_burst_limit(self) -> int | None:
        """Walks and streams that a client may begin in ten seconds; None: no limit."""
        if self.burst_limit is None:
            return get_settings().BURST_LIMIT
        return self.burst_limit

    def counts_as_burst(self, request: Request) -> bool:
        """Whether a request begins a walk, and so counts towards the burst limit, too."""
        return request._request.method != "OPTIONS"

    @classmethod
    def get_reserved_parameters(cls, initkwargs: Mapping[str, Any]) -> frozenset[str]:
        """Names of the protocol's query parameters on one route of this class.

        ``SecurityMiddleware`` calls it before there is an instance.

        Args:
            initkwargs: The arguments of ``as_view()`` for the route.
        """
        return protocol_parameters(api_settings.URL_FORMAT_OVERRIDE)

    @classmethod
    def serves_parts(cls, initkwargs: Mapping[str, Any]) -> bool:
        """Whether a route of this class delivers parts, so that the library guards it.

        Middleware and checks ask it before there is an instance. Viewsets have other routes, too.

        Args:
            initkwargs: The arguments of ``as_view()`` for the route.
        """
        return True

    def get_protocol_parameters(self) -> frozenset[str]:
        """Names of the protocol's query parameters; all others are your application's.

        Your own parameters are part of each cursor's binding and of cache keys. By default the
        protocol's parameters are those of `get_reserved_parameters`.
        """
        return self.get_reserved_parameters(vars(self))

    # Called by other modules

    def identity_of(self, request: Request) -> str | None:
        """The identity that the data belongs to: `get_identity` and ``IDENTITY``, joined.

        Raises:
            Misuse: When one of them returns neither a string nor None.
        """
        return with_dimension(*self.identify(request))

    def identify(self, request: Request) -> tuple[str | None, Dimension]:
        """What `get_identity` and the ``IDENTITY`` function return.

        Both are called once per request, before a loader can change the session.

        Raises:
            Misuse: See `identity_of`.
        """
        state = self._state_of(request)
        if state.identity is None:
            state.identity = self.ask_identity(request), get_dimension(request)
        return state.identity

    def ask_identity(self, request: Request) -> str | None:
        """What `get_identity` returns now.

        Raises:
            Misuse: When it returns neither a string nor None.
        """
        identity = self.get_identity(request)
        if identity is not None and not isinstance(identity, str):
            raise Misuse(
                f"{type(self).__name__}.get_identity() returned {identity!r:.80}. "
                "Return a string, or None for an anonymous visitor."
            )
        return identity

    def client_of(self, request: Request) -> str:
        """The client that the limits count, as a keyed digest: see `ClientThrottle`.

        It is the ``client`` of the signal ``client_suspected``.

        Raises:
            Misuse: See `identity_of`.
        """
        identity = counted_identity(request, self.identify, self.ask_identity)
        return client_key(request._request, identity)

    def client_limits(self, request: Request) -> ClientLimits | None:
        """The client to count, and its limits; None: the request is not counted.

        Raises:
            Misuse: When one of the limits is not a whole number within its bounds.
        """
        get_burst, get_rate = self.get_burst_limit, self.get_rate_limit
        has_own = getattr(get_burst, "__func__", None) is not GuardMixin.get_burst_limit
        burst = self._limit(BURST, "burst_limit", get_burst(), has_own)
        has_own = getattr(get_rate, "__func__", None) is not GuardMixin.get_rate_limit
        rate = self._limit(RATE, "rate_limit", get_rate(), has_own)
        limits: tuple[Limit, ...] = () if rate is None else (rate,)
        if burst is not None and self.counts_as_burst(request):
            limits = (burst, *limits)
        if not limits:
            return None
        identity = counted_identity(request, self.identify, self.ask_identity)
        return ClientLimits(client_key(request._request, identity), limits)

    def _limit(
        self, window: tuple[str, int], attribute: str, requests: Any, has_own_hook: bool
    ) -> Limit | None:
        if requests is None:
            return None
        has_own_value = getattr(self, attribute) is not None
        if not has_own_value and not has_own_hook:
            return get_limit(*window, requests, None)  # The setting, which is valid.
        # Checked before the store is called: a wrong value would look like a fault of the store.
        view_class: Any = type(self)
        source = attribute if has_own_value else f"get_{attribute}()"
        requests = int(checked(view_class, attribute, requests, source))
        return get_limit(*window, requests, view_class)

    # Between DRF and the verbs

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Handle a request, with its id set for the log."""
        before = request_ids.current.get()
        request_ids.current.set(request_ids.request_id(request))
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            # DRF's request and view refer to each other; only garbage collection frees such a
            # cycle, and with it the response and the request that loaders saw.
            vars(self).pop("response", None)
            state = self._state
            if state is not None and state.loader_request is not None and not state.leaves_work:
                self.request = state.request
            self._state = self._throttle = None
            self._others = ()
            request_ids.current.set(before)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a denied address or a malformed request before doing anything else."""
        django_request = request._request
        admit(django_request, self.get_protocol_parameters, plain=self._is_plain(request))
        # DRF will write the user that it finds to the same place.
        request._partstream_user = getattr(django_request, "user", None)  # type: ignore[attr-defined]
        super().initial(request, *args, **kwargs)

    def perform_authentication(self, request: Request) -> None:
        """Authenticate the request, in fewer steps than DRF where DRF alone decides."""
        if not authenticate_directly(request, type(self), GuardMixin):
            super().perform_authentication(request)

    def get_content_negotiator(self) -> BaseContentNegotiation:
        """The project's own negotiation; where that is DRF's, the same with a shortcut."""
        if self.content_negotiation_class is DefaultContentNegotiation:
            return _NEGOTIATION
        negotiator: BaseContentNegotiation = super().get_content_negotiator()
        return negotiator

    def get_throttles(self) -> list[BaseThrottle]:
        """The project's own throttles, then `ClientThrottle`."""
        # A ClientThrottle in the project's own list would count each request twice.
        throttles: list[BaseThrottle] = [
            throttle
            for throttle in super().get_throttles()
            if not isinstance(throttle, ClientThrottle)
        ]
        if get_settings().ENABLE_RATE_LIMITING:
            self._throttle = ClientThrottle()
            throttles.append(self._throttle)
        return throttles

    def handle_exception(self, exc: Exception) -> Response:
        """Handle an error with the project's ``EXCEPTION_HANDLER``, and add its ``code``."""
        if isinstance(exc, CursorError):
            logger.info("%s refused a cursor: %s.", type(self).__name__, exc)
        refusal = to_api_exception(exc) if isinstance(exc, PartstreamError) else exc
        state = self._state
        if state is not None and state.loader_request is not None:
            self.request = state.request  # The error is about the client's own request.
        known = (None, ()) if state is None or state.identity is None else state.identity
        identity = with_dimension(*known)
        tell(type(self), self.request, exc, refusal, identity)
        reason = suspicion.reason_of(exc)
        if reason is not None:
            counted = known_counted_identity(self.request, *known)
            client = client_key(self.request._request, counted)
            suspicion.note(type(self), self.request, reason, client, counted)
        wait: int | None = getattr(refusal, "wait", None)
        response: Response = super().handle_exception(refusal)
        if isinstance(response, Response):
            response.data = with_code(response.data, wait)
        if wait:
            response.headers.setdefault("Retry-After", str(wait))
        return response

    def raise_uncaught_exception(self, exc: Exception) -> NoReturn:
        """Raise an unhandled exception as it is.

        Under ``DEBUG``, DRF looks up the request's renderer first. Before content negotiation there
        is none, so the error page would show that error instead of the real one.
        """
        if hasattr(self.request, "accepted_renderer"):
            super().raise_uncaught_exception(exc)
        raise exc

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Set the headers: private to this client, its limits, and the request's id."""
        throttle, state = self._throttle, self._state
        response = super().finalize_response(request, response, *args, **kwargs)
        if state is not None and state.loader_request is not None:
            state.loader_request.give_back()
            context = getattr(response, "renderer_context", None)
            if context is not None:
                context["request"] = request
        headers = response.headers
        if not isinstance(response, PartsResponse):
            answer_in_json(response, self.get_renderers)
            if not response.has_header("Cache-Control"):
                headers["Cache-Control"] = NOT_STORED
            patch_vary_headers(response, VARY.split(", "))
        if throttle is not None:
            for name, value in throttle.headers().items():
                put(headers, name, value)
        identifier = request_ids.current.get() or request_ids.request_id(request._request)
        put(headers, request_ids.HEADER, identifier)
        return response

    @property
    def default_response_headers(self) -> dict[str, str]:
        """DRF's headers without ``Vary``, which `finalize_response` writes as a whole.

        They are made once per class, unless instances allow different methods.
        """
        kept = type(self)._kept_headers
        if kept is not None and vars(self).keys().isdisjoint(METHOD_ATTRIBUTES):
            return kept.copy()
        headers: dict[str, str] = super().default_response_headers
        if headers.get("Vary") == "Accept":
            del headers["Vary"]
        if vars(self).keys().isdisjoint(METHOD_ATTRIBUTES) and has_fixed_methods(
            type(self), GuardMixin
        ):
            type(self)._kept_headers = headers.copy()
        return headers

    def _state_of(self, request: Request) -> RequestState:
        """What is known of a request; `dispatch` forgets it.

        A copy of the request, as DRF's ``clone_request`` makes, is another request.
        """
        state = self._state
        if state is None:
            state = self._state = RequestState(request)
        if state.request is request or state.loader_request is request:
            return state
        for state in self._others:
            if state.request is request or state.loader_request is request:
                return state
        self._others = (*self._others, RequestState(request))
        return self._others[-1]

    def _is_plain(self, request: Request) -> bool:
        """Whether the query is known to be valid without looking at its parameters."""
        return False
