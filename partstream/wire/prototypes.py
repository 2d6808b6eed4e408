"""New responses, copied from one that was made before: Django's constructors do the same each time.

Only the structure of the made response is used, no name of its attributes. Where a version of
Django keeps something there that cannot be copied like this, each response is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any

from django.http.response import ResponseHeaders
from django.template.response import SimpleTemplateResponse

#: Types of values that responses can share.
_SHARED = (type(None), bool, int, str, bytes, type)


class Prototype:
    """What ``SimpleTemplateResponse``'s constructor sets, to be copied for each new response.

    Args:
        headers: The headers that all copies begin with.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._shared: dict[str, Any] = {}
        self._copiers: list[tuple[str, Callable[[], Any]]] = []
        #: Whether new responses can be copies.
        self.is_usable = self._take(vars(self._make()))

    def _make(self) -> SimpleTemplateResponse:
        return SimpleTemplateResponse("", charset="utf-8", headers=dict(self._headers))

    def _take(self, attributes: Mapping[str, Any]) -> bool:
        for name, value in attributes.items():
            if isinstance(value, _SHARED):
                self._shared[name] = value
                continue
            copier = _copier_of(value)
            if copier is None:
                return False
            self._copiers.append((name, copier))
        return True

    def attributes(self) -> dict[str, Any]:
        """The attributes of a new response."""
        if not self.is_usable:
            return vars(self._make())
        attributes = self._shared.copy()
        for name, copy in self._copiers:
            attributes[name] = copy()
        return attributes


def _copier_of(value: Any) -> Callable[[], Any] | None:
    """A function that copies a value of a made response; None: it cannot be copied."""
    kind = type(value)
    if kind is list and all(isinstance(item, _SHARED) for item in value):
        return value.copy  # type: ignore[no-any-return]
    if kind in (dict, SimpleCookie) and not value:
        return kind  # type: ignore[no-any-return]
    return _copier_of_headers(value) if kind is ResponseHeaders else None


def _copier_of_headers(headers: ResponseHeaders) -> Callable[[], ResponseHeaders] | None:
    """The same for headers, which hold one dictionary."""
    attributes = list(vars(headers).items())
    if [type(value) for _, value in attributes] != [dict]:
        return None
    ((name, values),) = attributes
    if not all(type(value) is tuple for value in values.values()):
        return None

    def copy() -> ResponseHeaders:
        copied = ResponseHeaders.__new__(ResponseHeaders)
        copied.__dict__ = {name: values.copy()}
        return copied

    return copy
