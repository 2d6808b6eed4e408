"""Resolution: names of parts become outcomes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.base import Executor
from partstream.backends.executors.hooks import CallHooks
from partstream.caching.cache_keys import Scope
from partstream.caching.flight import Flight
from partstream.conf import get_settings
from partstream.isolation.timeouts import atomic_aliases
from partstream.logs import get_logger
from partstream.parts.declaration import LazyPart, PartList
from partstream.parts.fragment import decode
from partstream.parts.loader import DENIALS, Loader
from partstream.parts.outcome import Failure, Outcome, worth_keeping
from partstream.walks.walk_cache import WalkCache

from .boundary import Ambience, Boundary
from .hooked_boundary import HookedBoundary
from .schedule import Schedule

logger = get_logger("partstream.parts")


class Resolver:
    """Turns names into outcomes, for one request of one view.

    Each part resolves at most once, each permission is asked at most once.

    Args:
        view: The view, for its methods, for permissions and serializers.
        request: The request that loaders get.
        parts: The declared parts.
        described: What more the manifest says of them.
        executor: Where loaders run.
        get_scope: Makes what the entries of `cached_for` depend on; called at first need, in the
            request's thread.
        fresh: Whether what `cached_for` kept is made anew.
    """

    def __init__(
        self,
        view: APIView,
        request: Request,
        parts: PartList,
        described: Mapping[str, Mapping[str, Any]],
        *,
        executor: Executor,
        get_scope: Callable[[], Scope],
        fresh: bool = False,
    ) -> None:
        self.view = view
        self.request = request
        self.parts = parts
        self.described = described
        self.executor = executor
        self.fresh = fresh
        #: What the executor has to be called with around a part in another thread.
        self.hooks = hooks = CallHooks(executor, request) if executor.has_hooks else None
        self.boundary = (
            Boundary(view, request) if hooks is None else HookedBoundary(view, request, hooks)
        )
        self.outcomes: dict[str, Outcome] = {}
        self._get_scope = get_scope
        self._timeout = get_settings().PART_TIMEOUT if executor.watches_time else None
        self._visible: Sequence[int] | None = None

    # Which parts this user has

    @property
    def visible(self) -> Sequence[int]:
        """Positions of the parts that exist for this user, ascending."""
        if self._visible is None:
            layout = self.parts.layout
            everything: Sequence[int] = range(len(layout.names))
            self._visible = self._find_visible() if layout.guarded else everything
        return self._visible

    def _find_visible(self) -> list[int]:
        layout = self.parts.layout
        granted: dict[Any, bool] = {}
        hidden: set[str] = set()
        for position in layout.order:
            name = layout.names[position]
            for permission in layout.permissions[position]:
                if permission not in granted:
                    granted[permission] = self._has_permission(permission, name)
            if not all(granted[permission] for permission in layout.permissions[position]) or any(
                other in hidden for other in layout.dependencies[position]
            ):
                hidden.add(name)
        return [position for position, name in enumerate(layout.names) if name not in hidden]

    def _has_permission(self, permission: Any, name: str) -> bool:
        try:
            return bool(permission().has_permission(self.request, self.view))
        except DENIALS:
            return False
        except Exception:
            logger.exception(
                "A permission of part %r of %s failed; the part is hidden.",
                name,
                type(self.view).__name__,
            )
            return False

    @cached_property
    def scope(self) -> Scope:
        """What the entries of a cache depend on."""
        return self._get_scope()

    # What becomes of them

    def resolve(
        self,
        names: Sequence[str],
        *,
        walk: WalkCache | None = None,
        budget: float | None = None,
    ) -> list[Outcome]:
        """The outcomes of these parts, in this order; what they depend on is resolved as well.

        Args:
            names: Names of declared parts.
            walk: The cache of the walk that they are resolved for.
            budget: Seconds after which the outcomes that are there are enough, if it is at least
                one; the other parts run on, and a later chunk of the walk joins them. Needs
                ``walk`` and a concurrent executor.
        """
        outcomes, layout = self.outcomes, self.parts.layout
        joined: dict[str, Flight] = {}
        if not self.executor.watches_time:
            budget = None
        if walk is not None and walk.reads:
            joined = self._read(walk, layout.closure(names), running=budget is not None)
        # What a part that is kept, or that runs already, once depended on is not needed for it.
        others = [name for name in names if name not in joined]
        order = [*joined, *layout.closure(others, outcomes.keys() | joined.keys())]
        elsewhere = self.executor.concurrent or self._timeout is not None or bool(joined)
        atomic, ambience = None if elsewhere else atomic_aliases(), None
        for position, name in enumerate(order):
            part = self.parts[name]
            if not isinstance(part, LazyPart):
                atomic = atomic_aliases() if atomic is None else atomic
                outcomes[name] = self.boundary.settle(name, part, None, None, atomic)
                continue
            loader = None if elsewhere else self.loader_of(name, part)
            if loader is None or atomic is None or not loader.is_plain:
                schedule = Schedule(
                    self,
                    order[position:],
                    names,
                    atomic=atomic,
                    walk=walk,
                    joined=joined,
                    budget=budget,
                )
                schedule.run()
                break
            # The short way of most parts: here, and now.
            if layout.gated and self.depends_on_failure(name):
                continue
            ambience = ambience or Ambience()
            try:
                data = self.data_of(part.depends_on)
            except Exception as error:  # noqa: BLE001 - fail() logs
                outcomes[name] = self.boundary.fail(name, loader, error, 0.0)
                continue
            outcomes[name] = self.boundary.settle(name, part, loader, loader.function, atomic, data)
            ambience.restore()
        return [outcomes[name] for name in names if name in outcomes]

    def _read(self, walk: WalkCache, names: Iterable[str], *, running: bool) -> dict[str, Flight]:
        """Take what the walk has kept; returns what it has left running."""
        lazy = [
            name
            for name in names
            if name not in self.outcomes and isinstance(self.parts[name], LazyPart)
        ]
        if not lazy:
            return {}
        kept, flights = walk.read(lazy, running=running)
        for name, fragment in kept.items():
            self.outcomes[name] = Outcome(name, fragment, None, 0.0, "cache")
        return flights

    def kept(self, remaining: Collection[int], slower_than: float | None) -> dict[str, bytes]:
        """Of what was resolved, the fragments that may be read again on this walk.

        Args:
            remaining: Positions of the parts still to come.
            slower_than: Seconds; parts that took longer are kept in any case. None: they are not.
        """
        layout = self.parts.layout
        found = {}
        for name, outcome in self.outcomes.items():
            fragment = worth_keeping(outcome)
            if fragment is None:
                continue
            if (slower_than is not None and outcome.duration > slower_than) or (
                layout.gated
                and any(
                    position in remaining
                    for position in (layout.index[name], *layout.dependents[name])
                )
            ):
                found[name] = fragment
        return found

    # For the schedule

    def loader_of(self, name: str, part: LazyPart) -> Loader:
        """The loader of a part, bound to the view."""
        return self.parts.loader_of(name, part, self.view)

    def timeout_of(self, loader: Loader) -> float | None:
        """Seconds that the loader may take: its own, or the setting's."""
        if not self.executor.watches_time:
            return None
        return self._timeout if loader.timeout is None else loader.timeout

    def depends_on_failure(self, name: str) -> bool:
        """Whether a dependency failed; if so, the part's outcome is settled."""
        layout = self.parts.layout
        for other in layout.dependencies[layout.index[name]]:
            failure = self.outcomes[other].failure
            if failure is not None:
                failure = Failure("dependency_failed", retryable=failure.retryable)
                self.outcomes[name] = Outcome(name, None, failure, 0.0, "loader")
                return True
        return False

    def data_of(self, names: Iterable[str]) -> dict[str, Any]:
        """The data of resolved parts, decoded anew, so that nobody changes another's."""
        return {name: decode(self.outcomes[name].fragment or b"") for name in names}
