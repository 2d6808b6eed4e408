"""The parts that a view declares, validated together before the first loader runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from operator import itemgetter
from typing import Any, ClassVar, Final, NoReturn

from django.db.models import QuerySet
from django.http.response import HttpResponseBase

from partstream.backends.executors.base import Executor
from partstream.exceptions import Misuse
from partstream.setting_kinds import BackendPath

from .endpoints import Endpoint
from .layout import Gates, Layout, Link, Names, find_layout
from .loader import DeclaredPart, Loader, as_loader, checked_timeout
from .mistakes import (
    bare_callable,
    malformed,
    mismatch,
    not_a_permission_class,
    not_a_serializer_class,
    not_callable_with,
    unknown_argument,
)
from .permissions import part_permissions
from .signatures import signature_problem

_NAME_OF, _VALUE_OF = itemgetter(0), itemgetter(1)


class LazyPart(DeclaredPart):
    """The result of `lazy`: a loader and its options. Treat it as read-only.

    A view may create a thousand of them for each request, so an instance holds only the options
    that it was given.
    """

    depends_on: Names = ()
    size: str | None = None
    serializer_class: type | None = None
    many: bool = False
    permission_classes: tuple[Any, ...] = ()
    executor: str | Mapping[str, Any] | Executor | None = None
    #: Whether parts of this class have an executor of their own.
    has_executor: ClassVar[bool] = False

    def __init__(self, loader: Callable[..., Any] | str) -> None:
        self.loader = loader

    @property
    def method(self) -> str | None:
        """The name of the view's method that loads the part, if it was given by name."""
        loader = self.loader.function if type(self.loader) is Loader else self.loader
        return loader if isinstance(loader, str) else None

    def bound_loader(self, view: Any) -> Loader:
        """The loader, bound to the view if only a method's name was given."""
        loader = self.loader
        if type(loader) is not Loader:
            # Kept: a static part lives as long as its view.
            loader = self.loader = as_loader(loader, "lazy()")
        return loader.bound_to(view) if isinstance(loader.function, str) else loader


class LinkedPart(LazyPart):
    """A lazy part with dependencies or permissions. Most have neither, and skip those checks."""

    def __init__(
        self,
        loader: Callable[..., Any] | str,
        depends_on: Names,
        permission_classes: tuple[Any, ...],
    ) -> None:
        super().__init__(loader)
        self.depends_on = depends_on
        self.permission_classes = permission_classes


class PlacedPart(LinkedPart):
    """A lazy part with an executor of its own."""

    has_executor: ClassVar[bool] = True


#: The classes of parts that can have dependencies or permissions.
_LINKED: Final = frozenset({LinkedPart, PlacedPart})

#: Tells that an argument of `lazy` was not given, which is the case for most parts.
_NO_LINKS: Final = ()


def lazy(
    func: Callable[..., Any] | str,
    *,
    depends_on: Iterable[str] = _NO_LINKS,
    size: str | None = None,
    timeout: float | None = None,
    serializer_class: type | None = None,
    many: bool = False,
    permission_classes: Iterable[Any] = _NO_LINKS,
    permission_view: Any = None,
    executor: str | Mapping[str, Any] | Executor | None = None,
    **unknown: NoReturn,
) -> LazyPart:
    """A part whose loader runs only when the part is delivered or depended on.

    Args:
        func: ``func(request, **dependencies) -> data``, plain or ``async def``, or the name of a
            method of the view.
        depends_on: Names of parts that must be available first. Each is passed to the function as
            a keyword argument, as the JSON data that a client would see.
        size: A hint for the manifest, for example ``"small"``, ``"medium"``, ``"large"``.
        timeout: Seconds that it may take, including serializer and encoding; None: the setting
            ``PART_TIMEOUT``. Same as `with_timeout` around the loader.
        serializer_class: A DRF serializer for what the function returns.
        many: Whether the serializer gets a list of instances.
        permission_classes: DRF permissions. If they deny access, the part does not exist for this
            user.
        permission_view: What these permissions look at as ``view``: the class of a view, or an
            object with a ``queryset``, which ``DjangoModelPermissions`` and similar classes need.
            None: the view that declares the part.
        executor: Where this part runs: a dotted path, ``{"BACKEND": path, "OPTIONS": {...}}`` or an
            executor; None: where the view's other parts run. An executor that you create here must
            live as long as the process, since it has threads.
        unknown: No other argument exists; the message names the one that you may mean.

    Raises:
        Misuse: When an argument is invalid.

    Example:
        ``("orders", lazy(self.get_orders, depends_on=["meta"], size="medium"))``
    """
    if unknown:
        raise Misuse(unknown_argument(*unknown))
    if not callable(func) and not isinstance(func, str):
        as_loader(func, "lazy()")  # Raises Misuse, with the reason.
    if depends_on is _NO_LINKS and permission_classes is _NO_LINKS:
        part = LazyPart(func)
    else:
        part = _linked(func, depends_on, permission_classes)
    if permission_view is not None:
        permissions = part_permissions(part.permission_classes, permission_view)
        part = LinkedPart(func, part.depends_on, permissions)
    if executor is not None:
        part = PlacedPart(func, part.depends_on, part.permission_classes)
        part.executor = _checked_executor(executor)
    if timeout is not None:
        seconds = checked_timeout(timeout, f"lazy(timeout={timeout!r})")
        part.loader = as_loader(func, "lazy()").wrapped(timeout=seconds)
    if size is not None:
        part.size = size
    if serializer_class is not None:
        if not callable(serializer_class):
            raise Misuse(not_a_serializer_class(serializer_class))
        part.serializer_class, part.many = serializer_class, many
    elif many:
        raise Misuse("lazy(many=True) needs a serializer_class.")
    return part


