"""Resolution: names of parts become outcomes. The error boundary is here."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import CoroutineType, MappingProxyType
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import connections, transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.views import APIView

from . import fragments
from .exceptions import PartError
from .loaders import DENIALS, Loader, awaited
from .parts import LazyPart, PartList

logger = logging.getLogger(__name__)


#: Characters of an exception that a client sees under DEBUG.
_SHOWN_AT_MOST = 1000
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Failure:
    """Why a part has no data, as far as a client may know.

    Attributes:
        code: What a program reads.
        detail: What a person reads; None for the standing text of the code.
        retryable: Whether asking again later may help.
        exception: Class and text of what was raised, under ``settings.DEBUG`` only.
    """

    code: str
    detail: str | None = None
    retryable: bool = True
    exception: str | None = None


class Outcome(NamedTuple):
    """What became of one part: its fragment, or its failure.

    A named tuple where a frozen dataclass would do: each part makes one, and it costs less.

    Attributes:
        name: The part.
        fragment: The data as JSON bytes; None when it failed.
        failure: Why it failed; None when it did not.
        duration: Seconds that loader, serializer and encoding took together.
        source: ``"immediate"``, ``"loader"`` or ``"fallback"``.
    """

    name: str
    fragment: bytes | None
    failure: Failure | None
    duration: float
    source: str


class Resolver:
    """Turns names into outcomes, for one request of one view.

    Each part resolves at most once, each permission is asked at most once.

    Args:
        view: The view, for its methods, for permissions and serializers.
        request: The request that loaders get.
        parts: The declared parts.
        described: What more the manifest says of them.
    """

    def __init__(
        self,
        view: APIView,
        request: Request,
        parts: PartList,
        described: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.view = view
        self.request = request
        self.parts = parts
        self.described = described
        self._outcomes: dict[str, Outcome] = {}
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

    # What becomes of them

    def resolve(self, names: Sequence[str]) -> list[Outcome]:
        """The outcomes of these parts, in this order; what they depend on is resolved as well."""
        outcomes = self._outcomes
        layout = self.parts.layout
        order, gated = layout.closure(names), layout.gated
        atomic = _atomic_aliases()
        for position, name in enumerate(order):
            if name in outcomes:
                continue
            part = self.parts[name]
            if not isinstance(part, LazyPart):
                self._settle(name, part, None, None, atomic)
                continue
            loader = self.parts.loader_of(name, part, self.view)
            function = loader.function
            if loader.is_async:
                if not atomic:
                    self._resolve_concurrently(self._ready_coroutines(order[position:]))
                    continue
                # One connection has one stack of savepoints: coroutines run one after another.
                function = async_to_sync(function)
            if not gated:
                self._settle(name, part, loader, function, atomic)
            elif not self._depends_on_failure(name):
                data = self._data_of(part.depends_on)
                self._settle(name, part, loader, function, atomic, data)
        return [outcomes[name] for name in names]

    def _ready_coroutines(self, order: list[str]) -> list[tuple[str, LazyPart, Loader]]:
        """The coroutine loaders among these parts whose dependencies are resolved."""
        batch = []
        layout = self.parts.layout
        for name in order:
            part = self.parts[name]
            if name not in self._outcomes and isinstance(part, LazyPart):
                loader = self.parts.loader_of(name, part, self.view)
                if loader.is_async and all(
                    other in self._outcomes for other in layout.dependencies[layout.index[name]]
                ):
                    batch.append((name, part, loader))
        return batch

    def _resolve_concurrently(self, batch: list[tuple[str, LazyPart, Loader]]) -> None:
        """Coroutine loaders, under one event loop that keeps the request's connection."""
        ready = [entry for entry in batch if not self._depends_on_failure(entry[0])]
        calls = [
            partial(_timed, loader.function, self.request, self._data_of(part.depends_on))
            for _, part, loader in ready
        ]
        try:
            results = async_to_sync(_gather)(calls) if calls else []
        except RuntimeError as refusal:  # This thread runs an event loop already.
            results = [(None, refusal, 0.0)] * len(calls)
        for (name, part, loader), (data, error, seconds) in zip(ready, results, strict=True):
            # Back in the request's thread: here a QuerySet may be evaluated.
            self._settle(name, part, loader, partial(_result, data, error), [], seconds=seconds)

    def _depends_on_failure(self, name: str) -> bool:
        """Whether a dependency failed; if so, the part's outcome is settled."""
        layout = self.parts.layout
        for other in layout.dependencies[layout.index[name]]:
            failure = self._outcomes[other].failure
            if failure is not None:
                failure = Failure("dependency_failed", retryable=failure.retryable)
                self._outcomes[name] = Outcome(name, None, failure, 0.0, "loader")
                return True
        return False

    def _data_of(self, names: Iterable[str]) -> dict[str, Any]:
        """The data of resolved parts, decoded anew, so that nobody changes another's."""
        return {name: fragments.decode(self._outcomes[name].fragment or b"") for name in names}

    # The boundary

    def _settle(
        self,
        name: str,
        part: Any,
        loader: Loader | None,
        function: Callable[..., Any] | None,
        atomic: list[str],
        dependencies: Mapping[str, Any] = _NOTHING,
        *,
        seconds: float = 0.0,
    ) -> None:
        """Run one part to its outcome; whatever it raises ends here.

        Args:
            name: The part.
            part: The lazy part, or the immediate value.
            loader: The loader, whose fallback covers all that is done; None: an immediate value.
            function: What makes the data.
            atomic: Aliases of databases in an atomic block: each try gets a savepoint there.
            dependencies: What the function gets beside the request.
            seconds: What was spent on the part before.
        """
        fragment, failure = None, None
        source = "immediate" if loader is None else "loader"
        started = perf_counter()
        try:
            try:
                if atomic:
                    with _savepoints(atomic):
                        fragment = self._make(part, function, dependencies)
                else:
                    fragment = self._make(part, function, dependencies)
            except (Exception, asyncio.CancelledError) as error:
                if loader is None or not loader.has_fallback:
                    raise
                subject = f"Part {name!r} of {type(self.view).__name__}"
                with _savepoints(atomic):
                    fragment = fragments.encode(loader.recover(self.request, error, subject))
                source = "fallback"
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - _failure_of() logs
            failure = self._failure_of(name, error)
        duration = seconds + perf_counter() - started
        self._outcomes[name] = Outcome(name, fragment, failure, duration, source)

    def _make(
        self, part: Any, function: Callable[..., Any] | None, dependencies: Mapping[str, Any]
    ) -> bytes:
        """The fragment: the function, the serializer, the encoding."""
        if function is None:
            return fragments.encode(part)
        data = function(self.request, **dependencies)
        if type(data) is CoroutineType:  # Of a decorator or a callable object: seen only now.
            data = async_to_sync(awaited)(data)
        if part.serializer_class is not None:
            context = {
                "request": self.request,
                "view": self.view,
                "format": self.view.format_kwarg,
            }
            data = part.serializer_class(data, many=part.many, context=context).data
        elif isinstance(data, (QuerySet, Iterator)):
            data = list(data)  # Here, so that what it raises is not taken for the encoder's.
        return fragments.encode(data)

    def _failure_of(self, name: str, error: BaseException) -> Failure:
        try:
            return self._described(name, error)
        except Exception:
            # An error that cannot even be described, such as a lazy text that fails.
            logger.exception("The failure of part %r of %s.", name, type(self.view).__name__)
            return Failure("part_failed")

    def _described(self, name: str, error: BaseException) -> Failure:
        view = type(self.view).__name__
        shown = None
        if django_settings.DEBUG:
            text = "".join(traceback.format_exception_only(type(error), error)).strip()
            shown = _encodable(text[:_SHOWN_AT_MOST])
        if isinstance(error, DENIALS):
            return Failure("part_forbidden", retryable=False, exception=shown)
        if isinstance(error, PartError):
            logger.info("Part %r of %s says %s.", name, view, error.code)
            return Failure(error.code, _encodable(str(error.detail)), error.retryable)
        logger.error("Part %r of %s failed.", name, view, exc_info=error)
        if isinstance(error, fragments.NotSerializable):
            return Failure("not_serializable", retryable=False, exception=shown)
        return Failure("part_failed", exception=shown)


def _atomic_aliases() -> list[str]:
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
    ]


@contextmanager
def _savepoints(aliases: list[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no JSON in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def _result(data: Any, error: BaseException | None, request: Request, **dependencies: Any) -> Any:
    """Stands in for a loader that has run already."""
    if error is not None:
        raise error
    return data


async def _timed(
    function: Callable[..., Awaitable[Any]], request: Request, dependencies: dict[str, Any]
) -> tuple[Any, BaseException | None, float]:
    """What a coroutine loader returned or raised, and the seconds it took."""
    started = perf_counter()
    try:
        return await function(request, **dependencies), None, perf_counter() - started
    except Exception as error:  # noqa: BLE001 - settled in the request's thread
        return None, error, perf_counter() - started


async def _gather(
    calls: Sequence[Callable[[], Awaitable[tuple[Any, BaseException | None, float]]]],
) -> list[tuple[Any, BaseException | None, float]]:
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    return [
        (None, result, 0.0) if isinstance(result, BaseException) else result for result in results
    ]
