"""The resolver: turns names of parts into outcomes, for one request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from time import monotonic
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.base import Executor
from partstream.backends.executors.hooks import CallHooks
from partstream.caching.cache_keys import Scope
from partstream.isolation.connections import give_back_pooled
from partstream.isolation.transactions import atomic_aliases
from partstream.parts.declaration import LazyPart, PartList
from partstream.parts.outcome import Outcome
from partstream.walks.walk_cache import WalkCache

from .boundary import Boundary, HookedBoundary
from .cached_parts import CachedParts
from .launcher import Launcher
from .observation import Observation, ObservedBoundary
from .observers import tolerate
from .pending import Ends
from .request_parts import RequestParts
from .schedule import AT_ONCE, Schedule
from .stream_schedule import StreamSchedule


class Resolver:
    """Turns names of parts into outcomes. Each part of a request resolves at most once.

    Args:
        described: What ``get_parts_manifest()`` adds to the manifest.
        request: The request that loaders see.
        get_scope: Returns what `cached_for` keys depend on; called in the request's thread.
        timeout: Seconds for loaders without a timeout of their own; None: no limit.
        observation: What is noted of the parts; None: nothing wants to know it.
        fresh: Whether `cached_for` entries are ignored and replaced.
    """

    def __init__(
        self,
        view: APIView,
        request: Request,
        declared: PartList,
        described: Mapping[str, Mapping[str, Any]],
        *,
        executor: Executor,
        get_scope: Callable[[Request], Scope],
        timeout: float | None = None,
        observation: Observation | None = None,
        fresh: bool = False,
    ) -> None:
        self.request = request
        self.executor = executor
        self.parts = RequestParts(
            view,
            request,
            declared,
            described,
            get_scope=get_scope,
            executor=executor,
            timeout=timeout,
        )
        self._fresh = fresh
        #: The number of outcomes that observers know.
        self._told = 0
        #: The hooks of the view's executor, to be called around a part in another thread.
        self.hooks = hooks = CallHooks(executor, request) if executor.has_hooks else None
        self.boundary = (
            Boundary(view, request)
            if hooks is None and not declared.layout.has_executors
            else HookedBoundary(view, request)
        )
        self.observation = observation
        if self.observation is not None and self.observation.sees_runs:
            self.boundary = ObservedBoundary(self.boundary, self.observation)

    @cached_property
    def _cached(self) -> CachedParts:
        return CachedParts(self.parts, fresh=self._fresh)

    def resolve(
        self,
        names: Sequence[str],
        *,
        walk: WalkCache | None = None,
        budget: float | None = None,
    ) -> list[Outcome]:
        """The outcomes of these parts, in this order; their dependencies are resolved, too.

        With a budget, in seconds, it returns the outcomes so far when that is spent, as soon as
        there is one. Parts that have begun run on, and a later chunk of the walk joins them: that
        needs a walk cache and a concurrent executor. A later chunk begins the others.
        """
        parts = self.parts
        outcomes, layout, declared = parts.outcomes, parts.layout, parts.declared
        if walk is None or not self.executor.watches_time:
            budget = None
        running: list[str] = []
        if walk is not None and walk.reads:
            running = self._read(walk, layout.closure(names), moves=budget is not None)
        order = names
        if layout.gated or outcomes or running:
            # A part that an earlier chunk left running no longer needs its dependencies.
            others = [name for name in names if name not in running]
            order = layout.closure(others, outcomes.keys() | running)
        elsewhere = (
            layout.has_executors
            or self.executor.concurrent
            or parts.timeout is not None
            or bool(running)
        )
        atomic = None if elsewhere else atomic_aliases()
        launcher = Launcher(parts, self.boundary, self.hooks, atomic)
        rest: Sequence[str] = ()
        if layout.has_executors:
            rest, order = order, ()  # Before any value, start what runs elsewhere.
        for position, name in enumerate(order):
            part = declared[name]
            if not isinstance(part, LazyPart):
                outcomes[name] = self.boundary.settle_value(name, part, launcher.atomic)
                continue
            loader = None if elsewhere else declared.loader_of(name, part, parts.view)
            if loader is None or not loader.is_plain:
                rest = order[position:]
                break
            # The short path of most parts: they run here and now.
            if not (layout.gated and parts.depends_on_failure(name)):
                outcomes[name] = launcher.run(name, part, loader)
        if rest or running:
            moving = None if budget is None else walk
            launcher.patient = budget is not None
            schedule = Schedule(parts, self.boundary, launcher, self._cached, rest, moving)
            schedule.join_running(running)
            self._drive(schedule, frozenset(names), budget)
        if self.observation is not None:
            self.tell(names)
        return [outcomes[name] for name in names if name in outcomes]

    def settle_values(self, names: Iterable[str]) -> list[Outcome]:
        """The outcomes of those of these parts that are immediate values, or resolved already."""
        parts, atomic, found = self.parts, atomic_aliases(), []
        for name in names:
            outcome = parts.outcomes.get(name)
            if outcome is None and not isinstance(parts[name], LazyPart):
                outcome = self.boundary.settle_value(name, parts[name], atomic)
                parts.outcomes[name] = outcome
            if outcome is not None:
                found.append(outcome)
        return found

    def schedule(
        self, names: Sequence[str], walk: WalkCache | None, ends: Ends, *, slower_than: float
    ) -> StreamSchedule:
        """The schedule of a stream of these parts; see `StreamSchedule`."""
        parts, layout = self.parts, self.parts.layout
        running: list[str] = []
        known = len(parts.outcomes)
        if walk is not None and walk.reads:
            running = self._read(walk, layout.closure(names), moves=True)
        others = [name for name in names if name not in running]
        launcher = Launcher(parts, self.boundary, self.hooks, None)
        launcher.apart = launcher.patient = True
        schedule = StreamSchedule(
            parts,
            self.boundary,
            launcher,
            self._cached,
            layout.closure(others, parts.outcomes.keys() | running),
            walk,
            ends,
            known=known,
            slower_than=slower_than,
        )
        schedule.join_running(running)
        return schedule

    def tell(self, names: Sequence[str]) -> None:
        """Tell the observation, if there is one, which outcomes of these parts there are."""
        observation = self.observation
        if observation is None:
            return
        outcomes = observation.outcomes = self.parts.outcomes
        observation.pending = [name for name in names if name not in outcomes]
        if "_cached" in vars(self):
            observation.looked_up = self._cached.names
        if observation.observers:
            new = list(islice(outcomes.values(), self._told, None))
            if self._told and not new:
                return  # The end of a stream that has told of everything.
            self._told += len(new)
            for observer in observation.observers:
                tolerate(observer.resolved, self.parts.view, self.request, new, observation.pending)

    def _drive(self, schedule: Schedule, wanted: Collection[str], budget: float | None) -> None:
        """Drive a schedule to its end, or until the budget is spent. It waits in this thread."""
        ends = None if budget is None else monotonic() + budget
        renew = self.renewal()
        can_be_sent = False
        try:
            for until in schedule.steps():
                if ends is not None:
                    settled = [outcome.name for outcome in schedule.take()]
                    can_be_sent = can_be_sent or any(name in wanted for name in settled)
                    if can_be_sent:
                        if monotonic() >= ends:
                            schedule.leave()
                            return
                        until = ends if until is None else min(until, ends)
                if until == AT_ONCE:
                    continue
                give_back_pooled(renew)  # The workers may need one.
                schedule.pending.ends.wait(until)
        except BaseException:
            schedule.drop()
            raise

    def renewal(self) -> Callable[[], None] | None:
        """What sets up a connection that the request's own thread opens after it gave one back.

        It is the hook of the view's executor; if it has none, that of its first part that has one.
        """
        if self.hooks is not None or not self.parts.layout.has_executors:
            return None if self.hooks is None else self.hooks.before
        for executor in self.parts.executors():
            if executor.has_hooks:
                return CallHooks(executor, self.request).before
        return None

    def _read(self, walk: WalkCache, names: Iterable[str], *, moves: bool) -> list[str]:
        """Take the walk's cached outcomes; returns the parts that an earlier chunk left running."""
        parts = self.parts
        lazy = [
            name
            for name in names
            if name not in parts.outcomes and isinstance(parts[name], LazyPart)
        ]
        if not lazy:
            return []
        kept, running = walk.read(lazy, moves=moves)
        for name, fragment in kept.items():
            parts.outcomes[name] = Outcome(name, fragment, None, 0.0, "cache")
        return running
