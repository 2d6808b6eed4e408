"""The declaration of progressive actions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from rest_framework.decorators import action
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from partstream.exceptions import Misuse
from partstream.mixins.attributes import KINDS, checked, cursor_parameter
from partstream.parentheses import in_parentheses

_Method = Callable[[Any], Iterable[tuple[str, Any]]]

DELIVERIES: Final = ("walk", "parts", "manifest")
#: Arguments of DRF's ``@action`` that are no attributes of a viewset.
_DESCRIPTIVE: Final = frozenset({"name", "suffix", "description"})
#: Attributes that a route gets from its router, or from this module.
_OF_ROUTES: Final = frozenset({"basename", "detail", "progressive_delivery"})
#: Names that routers and instances use.
_TAKEN: Final = (
    _DESCRIPTIVE
    | _OF_ROUTES
    | frozenset(APIView.http_method_names)
    | {"list", "create", "retrieve", "update", "partial_update", "destroy"}
    | {"action", "action_map", "args", "format_kwarg", "headers", "kwargs", "request", "response"}
)


def of_delivery(name: str, delivery: str, separator: str) -> str:
    """An action's name, path or title, with that of the delivery behind it unless it is a walk."""
    return name if delivery == "walk" else f"{name}{separator}{delivery}"


class ProgressiveAction:
    """The result of `progressive_action`, until its viewset replaces it with three actions.

    Args:
        get_parts: The method; it returns the parts.
        detail: Whether the action is for one object.
        url_path: The path of the walk; None: the method's name.
        url_name: The name of the walk's route; None: the method's name, with hyphens.
        kwargs: Further arguments of DRF's ``@action``.
    """

    name: str
    url_name: str

    def __init__(
        self,
        get_parts: _Method,
        *,
        detail: bool,
        url_path: str | None,
        url_name: str | None,
        kwargs: Mapping[str, Any],
    ) -> None:
        #: DRF's ``@action`` reads it.
        self.__name__ = get_parts.__name__
        self.get_parts = get_parts
        self.detail = detail
        self.url_path = url_path
        self._url_name = url_name
        self.kwargs = kwargs

    def __call__(self, view: Any) -> Iterable[tuple[str, Any]]:
        """The parts. It can be called so that other decorators of actions accept it."""
        return self.get_parts(view)

    def __set_name__(self, owner: type, name: str) -> None:
        if not hasattr(owner, "progressive_delivery"):
            raise Misuse(
                f"{owner.__name__}.{name}: @progressive_action needs its mixin. Write "
                f"class {owner.__name__}(ProgressiveViewSetMixin, …), with the mixin first."
            )

    def install(self, owner: type, name: str, reserved: type) -> None:
        """Give a viewset the three actions.

        Args:
            owner: The viewset.
            name: The name of the method.
            reserved: The mixin, whose names no action can have.

        Raises:
            Misuse: When the action's name or an argument cannot be used there.
        """
        where = f"{owner.__name__}.{name}"
        if hasattr(self, "mapping"):
            raise Misuse(f"{where} is a progressive action already. Leave @action out.")
        inherited = getattr(super(owner, owner), name, None)
        # A subclass may override an action, and another one may have removed it.
        is_free = inherited is None or hasattr(inherited, "mapping")
        if not is_free or name in _TAKEN or hasattr(ViewSet, name) or hasattr(reserved, name):
            raise Misuse(f"{where}: the viewset uses this name itself. Rename the action.")
        for key, value in self.kwargs.items():
            _check_argument(owner, name, key, value)
        self.name = name
        self.url_name = self._url_name or name.replace("_", "-")
        for delivery in DELIVERIES:
            handler_name = of_delivery(name, delivery, "_")
            found = getattr(owner, handler_name, None)
            other = progressive_of(found)
            if delivery != "walk" and found is not None and (other is None or other.name != name):
                raise Misuse(
                    f"{where}: a progressive action also defines {handler_name}, which the class "
                    "uses for something else. Rename one of them."
                )
            setattr(owner, handler_name, self._make_action(owner, delivery))

    def _make_action(self, owner: type, delivery: str) -> Any:
        def handler(view: Any, request: Any = None, *args: Any, **kwargs: Any) -> Any:
            if request is None:  # A subclass calls super().
                return self.get_parts(view)
            if delivery == "parts":
                return view.keys_response(request)
            if delivery == "manifest":
                return view.manifest_response(request)
            return view.walk_response(request)

        # DRF looks up the handler by its name.
        handler.__name__ = of_delivery(self.name, delivery, "_")
        handler.__qualname__ = f"{owner.__qualname__}.{handler.__name__}"
        handler.__module__ = owner.__module__
        handler.__doc__ = self.get_parts.__doc__
        handler.progressive = self  # type: ignore[attr-defined]
        handler.delivery = delivery  # type: ignore[attr-defined]
        # The browsable API lists actions by their titles.
        titles = {
            key: of_delivery(self.kwargs[key], delivery, " ")
            for key in ("name", "suffix")
            if self.kwargs.get(key)
        }
        decorate = action(
            detail=self.detail,
            url_path=of_delivery(self.url_path or self.name, delivery, "/"),
            url_name=of_delivery(self.url_name, delivery, "-"),
            **{**self.kwargs, **titles},
        )
        return decorate(handler)


