"""Responses and headers without the work that Django repeats for each of them.

Django's constructors do the same work each time, and check texts that are known to be well-formed.
Here a response is copied from one that was made before. Only the structure of what Django made is
used, no name in it: where a version of Django has another structure, Django does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any, Final

from django.http.response import ResponseHeaders
from django.template.response import SimpleTemplateResponse

#: Types of values that responses can share, since nothing can change them.
_SHARED: Final = (type(None), int, str, bytes, type)


class Prototype:
    """What ``SimpleTemplateResponse``'s constructor sets, to be copied for each new response.

    Args:
        headers: The headers that all copies begin with.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._shared: dict[str, Any] = {}
        self._copiers: list[tuple[str, Callable[[], Any]]] = []
        #: Whether new responses are copies; otherwise Django makes each of them.
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
    kind: Any = type(value)
    copier: Callable[[], Any] | None = None
    if kind is list and all(isinstance(item, _SHARED) for item in value):
        copier = value.copy
    elif kind in (dict, SimpleCookie) and not value:
        copier = kind
    elif kind is ResponseHeaders:
        copier = _copier_of_headers(value)
    return copier


def _copier_of_headers(headers: ResponseHeaders) -> Callable[[], ResponseHeaders] | None:
    if _HELD_BY is None:
        return None
    name, held = _HELD_BY, vars(headers)[_HELD_BY]

    def copy() -> ResponseHeaders:
        copied = ResponseHeaders.__new__(ResponseHeaders)
        copied.__dict__ = {name: held.copy()}
        return copied

    return copy


def _find_holder() -> str | None:
    """The one attribute of headers: a dictionary of lower-case names -> (name, value).

    None: headers have another structure.
    """
    attributes = list(vars(ResponseHeaders({"Some-Name": "value"})).items())
    (name, held) = attributes[0] if len(attributes) == 1 else ("", None)
    return name if held == {"some-name": ("Some-Name", "value")} else None


_HELD_BY: Final = _find_holder()


def put(headers: ResponseHeaders, name: str, value: str) -> None:
    """Set a header, and spare Django's work for a value of ASCII without line breaks."""
    if (
        _HELD_BY is not None
        and type(headers) is ResponseHeaders
        and value.isascii()
        and "\n" not in value
        and "\r" not in value
    ):
        vars(headers)[_HELD_BY][name.lower()] = (name, value)
    else:
        headers[name] = value
