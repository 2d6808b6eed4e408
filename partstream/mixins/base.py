"""The base of all mixins: the parts of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from inspect import getattr_static, isfunction
from typing import Any, ClassVar
from urllib.parse import unquote

from django.conf import settings as django_settings
from django.db import connections
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from partstream.backends.executors.base import Executor
from partstream.backends.loader import get_executor
from partstream.caching.cache_keys import Scope
from partstream.conf import get_settings
from partstream.exceptions import Misuse
from partstream.logs import get_logger
from partstream.parts.declaration import PartList
from partstream.parts.layout import Gates
from partstream.parts.loader_requests import LoaderRequest
from partstream.parts.outcome import Outcome
from partstream.parts.signatures import signature_problem
from partstream.per_process import Kept
from partstream.resolution.observation import Observation, observation_of
from partstream.resolution.resolver import Resolver
from partstream.wire import costs
from partstream.wire.renderers import own_json_renderer, rendered
from partstream.wire.responses import LONGEST_LINK, PartsResponse

from .guard import GuardMixin
from .request_state import RequestState

logger = get_logger("partstream.parts")

_is_debugging = Kept(lambda: bool(django_settings.DEBUG), "DEBUG").get

#: Part lists cached per view class: one for each distinct ``parts`` that it is mounted with.
_KEPT_LISTS = 16


class PartsMixin(GuardMixin):
    """The base of all mixins: it declares the parts. Do not use it directly."""

    #: The parts: pairs of a name and a value or a `lazy` part. The list is built once, then shared.
    parts: Iterable[tuple[str, Any]] | None = None
    #: Where loaders run: a dotted path, ``{"BACKEND": path, "OPTIONS": {...}}`` or an executor;
    #: None: ``PART_EXECUTOR``.
    executor: str | Mapping[str, Any] | Executor | None = None

    _lists: ClassVar[dict[int, tuple[Any, PartList]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._lists = {}
        order = cls.__mro__
        if APIView in order and order.index(APIView) < order.index(PartsMixin):
            raise Misuse(
                f"class {cls.__name__}: APIView comes before the mixins, and hides what they "
                "add to it. Write the mixins first and APIView last."
            )
        get_parts = getattr_static(cls, "get_parts")
        problem = signature_problem(get_parts, ()) if isfunction(get_parts) else None
        if problem is not None:
            raise Misuse(
                f"{cls.__name__}.get_parts() cannot be called as (self): {problem}. Write def "
                "get_parts(self): the request is self.request, and the URL's arguments are in "
                "self.kwargs."
            )

    # Hooks

    def get_parts(self) -> Iterable[tuple[str, Any]]:
        """The parts of this request. By default, those of the attribute ``parts``.

        Override it if the parts depend on the request. Immediate values are computed for each
        request, so run no queries here: put them into a `lazy` part.

        Example::

            def get_parts(self):
                return [*super().get_parts(), ("mine", lazy(self.get_mine))]
        """
        if self.parts is None:
            raise Misuse(
                f"{type(self).__name__} declares no parts. Set the attribute parts = [...], "
                "or define get_parts(self)."
            )
        # Not the list itself: a change to it would affect every request.
        return self.build_part_list(self.parts)

    def get_parts_manifest(self) -> Mapping[str, Mapping[str, Any]]:
        """Additional manifest entries: name -> ``{"size": ..., "dependencies": [...], ...}``.

        They are merged over what `lazy` declares. Dependencies named here gate and order a part;
        they are not passed to its loader. A name that this request does not declare is ignored.
        """
        return {}

    def get_executor(self) -> Executor:
        """The executor that runs loaders: the attribute ``executor``, or ``PART_EXECUTOR``."""
        configured = self.executor
        if configured is None:
            return get_executor()
        return get_executor(configured, f"{type(self).__name__}.executor")

    def get_refresh_allowed(self) -> bool:
        """Whether a client's ``Cache-Control: no-cache`` reloads `cached_for` parts.

        By default it does not: otherwise any client could run your slowest loaders each time.
        """
        return False

    def get_links(self, request: Request) -> Mapping[str, str]:
        """Paths of the deliveries that the view has, of ``walk``, ``parts`` and ``manifest``."""
        return {}

    # The parts of this request

    @classmethod
    def build_part_list(cls, pairs: Any) -> PartList:
        """The `PartList` of a static declaration, cached as long as the class lives.

        Raises:
            Misuse: When the declaration is invalid.
        """
        kept = cls._lists.get(id(pairs))
        # The declaration is stored with its list, so its id cannot be reused.
        if kept is not None and kept[0] is pairs:
            return kept[1]
        part_list = PartList(pairs, owner=cls, static=True)
        if len(cls._lists) >= _KEPT_LISTS:
            cls._lists.clear()
        cls._lists[id(pairs)] = (pairs, part_list)
        return part_list

    def get_resolver(self, request: Request) -> Resolver:
        """The resolver of this request. The parts are declared once per request."""
        state = self._state_of(request)
        if state.resolver is None:
            seen: Any = state.loader_request or request
            if (
                seen is request
                and request._request.META.get("QUERY_STRING")
                and self._has_protocol_parameters(request)
            ):
                seen = self._make_loader_request(state, request._request.path)
            settings = get_settings()
            described = self.get_parts_manifest()
            parts = self._make_part_list(described)
            state.resolver = Resolver(
                self,
                seen,
                parts,
                described,
                executor=self.get_executor(),
                get_scope=self.make_scope,
                timeout=settings.PART_TIMEOUT,
                observation=observation_of(request._request, debugs=settings.ENABLE_DEBUG_LOGGING),
                fresh=self._is_fresh(request),
            )
        return state.resolver

    def _take_walk_path(self, request: Request) -> None:
        """Let loaders see the walk's path, on a route that has another one."""
        state, link = self._state_of(request), self.get_links(request).get("walk")
        if state.resolver is None and link is not None:
            path = unquote(link)
            if path != request._request.path:
                self._make_loader_request(state, path)

    def _make_loader_request(self, state: RequestState, path: str) -> LoaderRequest:
        """The request that loaders see; from now on it is the view's, too."""
        made = LoaderRequest(state.request, path, self.get_protocol_parameters)
        self.request = state.loader_request = made
        return made

    def _has_protocol_parameters(self, request: Request) -> bool:
        """Whether the query, which is not empty, has a parameter that loaders do not see."""
        return not self.get_protocol_parameters().isdisjoint(request.query_params)

    def make_scope(self, request: Request) -> Scope:
        """What cache entries of this request depend on."""
        original = self._state_of(request).request
        return Scope(
            request,
            type(self),
            identity=self.identity_of(request),
            # The walk's path, even for a request by key: both share cached parts.
            path=self.get_links(original).get("walk") or original._request.path,
            protocol=self.get_protocol_parameters(),
        )

    def _is_fresh(self, request: Request) -> bool:
        wish = request._request.META.get("HTTP_CACHE_CONTROL")
        return (
            wish is not None
            and "no-cache" in {word.strip().lower() for word in wish.split(",")}
            # A browser sends it with each EventSource, whatever its user wants.
            and not getattr(request.accepted_renderer, "resumes_by_header", False)
            and self.get_refresh_allowed()
        )

    def _streamed(self, request: Request) -> HttpResponseBase | None:
        """The stream, if the view has streams and the client asks for one."""
        return None

    def _delivered(self, request: Request, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes with their data as the view's own JSON renderer writes it, if it has one."""
        renderer = own_json_renderer(self.get_renderers())
        if renderer is None:
            return outcomes
        context = {
            **self.get_renderer_context(),
            "request": request,
            "response": PartsResponse(),
        }
        return rendered(outcomes, renderer, context, type(self).__name__)

    @staticmethod
    def _shown_costs(request: Request, seen: Observation) -> Observation | None:
        """What was noted of the parts, if this client may see it."""
        if not get_settings().ENABLE_DEBUG_LOGGING:
            return None
        allowed = _is_debugging() or getattr(request.user, "is_staff", False) is True
        return seen if allowed else None

    @staticmethod
    def _debug_json(request: Request, seen: Observation) -> bytes | None:
        """``meta.debug``, if the client asks for it."""
        if request.query_params.get(costs.PARAMETER) != "1":
            return None
        return costs.debug_json(seen.outcomes.values(), seen.pending, seen.count_of)

    @staticmethod
    def _add_server_timing(response: Response, seen: Observation) -> None:
        # It shares its room with the link, so that all headers together stay below 2 KB.
        room = LONGEST_LINK - len(response.headers.get("Link", ""))
        timing = costs.server_timing(seen.outcomes.values(), seen.count_of, room)
        if timing:
            response.headers[costs.HEADER] = timing

    def _make_part_list(self, described: Any) -> PartList:
        pairs = self._watched(self.get_parts) if _is_debugging() else self.get_parts()
        if type(described) is not dict and not isinstance(described, Mapping):
            raise Misuse(
                f"{type(self).__name__}.get_parts_manifest() returned {described!r:.80}. "
                'Return a dictionary, for example {"orders": {"size": "large"}}.'
            )
        if described:
            return PartList(pairs, owner=type(self), gates=self._gates(described))
        if isinstance(pairs, PartList) and pairs.owner is type(self):
            return pairs
        return PartList(pairs, owner=type(self))

    def _gates(self, described: Mapping[str, Any]) -> Gates:
        gates = []
        for name, entry in described.items():
            dependencies = entry.get("dependencies", ()) if isinstance(entry, Mapping) else None
            if not isinstance(dependencies, (list, tuple)):
                raise Misuse(
                    f"{type(self).__name__}: get_parts_manifest()[{name!r}] is {entry!r:.80}. "
                    'Write {"size": "small", "dependencies": ["other"]}.'
                )
            gates.append((name, tuple(dependencies)))
        return tuple(gates)

    def _watched(self, get_parts: Callable[[], Any]) -> Any:
        """Under DEBUG: warn if ``get_parts()`` runs queries."""
        queries: list[str] = []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            queries.append(sql)
            return execute(sql, params, many, context)

        with ExitStack() as stack:
            for connection in connections.all(initialized_only=True):
                stack.enter_context(connection.execute_wrapper(note))
            pairs = get_parts()
        if queries:
            logger.warning(
                "%s.get_parts() ran %d queries, and will run them on every request. "
                "Put them into a loader: lazy(...).",
                type(self).__name__,
                len(queries),
            )
        return pairs
