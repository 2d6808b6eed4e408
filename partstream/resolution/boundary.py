"""The error boundary: runs one part in any thread, and turns every failure into its outcome."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from threading import get_ident
from time import monotonic, perf_counter
from types import CoroutineType
from typing import Any

from django.conf import settings as django_settings
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.views import APIView

from partstream.backends.executors.coroutines import run_coroutine
from partstream.exceptions import EndpointFailed, HookFailed, Misuse, PartError, PartTimeout
from partstream.isolation.timeouts import in_transaction, in_worker
from partstream.isolation.transactions import atomic_aliases, savepoints
from partstream.logs import get_logger
from partstream.parts.failures import (
    Meaning,
    decisive,
    encodable,
    failure_of,
    forget_tracebacks,
    is_failure,
    meaning_of,
)
from partstream.parts.fragment import encode
from partstream.parts.loader import Loader
from partstream.parts.mistakes import serializer_mistake
from partstream.parts.outcome import Failure, Outcome

from .job import Job

logger = get_logger("partstream.parts")

#: Characters of an exception that a client sees under DEBUG.
_SHOWN_AT_MOST = 1000
#: The types of most data: looking at the type costs less than checking for an iterator.
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})


class _Late(Exception):
    """A loader in a worker failed after its timeout, when nothing waited for it any more."""


class Boundary:
    """The error boundary of one request and its view."""

    def __init__(self, view: APIView, request: Request) -> None:
        self.view = view
        self.request = request

    def settle(self, job: Job) -> Outcome:
        """The outcome of a job, which runs in this thread.

        Raises:
            PartTimeout: When a worker's loader failed after its timeout; the waiting request
                reports the timeout.
        """
        fragment, failure, raised, source = None, None, None, "loader"
        deadline, loader = job.deadline, job.loader
        started = perf_counter()
        try:
            try:
                # No variable here keeps the data, so that `encode` can free it.
                if deadline is None and not job.atomic:
                    fragment = encode(self._load(job))
                else:
                    with self._limits(job):
                        fragment = encode(self._load(job))
            except BaseException as error:
                if not is_failure(error):
                    raise
                if deadline is not None and monotonic() >= deadline:
                    logger.debug(
                        "%s failed after its timeout.", self._subject(job.name), exc_info=True
                    )
                    raise _Late from error
                if not loader.has_fallback:
                    raise
                raised = error
                fragment = self._recovered(job.name, loader, error, job.atomic)
                source = "fallback"
        except _Late as error:
            raise PartTimeout("it took longer than its timeout") from error.__cause__
        except BaseException as error:
            if not is_failure(error):
                raise
            raised = raised or error
            failure = self._failure_of(job.name, error)
        if raised is not None:
            forget_tracebacks(raised)
        duration = job.spent + perf_counter() - started
        return Outcome(job.name, fragment, failure, duration, source, raised)

    def settle_value(self, name: str, value: Any, atomic: list[str]) -> Outcome:
        """The outcome of an immediate value, which may be a QuerySet: see `Job.atomic`."""
        started = perf_counter()
        try:
            if atomic:
                with savepoints(atomic):
                    fragment = encode(value)
            else:
                fragment = encode(value)
        except BaseException as error:
            if not is_failure(error):
                raise
            failure = self._failure_of(name, error)
            forget_tracebacks(error)
            return Outcome(name, None, failure, perf_counter() - started, "immediate", error)
        return Outcome(name, fragment, None, perf_counter() - started, "immediate")

    def fail(
        self, name: str, loader: Loader, error: BaseException, seconds: float = 0.0
    ) -> Outcome:
        """The outcome of a part whose loader did not finish, in the request's thread."""
        fragment, failure = None, None
        try:
            fragment = self._recovered(name, loader, error, atomic_aliases())
        except Exception as raised:  # noqa: BLE001 - _failure_of() logs
            failure = self._failure_of(name, raised)
        forget_tracebacks(error)
        source = "fallback" if failure is None else "loader"
        return Outcome(name, fragment, failure, seconds, source)

    def start_of(self, job: Job) -> Callable[[], Any]:
        """A function that starts the coroutine of a job, in any event loop."""
        return partial(job.start, self.request)

    @contextmanager
    def _limits(self, job: Job) -> Iterator[None]:
        with ExitStack() as stack:
            if job.deadline is not None:
                stack.enter_context(in_worker(job.deadline - monotonic()))
            elif job.limit is not None:
                stack.enter_context(in_transaction(job.limit, job.atomic, self._subject(job.name)))
            stack.enter_context(savepoints(job.atomic))
            yield

    def _subject(self, name: str) -> str:
        return f"Part {name!r} of {type(self.view).__name__}"

    def _recovered(
        self, name: str, loader: Loader, error: BaseException, atomic: Sequence[str]
    ) -> bytes:
        """The fragment of the fallback; raises the error if no fallback covers it."""
        if not loader.has_fallback:
            raise error
        with savepoints(atomic):
            return encode(loader.recover(self.request, error, self._subject(name)))

    def _load(self, job: Job) -> Any:
        """The data: calls the function, then the serializer."""
        data, part = job.function(self.request, **job.dependencies), job.part
        if type(data) is CoroutineType:  # From a decorator or a callable object.
            data = run_coroutine(data)
        if part.serializer_class is not None:
            context = {
                "request": self.request,
                "view": self.view,
                "format": self.view.format_kwarg,
            }
            try:
                data = part.serializer_class(data, many=part.many, context=context).data
            except (AttributeError, LookupError, TypeError) as error:
                mistake = serializer_mistake(job.name, job.loader, part.many, data)
                if mistake is None:
                    raise
                raise Misuse(mistake) from error
        elif type(data) not in _PLAIN and isinstance(data, (QuerySet, Iterator)):
            data = list(data)  # Here, so that its errors do not look like the encoder's.
        return data

    # What the client and the log see

    def _failure_of(self, name: str, error: BaseException) -> Failure:
        try:
            return self._described(name, error)
        except Exception:
            # The error cannot even be described: for example, its lazy text raises.
            logger.exception("The failure of %s.", self._subject(name))
            return Failure("part_failed")

    def _described(self, name: str, raised: BaseException) -> Failure:
        error, failure = decisive(raised), failure_of(raised)
        self._log(self._subject(name), meaning_of(error), error, raised)
        if django_settings.DEBUG and not isinstance(error, PartError):
            wraps = isinstance(error, (HookFailed, EndpointFailed))
            known = error.__cause__ or error if wraps else error
            text = "".join(traceback.format_exception_only(type(known), known)).strip()
            failure = replace(failure, exception=encodable(text[:_SHOWN_AT_MOST]))
        return failure

    @staticmethod
    def _log(subject: str, meaning: Meaning, error: BaseException, raised: BaseException) -> None:
        if isinstance(error, PartError):
            logger.info("%s says %s.", subject, error.code)
        elif meaning.is_refusal:
            logger.info("%s is refused: %s (%s).", subject, meaning.code, type(error).__name__)
        elif isinstance(error, HookFailed):
            logger.error("%s: %s.", subject, error, exc_info=error.__cause__)
        elif meaning.is_bug:
            logger.error("%s failed.", subject, exc_info=raised)
        else:
            logger.error("%s: %s; it fails with %s.", subject, error, meaning.code)


class HookedBoundary(Boundary):
    """Calls the hooks of a part's executor around it, in every thread except the request's own.

    The project's middleware has set up that thread already. The boundary is created in it.
    """

    def __init__(self, view: APIView, request: Request) -> None:
        super().__init__(view, request)
        self._thread = get_ident()

    def settle(self, job: Job) -> Outcome:
        """See `Boundary.settle`."""
        hooks = job.hooks
        if hooks is None or get_ident() == self._thread:
            return super().settle(job)
        settle = super().settle
        try:
            return hooks.around(lambda: settle(job))
        except HookFailed as error:
            failure = self._failure_of(job.name, error)
            forget_tracebacks(error)
            return Outcome(job.name, None, failure, 0.0, "loader", error)