def _linked(func: Callable[..., Any] | str, depends_on: Any, permission_classes: Any) -> LazyPart:
    """The part, with dependencies and permissions if there are any.

    Raises:
        Misuse: When they are invalid.
    """
    if not isinstance(depends_on, (list, tuple)):
        names = [depends_on] if isinstance(depends_on, str) else ["other"]
        raise Misuse(f"lazy(depends_on={depends_on!r:.80}): write a list, {names}.")
    if not isinstance(permission_classes, (list, tuple)):
        raise Misuse(
            f"lazy(permission_classes={permission_classes!r}): write a list of permission classes."
        )
    for permission in permission_classes:
        if not callable(permission):
            raise Misuse(not_a_permission_class(permission))
    if not depends_on and not permission_classes:
        return LazyPart(func)
    return LinkedPart(func, tuple(depends_on), part_permissions(tuple(permission_classes), None))


def _checked_executor(executor: Any) -> Any:
    """The executor of a part, as given.

    Raises:
        Misuse: When it is none of the three things that name one.
    """
    # Strings first: the other check asks an ABC, which takes longer.
    if isinstance(executor, str) or not isinstance(executor, Executor):
        try:
            BackendPath().take(executor)
        except ValueError as error:
            raise Misuse(
                f"lazy(executor={executor!r:.80}): write a dotted path, for example "
                '"partstream.backends.executors.threads.ThreadExecutor", or {"BACKEND": path, '
                '"OPTIONS": {...}}, or an instance of an executor.'
            ) from error
    return executor


