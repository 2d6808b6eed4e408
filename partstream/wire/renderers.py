"""A project's own JSON renderer: it writes the data of each part, and nothing of the protocol.

A renderer may rename keys, to camel case for example, or encode faster. Keys of the envelope and
names of parts must stay as they are, so a renderer gets the data of one part at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer

from partstream.logs import get_logger
from partstream.parts.fragment import decode
from partstream.parts.outcome import Failure, Outcome
from partstream.renderers import StreamRenderer

from .errors import is_error_body

logger = get_logger("partstream.parts")

JSON: Final = "application/json"
#: What begins and ends as a JSON value does (RFC 8259), without the time that parsing takes.
_JSON_VALUE: Final = re.compile(
    rb"\s*(?:\{.*\}|\[.*\]|\".*\"|-?[0-9][0-9.eE+-]*|true|false|null)\s*", re.DOTALL
)


def is_json(renderer: Any) -> bool:
    """Whether a renderer writes JSON for clients that ask for it."""
    return getattr(renderer, "media_type", None) == JSON


def own_json_renderer(renderers: Iterable[BaseRenderer]) -> BaseRenderer | None:
    """The first JSON renderer of a view; None: it is DRF's own, which fragments need no more."""
    for renderer in renderers:
        if is_json(renderer):
            return None if type(renderer) is JSONRenderer else renderer
    return None


def rendered(
    outcomes: Sequence[Outcome], renderer: BaseRenderer, context: Mapping[str, Any], view: str
) -> list[Outcome]:
    """The outcomes of parts with their data as a renderer writes it.

    A part that it cannot write fails with ``not_serializable``.

    Args:
        outcomes: The outcomes.
        renderer: A JSON renderer.
        context: The renderer's context; see ``APIView.get_renderer_context``.
        view: The name of the view, for the log.
    """
    return [_rendered(outcome, renderer, context, view) for outcome in outcomes]


def _rendered(
    outcome: Outcome, renderer: BaseRenderer, context: Mapping[str, Any], view: str
) -> Outcome:
    failure = outcome.failure
    try:
        if failure is None:
            return replace(outcome, fragment=_written(outcome.fragment, renderer, context))
        if failure.problems is None:
            return outcome
        problems = decode(_write(failure.problems, renderer, context))
        return replace(outcome, failure=replace(failure, problems=problems))
    except Exception:
        logger.exception(
            "%s cannot write part %r of %s.", type(renderer).__name__, outcome.name, view
        )
        lost = Failure("not_serializable", retryable=False)
        return replace(outcome, fragment=None, failure=lost if failure is None else failure)


def _written(
    fragment: bytes | None, renderer: BaseRenderer, context: Mapping[str, Any]
) -> bytes | None:
    if fragment is None or fragment == b"null":
        return fragment  # DRF's renderers write nothing for None.
    return _write(decode(fragment), renderer, context)


def _write(data: Any, renderer: BaseRenderer, context: Mapping[str, Any]) -> bytes:
    written = renderer.render(data, JSON, {**context})
    found = written.encode() if isinstance(written, str) else bytes(memoryview(written))
    # Where it is none, nobody could read the rest of the response.
    if not _JSON_VALUE.fullmatch(found):
        raise ValueError(f"{found[:80]!r} is no JSON value")
    return found


def show_unchanged(renderer: BrowsableAPIRenderer, data: Any) -> None:
    """Let DRF's browsable API show data as it is, and not as the view's JSON renderer writes it."""

    def get_content(*_: Any) -> str:
        return JSONRenderer().render(data, JSON, {"indent": 4}).decode()

    renderer.get_content = get_content  # type: ignore[method-assign, assignment]


def answer_in_json(response: Any, get_renderers: Callable[[], Iterable[BaseRenderer]]) -> None:
    """Let a response that has no parts be JSON where the client has asked for a stream.

    A project's renderer does not get the protocol's errors, because it could rename their keys.

    Args:
        response: A response with its negotiated renderer, if it is one of DRF's.
        get_renderers: Returns the renderers of the view.
    """
    renderer = getattr(response, "accepted_renderer", None)
    if isinstance(renderer, StreamRenderer):
        renderer = next(filter(is_json, get_renderers()), None) or JSONRenderer()
        response.accepted_renderer, response.accepted_media_type = renderer, JSON
    is_error = getattr(response, "exception", False) and is_error_body(response.data)
    if is_error and is_json(renderer) and type(renderer) is not JSONRenderer:
        response.accepted_renderer = JSONRenderer()
