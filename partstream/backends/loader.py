"""The one place that makes backends: one instance a process, from the setting's dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

from ..conf import SETTING, Kept, get_settings, get_source
from ..exceptions import Misuse
from ..keys import get_key_ring
from .base import Backend
from .cursors.base import CursorCodec

B = TypeVar("B", bound=Backend)

#: Module of an optional dependency -> the extra that brings it.
_EXTRAS = {"jwt": "jwt"}


def build(setting: str, configured: str | Mapping[str, Any], family: type[B], **given: Any) -> B:
    """An instance of the backend that a setting names.

    Args:
        setting: The setting's name, for the errors.
        configured: A dotted path, or ``{"BACKEND": path, "OPTIONS": {...}}``.
        family: The class that it must be a subclass of.
        given: What every backend of the family is constructed with, beside its options.

    Raises:
        Misuse: When the path, the class or its options do not fit.
    """
    if isinstance(configured, str):
        configured = {"BACKEND": configured}
    path, options = configured["BACKEND"], configured.get("OPTIONS", {})
    module_name, _, class_name = path.rpartition(".")
    where = f"{get_source(setting)} = {path!r}"
    try:
        module = import_module(module_name)
    except ImportError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra:
            raise Misuse(
                f"{where} needs a package that is not installed. "
                f"Run: pip install 'django-partstream[{extra}]'"
            ) from error
        raise Misuse(f"{where} cannot be imported: {error}.") from error
    backend = getattr(module, class_name, None)
    if not (isinstance(backend, type) and issubclass(backend, family)):
        raise Misuse(f"{where} is not a {family.__name__}. Name a class that inherits it.")
    try:
        return backend(**given, **options)
    except TypeError as error:
        raise Misuse(f"{where} does not take its OPTIONS {sorted(options)}: {error}.") from error


def _make_cursor_codec() -> CursorCodec:
    return build(
        "CURSOR_CODEC",
        get_settings().CURSOR_CODEC,
        CursorCodec,  # type: ignore[type-abstract]
        keys=get_key_ring(),
    )


#: The process's cursor codec.
get_cursor_codec = Kept(_make_cursor_codec, SETTING, "SECRET_KEY", "SECRET_KEY_FALLBACKS")