class PartList:
    """The parts of a view: pairs of a name and a value or a `lazy` part, in order.

    Args:
        pairs: The pairs.
        owner: The view's class, for method names and error messages.
        gates: Additional dependencies of parts, from the view's manifest. They gate and order the
            parts; their data is not passed to the loader.
        static: Whether it comes from the attribute ``parts``. Its loaders are checked now, not at
            each call.

    Attributes:
        layout: What is the same for every request that declares these names.
        static: As given.
        owner: As given.

    Raises:
        Misuse: When the declaration is invalid; the message names the view, the part and the fix.

    Example:
        ``PartList([("meta", {"version": 1}), ("orders", lazy(get_orders))])``
    """

    __slots__ = ("_pairs", "_where", "layout", "owner", "static")

    def __init__(
        self,
        pairs: Iterable[tuple[str, Any]],
        *,
        owner: type | None = None,
        gates: Gates = (),
        static: bool = False,
    ) -> None:
        self.static = static
        self.owner = owner
        where = self._where = f"{owner.__name__}: " if owner is not None else ""
        self._pairs = pairs = _as_list(pairs, where, static)
        try:
            # These run in C: a view may declare a thousand parts for each request.
            names = list(map(_NAME_OF, pairs))
            kinds = list(map(type, map(_VALUE_OF, pairs)))
            layout = find_layout(owner, names, kinds, gates, self._links)
        except (TypeError, ValueError, LookupError) as error:
            raise Misuse(f"{where}{malformed(pairs) or error}") from error
        if isinstance(layout, str):
            raise Misuse(where + (bare_callable(pairs, owner) or layout))
        self.layout: Layout = layout
        if owner is not None and (static or not layout.checked):
            unbound = _Unbound(owner)
            for name, part in pairs:
                if not isinstance(part, LazyPart):
                    if static and isinstance(part, (QuerySet, Iterator)):
                        raise Misuse(
                            f"{where}part {name!r} is a {type(part).__name__} in static parts, "
                            "so it would be read only once per process. Wrap it: "
                            "lazy(lambda request: ...)."
                        )
                elif part.method is None or not unbound.computes(part.method):
                    self._checked_loader(name, part, unbound)
            layout.checked = True

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._pairs)

    def __getitem__(self, name: str) -> Any:
        return self._pairs[self.layout.index[name]][1]

    def _links(self) -> list[Link]:
        problem = malformed(self._pairs)
        if problem:
            raise TypeError(problem)
        return [
            (position, part.depends_on, part.permission_classes)
            for position, (_, part) in enumerate(self._pairs)
            if type(part) in _LINKED
        ]

    def loader_of(self, name: str, part: LazyPart, view: Any) -> Loader:
        """The loader of a lazy part, bound to the view and checked.

        Raises:
            Misuse: When the view has no such method, or the loader cannot be called with its
                arguments.
        """
        if not self.static:
            return self._checked_loader(name, part, view)
        loader = part.loader
        # Most loaders of a static list are functions, and ready.
        if type(loader) is Loader and not isinstance(loader.function, str):
            return loader
        return part.bound_loader(view)

    def _checked_loader(self, name: str, part: LazyPart, view: Any) -> Loader:
        try:
            loader = part.bound_loader(view)
        except Misuse as error:
            raise Misuse(f"{self._where}part {name!r}: {error}") from error
        owner = getattr(loader.function, "__self__", None)
        if owner is not None and owner is not view and type(owner) is type(view):
            method = loader.function.__name__
            raise Misuse(
                f"{self._where}the loader of part {name!r} belongs to the view of another request, "
                "whose user and arguments it would use. A part that is kept for several requests "
                f"must name the method: lazy({method!r})."
            )
        problem = signature_problem(loader.function, part.depends_on)
        if problem:
            function, known = loader.function, self.layout.index
            says = mismatch(name, part.depends_on, function, problem, known)
            raise Misuse(f"{self._where}{says}")
        if type(loader.function) is Endpoint:
            self._check_endpoint(name, part, loader.function)
        return loader

    def _check_endpoint(self, name: str, part: LazyPart, function: Endpoint) -> None:
        for argument, given in function.argument_functions.items():
            problem = signature_problem(given, part.depends_on)
            if problem:
                subject = f"the function {argument} of part {name!r}"
                known = self.layout.index
                says = not_callable_with(subject, part.depends_on, given, problem, known)
                raise Misuse(f"{self._where}{says}")


class _Unbound:
    """Stands in for an instance of a view: methods bind to it, but never run on it."""

    def __init__(self, owner: type) -> None:
        self._owner = owner

    def computes(self, name: str) -> bool:
        """Whether instances compute the attribute, so that the class cannot show its value."""
        found = inspect.getattr_static(self._owner, name, None)
        return isinstance(found, (property, cached_property))

    def __getattr__(self, name: str) -> Any:
        found = inspect.getattr_static(self._owner, name)
        bind = getattr(found, "__get__", None)
        return bind(self, self._owner) if bind is not None else found


def _as_list(pairs: Any, where: str, static: bool) -> list[tuple[str, Any]]:
    if type(pairs) is list and not static:
        return pairs
    # DRF's response can be iterated over, too, but not before it is rendered.
    is_other = isinstance(pairs, (Mapping, str, HttpResponseBase))
    if is_other or not isinstance(pairs, Iterable):
        got = "None" if pairs is None else f"a {type(pairs).__name__}"
        raise Misuse(
            f"{where}the parts are {got}. Return a list of (name, value) pairs, "
            'for example [("meta", {...}), ("orders", lazy(self.get_orders))].'
        )
    if static and isinstance(pairs, Iterator):
        raise Misuse(
            f"{where}parts is a {type(pairs).__name__}, which can be read only once. Write a list."
        )
    # A static list is copied, so that later changes to the original have no effect.
    return list(pairs)
