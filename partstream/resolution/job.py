"""A job: one loader to run, with everything that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from rest_framework.request import Request

from partstream.backends.executors.base import Executor
from partstream.backends.executors.hooks import CallHooks
from partstream.caching.flight import Flight
from partstream.caching.single_flight import Turn, get_single_flight
from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome

#: The dependencies of a part that has none. It is passed on faster than a read-only view of it.
NO_DEPENDENCIES: Final[Mapping[str, Any]] = {}


class Job:
    """One loader to run: a callable without arguments that returns the part's `Outcome`.

    It is created before the launcher chooses where it runs; the attributes from ``executor`` on
    describe that choice.

    Attributes:
        function: Called with the request and the dependencies; returns the data.
        dependencies: The function's keyword arguments.
        executor: The executor of the part, unless it runs in the request's thread at once.
        hooks: The hooks to call around it in another thread; None: there are none.
        timeout: Seconds that the part may take; None: it has no timeout.
        atomic: Aliases of databases in an atomic block: each attempt gets a savepoint there.
        deadline: In a worker: when its timeout ends, on the monotonic clock.
        limit: In a transaction: seconds after which the database ends its statements, if it can.
        spent: Seconds spent on the part before the job runs.
    """

    executor: Executor
    hooks: CallHooks | None = None
    timeout: float | None = None
    atomic: Sequence[str] = ()
    deadline: float | None = None
    limit: float | None = None
    spent = 0.0

    def __init__(
        self,
        settle: Callable[[Job], Outcome],
        name: str,
        part: LazyPart,
        loader: Loader,
        dependencies: Mapping[str, Any],
    ) -> None:
        self._settle = settle
        self.name = name
        self.part = part
        self.loader = loader
        self.function: Callable[..., Any] = loader.function
        self.dependencies = dependencies

    def __call__(self) -> Outcome:
        """Run the loader in this thread; a failure becomes the outcome, too."""
        return self._settle(self)

    # The two halves of a coroutine loader, for `Executor.submit_coroutine`

    def start(self, request: Request) -> Any:
        """The coroutine."""
        return self.function(request, **self.dependencies)

    def finish(self, began: float, data: Any, error: BaseException | None) -> Outcome:
        """The outcome of a coroutine that began at ``began``, and returned or raised this."""
        return self.returned(data, error, monotonic() - began)

    def returned(self, data: Any, error: BaseException | None, spent: float) -> Outcome:
        """The outcome of a function that ran elsewhere, and returned or raised this."""
        self.function, self.spent = partial(_returned, data, error), spent
        return self()


class ClaimingJob:
    """A job that takes the lock of its flight first, in the thread that runs it.

    So the request's thread need not ask the store before it answers its client.

    Args:
        job: The job.
        flight: The flight that ends with it.
    """

    def __init__(self, job: Job, flight: Flight) -> None:
        self._job = job
        self._flight = flight

    def __call__(self) -> Outcome | bytes | Turn:
        """The outcome; or what another process has made, or `Turn.WAIT` if it still makes it."""
        turn = get_single_flight().claim(self._flight)
        return self._job() if turn is Turn.RUN else turn


def _returned(data: Any, error: BaseException | None, request: Request, **dependencies: Any) -> Any:
    """Return or raise the result of a function that has already run."""
    if error is not None:
        raise error
    return data
