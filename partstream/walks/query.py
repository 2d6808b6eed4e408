"""The query of a request, read once: the cursor's token and the application's parameters."""

from __future__ import annotations

from rest_framework.request import Request

from partstream.security.validation import MAX_QUERY_LENGTH, sole_token, validate_token


class WalkQuery:
    """The query of a request to a view that has cursors.

    Args:
        request: The request.
        parameter: Name of the query parameter that carries the token.

    Attributes:
        request: The request.
        parameter: The name of the cursor's parameter.
        is_empty: Whether the request has no query.
        has_others: Whether there may be other parameters.
        may_resume: Whether the request has a ``Last-Event-ID``; see `resumes`.
    """

    def __init__(self, request: Request, parameter: str) -> None:
        meta = request._request.META
        query = meta.get("QUERY_STRING") or ""
        self._last_event_id = meta.get("HTTP_LAST_EVENT_ID")
        self.may_resume = bool(self._last_event_id)
        self.request = request
        self.parameter = parameter
        self.is_empty = not query
        self._length = len(query)
        self._token = sole_token(query, parameter) if query else None
        self.has_others = self._token is None and not self.is_empty

    @property
    def breaks_no_rule(self) -> bool:
        """Whether no further check is needed: the query is one token, and not too long."""
        return self._token is not None and self._length <= MAX_QUERY_LENGTH

    @property
    def resumes(self) -> bool:
        """Whether the request resumes a stream of server-sent events by ``Last-Event-ID``.

        The header wins over the query: a browser that reconnects sends the URL as it was. An empty
        header is the same as none (https://html.spec.whatwg.org/multipage/server-sent-events.html).
        """
        renderer = getattr(self.request, "accepted_renderer", None)
        return self.may_resume and getattr(renderer, "resumes_by_header", False)

    @property
    def tokens(self) -> list[str]:
        """The values of the cursor's parameter, or of the header that wins over it."""
        if self.may_resume and self.resumes:
            return [str(self._last_event_id)]
        if self.has_others:
            given: list[str] = self.request.query_params.getlist(self.parameter)
            return given
        return [] if self._token is None else [self._token]

    def validated_token(self, longest: int) -> str:
        """The request's one token, if it has the form of a token. It is not decoded.

        Args:
            longest: ``MAX_CURSOR_SIZE``.

        Raises:
            InvalidCursor: With the reason, for the log.
        """
        token = self._token
        if token is None or len(token) > longest or (self.may_resume and self.resumes):
            return validate_token(self.tokens, longest)
        return token  # Its form is known already.

    def with_token(self, token: str) -> str:
        """The query of the next chunk: the application's own parameters, then this token."""
        others = ""
        if self.has_others:
            parameters = self.request.query_params.copy()
            parameters.pop(self.parameter, None)
            others = parameters.urlencode() + "&" if parameters else ""
        return f"?{others}{self.parameter}={token}"
