"""A job: one loader to be run, with everything that running it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from rest_framework.request import Request

from partstream.parts.declaration import LazyPart
from partstream.parts.loader import Loader
from partstream.parts.outcome import Outcome

#: The dependencies of a part that has none.
NO_DEPENDENCIES: Final[Mapping[str, Any]] = MappingProxyType({})


class Job:
    """One loader to be run: a callable without arguments that returns the part's `Outcome`.

    It is made before the place where it runs is chosen; the attributes from ``atomic`` on are that
    place.

    Attributes:
        function: What makes the data, called with the request and the dependencies.
        dependencies: What the function gets beside the request.
        timeout: Seconds that the part may take; None: it has no timeout.
        atomic: Aliases of databases in an atomic block: each attempt gets a savepoint there.
        deadline: In a worker: when nobody waits for the job any more, on the monotonic clock.
        limit: In a transaction: seconds after which the database ends its statements, if it can.
        spent: Seconds that were spent on the part before the job runs.
    """

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
        timeout: float | None,
    ) -> None:
        self._settle = settle
        self.name = name
        self.part = part
        self.loader = loader
        self.function: Callable[..., Any] = loader.function
        self.dependencies = dependencies
        self.timeout = timeout

    def __call__(self) -> Outcome:
        """Run the loader in this thread; whatever it raises becomes the outcome."""
        return self._settle(self)

    # A coroutine's two halves, for `Executor.submit_coroutine`

    def start(self, request: Request) -> Any:
        """The coroutine."""
        return self.function(request, **self.dependencies)

    def finish(self, began: float, data: Any, error: BaseException | None) -> Outcome:
        """The outcome of what the coroutine returned or raised, which ``began`` then."""
        return self.returned(data, error, monotonic() - began)

    def returned(self, data: Any, error: BaseException | None, spent: float) -> Outcome:
        """The outcome of what the function has returned or raised elsewhere."""
        self.function, self.spent = partial(_returned, data, error), spent
        return self()


def _returned(data: Any, error: BaseException | None, request: Request, **dependencies: Any) -> Any:
    """Stands in for a function that has run already."""
    if error is not None:
        raise error
    return data
