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
    """

    def __init__(self, request: Request, parameter: str) -> None:
        query = request._request.META.get("QUERY_STRING") or ""
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
    def tokens(self) -> list[str]:
        """The values of the cursor's parameter, whatever they are."""
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
        if token is None or len(token) > longest:
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
