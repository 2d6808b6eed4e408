"""The hooks of an executor: what a project does around a call in a thread of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.utils.module_loading import import_string

from partstream.connections import forget_renewal
from partstream.exceptions import HookFailed, Misuse
from partstream.logs import get_logger

if TYPE_CHECKING:
    from .base import Executor

T = TypeVar("T")

logger = get_logger(__name__)


def import_hook(option: str, path: Any) -> Callable[[Any], Any] | None:
    """The function that an option names; None where it names none.

    Args:
        option: The option's name, for the error.
        path: A dotted path, or the function itself.

    Raises:
        Misuse: When it cannot be imported, or cannot be called.
    """
    if path is None:
        return None
    function = path
    if isinstance(path, str):
        try:
            function = import_string(path)
        except ImportError as error:
            raise Misuse(f"{option} = {path!r} cannot be imported: {error}.") from error
    if not callable(function) or isinstance(function, type):
        raise Misuse(f"{option} = {path!r:.120} is not a function of (request). Name one.")
    found: Callable[[Any], Any] = function
    refuse_coroutine(option, found)
    try:
        inspect.signature(found).bind(None)
    except TypeError as error:
        raise Misuse(f"{option} = {path!r:.120} cannot be called as (request): {error}.") from error
    except ValueError:
        return found  # Of those in C some have no signature.
    return found


def refuse_coroutine(option: str, function: Callable[..., Any]) -> None:
    """Refuse a hook that nobody would await.

    Raises:
        Misuse: When it is a coroutine function.
    """
    if iscoroutinefunction(function):
        raise Misuse(
            f"{option} is a coroutine function. Write def in place of async def: it is called in "
            "the thread for which it sets something."
        )


class CallHooks:
    """The hooks of an executor, for one request.

    Args:
        executor: Whose hooks they are.
        request: What they are called with: the request that loaders get.
    """

    def __init__(self, executor: Executor, request: Any) -> None:
        self._executor = executor
        self._request = request

    @property
    def _name(self) -> str:
        return type(self._executor).__name__

    def before(self) -> None:
        """Call ``before_call(request)``, in this thread.

        Raises:
            HookFailed: When it raised, from what it raised.
        """
        try:
            self._executor.before_call(self._request)
        except Exception as error:
            raise HookFailed(f"{self._name}.before_call() failed") from error

    def after(self) -> None:
        """Call ``after_call(request)``, in this thread; what it raises is only logged."""
        try:
            self._executor.after_call(self._request)
        except Exception:
            logger.exception("%s.after_call() failed.", self._name)

    def around(self, function: Callable[[], T]) -> T:
        """Call a function between the two.

        The second is called where the first failed, too: it may have done half of its work.

        Raises:
            HookFailed: When ``before_call()`` raised; the function is not called.
        """
        try:
            self.before()
            return function()
        finally:
            forget_renewal()
            self.after()
