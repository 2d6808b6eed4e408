"""The error boundary: runs one part to its outcome, in whichever thread; nothing gets past it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from time import monotonic, perf_counter
from types import CoroutineType, MappingProxyType
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.daemon_threads import is_out_of_threads
from partstream.exceptions import HookFailed, NoCapacity, PartError, PartTimeout
from partstream.isolation.context import Surroundings
from partstream.isolation.timeouts import atomic_aliases, in_database, in_thread
from partstream.logs import get_logger
from partstream.parts.direct_calls import finished
from partstream.parts.failures import DENIED, NOT_FOUND, decisive, is_failure
from partstream.parts.fragment import NotSerializable, encode
from partstream.parts.loader import Loader
from partstream.parts.outcome import Failure, Outcome

logger = get_logger("partstream.parts")

#: Characters of an exception that a client sees under DEBUG.
_SHOWN_AT_MOST = 1000
NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Late(Exception):
    """A worker's loader failed when nobody waited for it any more."""


class Boundary:
    """What stands around each part of one request.

    Args:
        view: The view, for serializers and for the log.
        request: The request that loaders get.
    """

    def __init__(self, view: APIView, request: Request) -> None:
        self.view = view
        self.request = request

    def settle(
        self,
        name: str,
        part: Any,
        loader: Loader | None,
        function: Callable[..., Any] | None,
        atomic: list[str],
        dependencies: Mapping[str, Any] = NOTHING,
        *,
        seconds: float = 0.0,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Outcome:
        """Run one part to its outcome, in whichever thread; whatever it raises ends here.

        Args:
            name: The part.
            part: The lazy part, or the immediate value.
            loader: The loader, whose fallback covers all that is done; None: an immediate value.
            function: What makes the data.
            atomic: Aliases of databases in an atomic block: each try gets a savepoint there.
            dependencies: What the function gets beside the request.
            seconds: What was spent on the part before.
            timeout: Seconds, in a transaction: then the database ends its statements, if it can.
            deadline: In a worker, on the monotonic clock: then nobody waits for it any more.

        Raises:
            PartTimeout: When a worker's loader failed after its timeout: whoever waits says so.
        """
        fragment, failure, raised = None, None, None
        source = "immediate" if loader is None else "loader"
        started = perf_counter()
        try:
            try:
                if not atomic and deadline is None:
                    fragment = self._make(part, function, dependencies)
                else:
                    with self._limits(name, atomic, timeout, deadline):
                        fragment = self._make(part, function, dependencies)
            except BaseException as error:
                if not is_failure(error):
                    raise
                if deadline is not None and monotonic() >= deadline:
                    logger.debug("%s failed after its timeout.", self._subject(name), exc_info=True)
                    raise _Late from error
                if loader is None or not loader.has_fallback:
                    raise
                raised = error
                fragment = self._recovered(name, loader, error, atomic)
                source = "fallback"
        except _Late as error:
            raise PartTimeout("it took longer than its timeout") from error.__cause__
        except BaseException as error:
            if not is_failure(error):
                raise
            raised = raised or error
            failure = self._failure_of(name, error)
        duration = seconds + perf_counter() - started
        return Outcome(name, fragment, failure, duration, source, raised)

    def settle_result(
        self,
        name: str,
        part: Any,
        loader: Loader,
        started: float,
        deadline: float | None,
        data: Any,
        error: BaseException | None,
    ) -> Outcome:
        """`settle` what a coroutine returned or raised, in a worker."""
        function = partial(returned, data, error)
        spent = monotonic() - started
        return self.settle(name, part, loader, function, [], seconds=spent, deadline=deadline)

    def fail(self, name: str, loader: Loader, error: BaseException, seconds: float) -> Outcome:
        """The outcome of a part that never came to its end, in the request's thread."""
        fragment, failure = None, None
        try:
            fragment = self._recovered(name, loader, error, atomic_aliases())
        except Exception as raised:  # noqa: BLE001 - _failure_of() logs
            failure = self._failure_of(name, raised)
        source = "fallback" if failure is None else "loader"
        return Outcome(name, fragment, failure, seconds, source)

    @contextmanager
    def _limits(
        self, name: str, atomic: list[str], timeout: float | None, deadline: float | None
    ) -> Iterator[None]:
        with ExitStack() as stack:
            if deadline is not None:
                stack.enter_context(in_thread(deadline - monotonic()))
            elif timeout is not None:
                stack.enter_context(in_database(timeout, atomic, self._subject(name)))
            stack.enter_context(_savepoints(atomic))
            yield

    def _subject(self, name: str) -> str:
        return f"Part {name!r} of {type(self.view).__name__}"

    def _recovered(
        self, name: str, loader: Loader, error: BaseException, atomic: list[str]
    ) -> bytes:
        """The fragment of the fallback; raises what no fallback covers."""
        if not loader.has_fallback:
            raise error
        with _savepoints(atomic):
            return encode(loader.recover(self.request, error, self._subject(name)))

    def _make(
        self, part: Any, function: Callable[..., Any] | None, dependencies: Mapping[str, Any]
    ) -> bytes:
        """The fragment: the function, the serializer, the encoding."""
        if function is None:
            return encode(part)
        data = function(self.request, **dependencies)
        if type(data) is CoroutineType:  # Of a decorator or a callable object: seen only now.
            data = finished(data)
        if part.serializer_class is not None:
            context = {
                "request": self.request,
                "view": self.view,
                "format": self.view.format_kwarg,
            }
            data = part.serializer_class(data, many=part.many, context=context).data
        elif isinstance(data, (QuerySet, Iterator)):
            data = list(data)  # Here, so that what it raises is not taken for the encoder's.
        return encode(data)

    # What a client, and the log, get to know

    def _failure_of(self, name: str, error: BaseException) -> Failure:
        try:
            return self._described(name, error)
        except Exception:
            # An error that cannot even be described, such as a lazy text that fails.
            logger.exception("The failure of %s.", self._subject(name))
            return Failure("part_failed")

    def _described(self, name: str, raised: BaseException) -> Failure:
        subject, shown, error = self._subject(name), None, decisive(raised)
        if django_settings.DEBUG:
            known = error.__cause__ or error if isinstance(error, HookFailed) else error
            text = "".join(traceback.format_exception_only(type(known), known)).strip()
            shown = _encodable(text[:_SHOWN_AT_MOST])
        if isinstance(error, (*DENIED, *NOT_FOUND)):
            kind = "denied" if isinstance(error, DENIED) else "not found"
            logger.info("%s is %s (%s).", subject, kind, type(error).__name__)
            return Failure("part_forbidden", retryable=False, exception=shown)
        if isinstance(error, PartError):
            logger.info("%s says %s.", subject, error.code)
            return Failure(error.code, _encodable(str(error.detail)), error.retryable)
        if isinstance(error, HookFailed):
            logger.error("%s: %s.", subject, error, exc_info=error.__cause__)
            return Failure("part_failed", exception=shown)
        if isinstance(error, (PartTimeout, NoCapacity)) or is_out_of_threads(error):
            code = "part_timeout" if isinstance(error, PartTimeout) else "capacity"
            logger.error("%s: %s; it fails with %s.", subject, error, code)
            return Failure(code, exception=shown)
        logger.error("%s failed.", subject, exc_info=raised)
        if isinstance(error, NotSerializable):
            return Failure("not_serializable", retryable=False, exception=shown)
        return Failure("part_failed", exception=shown)


class Ambience:
    """What a loader in the request's thread must not change for others: its context variables.

    Language and time zone are among them, so one look tells whether anything changed. What had no
    value before cannot be taken back, and stays. A worker needs no such care: it runs in a copy of
    the context.
    """

    def __init__(self) -> None:
        self._context = copy_context()

    def restore(self) -> None:
        """Undo what a loader did."""
        if self._is_as_before():
            return
        for variable, value in self._context.items():
            if variable.get() is not value:
                variable.set(value)
        self._context.run(Surroundings).restore()

    def _is_as_before(self) -> bool:
        try:
            return copy_context() == self._context
        except Exception:  # noqa: BLE001 - a value of somebody's that cannot be compared
            return False


@contextmanager
def _savepoints(aliases: list[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no JSON in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def returned(data: Any, error: BaseException | None, request: Request, **dependencies: Any) -> Any:
    """Stands in for a loader that has run already."""
    if error is not None:
        raise error
    return data