@in_parentheses("@progressive_action(detail=False), or True for one object")
def progressive_action(
    *,
    detail: bool,
    url_path: str | None = None,
    url_name: str | None = None,
    **kwargs: Any,
) -> Callable[[_Method], Any]:
    """Make a method that returns parts an action of its viewset, with three routes.

    The routes are the walk, and below it ``parts/`` and ``manifest/``. They are named
    ``<basename>-<url_name>``, ``<basename>-<url_name>-parts`` and
    ``<basename>-<url_name>-manifest``. On all three, ``self.action`` is the method's name.

    The viewset needs `ProgressiveViewSetMixin`. A subclass that overrides the method decorates it
    again, and gets the parts that it overrides from ``super().<method>()``.

    Args:
        detail: As for DRF's ``@action``: whether the URL is that of one object.
        url_path: The path of the walk, without slashes at its ends; None: the method's name.
        url_name: The name of the walk's route; None: the method's name, with hyphens.
        kwargs: Attributes of the view on these routes, as for DRF's ``@action``: ``chunk_size``,
            ``time_budget``, ``permission_classes`` and others.

    Raises:
        Misuse: When an argument or the method cannot be used; partly when the class is created.

    Example::

        class OrderViewSet(ProgressiveViewSetMixin, ModelViewSet):
            @progressive_action(detail=False, chunk_size=2)
            def overview(self):
                return [("count", lazy(self.get_count)), ("newest", lazy(self.get_newest))]
    """
    if type(detail) is not bool:
        raise Misuse(f"@progressive_action(detail={detail!r:.80}): write True or False.")
    methods = kwargs.pop("methods", ["get"])
    if isinstance(methods, str) or [str(method).lower() for method in methods] != ["get"]:
        raise Misuse(
            f"@progressive_action(methods={methods!r:.80}): parts are delivered by GET alone. "
            "Leave methods out, and write other methods as actions of their own."
        )
    for argument, value in {"url_path": url_path, "url_name": url_name}.items():
        is_name = isinstance(value, str) and value and value == value.strip("/")
        if value is not None and not is_name:
            raise Misuse(
                f"@progressive_action({argument}={value!r:.80}): write text without slashes at its "
                f"ends, or leave {argument} out."
            )

    def decorate(get_parts: _Method) -> ProgressiveAction:
        _check_method(get_parts)
        # Other decorators of actions leave their arguments on the function.
        given = {**getattr(get_parts, "kwargs", {}), **kwargs}
        return ProgressiveAction(
            get_parts, detail=detail, url_path=url_path, url_name=url_name, kwargs=given
        )

    return decorate


def _check_method(method: Any) -> None:
    """Raise `Misuse` unless this is a plain method that takes only ``self``."""
    where = f"@progressive_action: {getattr(method, '__qualname__', repr(method))}"
    if not inspect.isfunction(method):
        raise Misuse(f"{where} is not a method. Decorate a function of (self) that returns parts.")
    if hasattr(method, "mapping"):
        raise Misuse(f"{where} is an action already. Leave @action out.")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise Misuse(
            f"{where} is async, but declaring parts waits for nothing. Write def, and make the "
            "loaders async."
        )
    named = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(named) > 1:
        raise Misuse(
            f"{where} takes {', '.join(map(str, named))}. Write def {method.__name__}(self): the "
            "request is self.request, and the arguments of the URL are in self.kwargs."
        )
    try:
        inspect.signature(method).bind(None)
    except TypeError as error:
        raise Misuse(f"{where} cannot be called as (self): {error}.") from error


def _check_argument(owner: type, name: str, key: str, value: Any) -> None:
    """Raise `Misuse` if an argument of the decorator can have no effect, or a wrong one."""
    where = f"{owner.__name__}.{name}: @progressive_action({key}=…)"
    if key == "parts":
        raise Misuse(f"{where} has no effect: the method returns the parts.")
    # A mixin without a view may be for a viewset that has the attribute.
    is_known = key in _DESCRIPTIVE or APIView not in owner.__mro__ or hasattr(owner, key)
    if not is_known or key in _OF_ROUTES or key in APIView.http_method_names:
        raise Misuse(
            f"{where} is not an attribute that the viewset has. Correct its name, or give "
            f"{owner.__name__} the attribute."
        )
    if key in KINDS and value is not None:
        checked(owner, key, value, f"{name}({key})")
    if key == "cursor_query_param":
        cursor_parameter(owner, value)


def progressive_of(handler: Any) -> ProgressiveAction | None:
    """The progressive action of which this is one of the three handlers; None: of none."""
    found = getattr(handler, "progressive", None)
    return found if isinstance(found, ProgressiveAction) else None
