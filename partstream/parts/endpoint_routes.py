"""Where endpoints are mounted: URL names, the view behind each, and what `endpoint` cannot use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver, get_urlconf
from django.views.decorators.csrf import csrf_exempt
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet, ViewSetMixin

from partstream.exceptions import Misuse

#: Actions of DRF's own view sets that write.
_WRITING: Final = frozenset({"create", "update", "partial_update", "destroy"})


# The view behind a URL


def _probe(request: Any) -> None: ...


def _without_csrf_exempt(function: Any) -> Any:
    while getattr(function, "__code__", None) is _CSRF_EXEMPT and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


_CSRF_EXEMPT: Final = csrf_exempt(_probe).__code__
_AS_VIEW: Final = frozenset(
    {
        _without_csrf_exempt(APIView.as_view()).__code__,
        _without_csrf_exempt(ViewSet.as_view({"get": "list"})).__code__,
    }
)


def view_problem(callback: Any) -> str | None:
    """Why the view that a URL leads to cannot be made a part, as a sentence; None: it can."""
    view_class = getattr(callback, "cls", None)
    name = getattr(view_class or callback, "__name__", repr(callback))
    if not isinstance(view_class, type) or not issubclass(view_class, APIView):
        return f"{name} is not a view of Django REST Framework. Write a loader that calls its code."
    if getattr(view_class, "view_is_async", False):
        return _asynchronous(name)
    if getattr(_without_csrf_exempt(callback), "__code__", None) not in _AS_VIEW:
        return (
            f"{name} has a decorator in the URLconf, or an as_view() of its own, which a part "
            'would not run. Put it on the class: @method_decorator(..., name="dispatch"). Of a '
            "function, put it below @api_view."
        )
    actions = getattr(callback, "actions", None)
    if actions is None:
        return class_problem(view_class, None)
    action = actions.get("get")
    if action is None:
        return f"{name} answers no GET at this URL. Name a URL that does."
    return class_problem(view_class, action)


def class_problem(view_class: Any, action: str | None) -> str | None:
    """Why a view class, or an action of a view set, cannot be made a part; None: it can."""
    if not isinstance(view_class, type) or not issubclass(view_class, APIView):
        return (
            f"{view_class!r:.80} is neither a URL name nor a view class of Django REST Framework. "
            'Write the name, for example endpoint("orders-list").'
        )
    name = view_class.__name__
    if getattr(view_class, "view_is_async", False):
        return _asynchronous(name)
    if _has_parts(view_class, action):
        return f"{name} has parts itself. Declare its parts here, or name another endpoint."
    if not issubclass(view_class, ViewSetMixin):
        if action is not None:
            return f"{name} is no view set, so it has no actions. Leave action out."
        answers_get = "get" in view_class.http_method_names and callable(
            getattr(view_class, "get", None)
        )
        return None if answers_get else f"{name} answers no GET. Name a view that does."
    if action is None:
        return f'{name} is a view set. Name an action, for example action="list".'
    method = getattr(view_class, action, None)
    answers = getattr(method, "mapping", {"get": action})
    if method is None or action in _WRITING or "get" not in answers:
        return f"{name} has no action {action!r} that answers GET."
    return None


def _asynchronous(name: str) -> str:
    return f"{name} is asynchronous. Write an async def loader that calls its code."


def _has_parts(view_class: Any, action: str | None) -> bool:
    """Whether the view, or this action of a view set, delivers parts."""
    if not hasattr(view_class, "build_part_list"):
        return False
    handler = None if action is None else getattr(view_class, action, None)
    return not issubclass(view_class, ViewSetMixin) or hasattr(handler, "progressive")


# The URLs of a view


def name_of(view_class: type, action: str | None) -> str:
    """The URL name of the only route that answers GET with this view.

    Raises:
        Misuse: When there is no such route, or several.
    """
    names = _names_of(get_resolver(get_urlconf()), view_class, action)
    if len(names) != 1:
        label = view_class.__name__ if action is None else f"{view_class.__name__}.{action}"
        if not names:
            raise Misuse(f"{label} has no URL with a name. Give its path() or router one.")
        raise Misuse(
            f"{label} has the URLs {', '.join(names)}. Name the one: endpoint({names[0]!r})."
        )
    return names[0]


@lru_cache(maxsize=256)
def _names_of(resolver: URLResolver, view_class: type, action: str | None) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            name
            for name, callback in _walk(resolver.url_patterns, ())
            if name is not None
            and getattr(callback, "cls", None) is view_class
            and (action is None or getattr(callback, "actions", {}).get("get") == action)
        )
    )


def views_named(resolver: URLResolver, name: str) -> list[Any]:
    """The views of a URL name, which versioning may give a namespace.

    Args:
        resolver: The URLconf's.
        name: The name.
    """
    return [callback for _, callback in _named(resolver, name)]


def full_names(resolver: URLResolver, name: str) -> list[str]:
    """The names of these routes with their namespaces; see `views_named`."""
    return [other for other, _ in _named(resolver, name)]


def _named(resolver: URLResolver, name: str) -> list[tuple[str, Any]]:
    return [
        (other, callback)
        for other, callback in _walk(resolver.url_patterns, ())
        if other is not None and (other == name or other.endswith(f":{name}"))
    ]


@lru_cache(maxsize=256)
def name_problem(resolver: URLResolver, name: str) -> str | None:
    """Why the views of a URL name cannot be made a part; None: they can. See `views_named`."""
    callbacks = views_named(resolver, name)
    if not callbacks:
        return f"no URL is named {name!r}. {_suggestion(resolver, name)}"
    problems = list(map(view_problem, callbacks))
    # Another pattern of the same name may lead to something else, such as a form's page.
    return None if None in problems else problems[0]


def _suggestion(resolver: URLResolver, name: str) -> str:
    if "?" in name:
        return "Put the query into query={...}."
    names = {other for other, _ in _walk(resolver.url_patterns, ()) if other is not None}
    close = get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else "Write a name of your URLconf."


def _walk(
    patterns: Iterable[URLPattern | URLResolver], namespaces: tuple[str, ...]
) -> Iterator[tuple[str | None, Callable[..., Any]]]:
    """The name of each route, with its namespaces, and its view."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _walk(pattern.url_patterns, inner)
        else:
            name = pattern.name
            yield (":".join((*namespaces, name)) if name else None), pattern.callback
