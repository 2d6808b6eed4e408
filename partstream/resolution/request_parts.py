"""The parts of one request: which are declared, which are visible, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.base import Executor
from partstream.backends.loader import get_executor
from partstream.caching.cache_keys import Scope
from partstream.logs import get_logger
from partstream.parts.declaration import LazyPart, PartList
from partstream.parts.failures import is_refusal
from partstream.parts.fragment import decode
from partstream.parts.layout import Layout
from partstream.parts.loader import Loader
from partstream.parts.outcome import Failure, Outcome

logger = get_logger("partstream.parts")


class RequestParts:
    """The parts of one request. Each permission is checked at most once.

    Args:
        executor: The executor of the view, for parts without one of their own.
        timeout: Seconds for loaders without a timeout of their own; None: no limit.

    Attributes:
        executor: As given.
        outcomes: Name -> outcome, in order of completion.
    """

    def __init__(
        self,
        view: APIView,
        request: Request,
        declared: PartList,
        described: Mapping[str, Mapping[str, Any]],
        *,
        get_scope: Callable[[Request], Scope],
        executor: Executor,
        timeout: float | None = None,
    ) -> None:
        self.view = view
        self.request = request
        self.declared = declared
        self.described = described
        self.layout: Layout = declared.layout
        self.executor = executor
        self.timeout = timeout if executor.watches_time else None
        self.outcomes: dict[str, Outcome] = {}
        self._get_scope = get_scope

    def __len__(self) -> int:
        return len(self.declared)

    def __getitem__(self, name: str) -> Any:
        return self.declared[name]

    @cached_property
    def scope(self) -> Scope:
        """What cache keys of this request depend on."""
        return self._get_scope(self.request)

    # Visibility

    @cached_property
    def visible(self) -> Sequence[int]:
        """Positions of the parts that exist for this user, ascending."""
        layout = self.layout
        return self._find_visible() if layout.guarded else range(len(layout.names))

    def _find_visible(self) -> list[int]:
        layout = self.layout
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
        except Exception as error:
            if not is_refusal(error):
                logger.exception(
                    "A permission of part %r of %s failed; the part is hidden. If it looks at the "
                    "view's queryset, write lazy(..., permission_view=...).",
                    name,
                    type(self.view).__name__,
                )
            return False

    # Where loaders run

    def executor_of(self, name: str) -> Executor:
        """The executor of a part: its own, or the view's.

        Raises:
            Misuse: When it cannot be made.
        """
        if not self.layout.has_executors:
            return self.executor
        executor = self._executors.get(name)
        if executor is None:
            configured = getattr(self.declared[name], "executor", None)
            executor = self._executors[name] = (
                self.executor
                if configured is None
                else get_executor(
                    configured, f"{type(self.view).__name__}: the executor of part {name!r}"
                )
            )
        return executor

    @cached_property
    def _executors(self) -> dict[str, Executor]:
        """Name -> executor, of a view where they differ."""
        return {}

    def executors(self) -> Iterator[Executor]:
        """The view's executor, then those of its lazy parts; one may come several times."""
        yield self.executor
        if self.layout.has_executors:
            for name in self.layout.names:
                if isinstance(self.declared[name], LazyPart):
                    yield self.executor_of(name)

    # Input of loaders

    def loader_of(self, name: str, part: LazyPart) -> Loader:
        """The loader of a part, bound to the view."""
        return self.declared.loader_of(name, part, self.view)

    def timeout_of(self, name: str, loader: Loader) -> float | None:
        """Seconds that a part's loader may take: its own timeout, or the setting's."""
        if not self.executor_of(name).watches_time:
            return None
        return self.timeout if loader.timeout is None else loader.timeout

    def data_of(self, names: Iterable[str]) -> dict[str, Any]:
        """The data of settled parts, decoded for each caller, so that callers share nothing."""
        return {name: decode(self.outcomes[name].fragment or b"") for name in names}

    # Outcomes

    def depends_on_failure(self, name: str) -> bool:
        """Whether a dependency failed; if so, the part fails here, too."""
        layout = self.layout
        for other in layout.dependencies[layout.index[name]]:
            failure = self.outcomes[other].failure
            if failure is not None:
                failure = Failure(
                    "dependency_failed",
                    retryable=failure.retryable,
                    retry_after=failure.retry_after,
                )
                self.outcomes[name] = Outcome(name, None, failure, 0.0, "loader")
                return True
        return False

    def can_run(self, name: str) -> bool:
        """Whether all dependencies have data: a part that joins a run starts without them."""
        dependencies = self.layout.dependencies[self.layout.index[name]]
        found = [self.outcomes.get(other) for other in dependencies]
        return all(outcome is not None and outcome.failure is None for outcome in found)
