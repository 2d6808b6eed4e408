"""The kinds of settings: each one validates a value, or parses an environment variable."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from sys import float_info
from typing import Any, Final

#: Seconds, ten years of 365 days: the longest time to live of a cursor.
LONGEST_TTL = 315_360_000

#: The highest limit of a window, in requests. A store keeps one timestamp for each.
MAX_LIMIT = 100_000

#: The minimum length of a secret in characters.
SHORTEST_SECRET = 32

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,18})?")
_DOTTED_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Kind(ABC):
    """A kind of setting."""

    #: Whether an environment variable can set it.
    in_environment = True

    @abstractmethod
    def take(self, value: Any) -> Any:
        """The validated value, as `Settings` has it.

        Raises:
            ValueError: With a text that says what the setting accepts.
        """

    def accepts(self, value: Any) -> bool:
        """Whether `take` takes the value."""
        try:
            self.take(value)
        except ValueError:
            return False
        return True

    def parse(self, text: str) -> Any:
        """The value that a variable's text stands for, to be validated by `take`.

        Raises:
            ValueError: With a text that says what the variable accepts.
        """
        return text


@dataclass(frozen=True)
class Number(Kind):
    """An int or a float within bounds; None where it is optional."""

    kind: type
    least: float = 1
    most: float = LONGEST_TTL
    optional: bool = False

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if value is None and self.optional:
            return None
        if type(value) is not self.kind and not (self.kind is float and type(value) is int):
            raise ValueError(f"must be {self.kind.__name__}, not {type(value).__name__}.")
        number: Any = value
        # Written this way round so that NaN is refused too.
        if not number >= self.least:
            raise ValueError(f"must be {self.least} or more, not {value}.")
        if not number <= self.most:
            raise ValueError(f"must be {self.most} or less, not {value}.")
        return value

    def parse(self, text: str) -> Any:
        """See `Kind.parse`."""
        whole = self.kind is int
        if not (text.isascii() and _NUMBER.fullmatch(text)):
            raise ValueError("must be a whole number." if whole else "must be a number.")
        if whole and "." in text:
            raise ValueError("must be a whole number.")
        return self.kind(text)


class Flag(Kind):
    """True or False."""

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if type(value) is not bool:
            raise ValueError(f"must be bool, not {type(value).__name__}.")
        return value

    def parse(self, text: str) -> Any:
        """See `Kind.parse`."""
        if text.lower() in _FLAGS:
            return _FLAGS[text.lower()]
        raise ValueError("must be true or false.")


@dataclass(frozen=True)
class Word(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if not (isinstance(value, str) and value in self.words):
            raise ValueError(f"must be one of {', '.join(map(repr, self.words))}.")
        return value


class BackendPath(Kind):
    """A dotted path, or a dictionary with the path and its options."""

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        configured = {"BACKEND": value} if isinstance(value, str) else value
        if (
            isinstance(configured, Mapping)
            and configured.keys() <= {"BACKEND", "OPTIONS"}
            and isinstance(configured.get("BACKEND"), str)
            and _DOTTED_PATH.fullmatch(configured["BACKEND"])
            and isinstance(configured.get("OPTIONS", {}), Mapping)
        ):
            return value
        raise ValueError('must be a dotted path, or {"BACKEND": path, "OPTIONS": {...}}.')


class FunctionPath(Kind):
    """A dotted path to a function, or None."""

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if value is None or (isinstance(value, str) and _DOTTED_PATH.fullmatch(value)):
            return value
        raise ValueError("must be a dotted path, or None.")


class Secrets(Kind):
    """A list of secrets, or None."""

    in_environment = False

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError("must be None or a list of at least one secret.")
        for secret in value:
            if not isinstance(secret, str) or len(secret) < SHORTEST_SECRET:
                raise ValueError(
                    f"has an entry that is not a string of {SHORTEST_SECRET} characters or more."
                )
            if len(set(secret)) < 8:
                raise ValueError("has an entry of fewer than 8 different characters.")
        return tuple(value)


@dataclass(frozen=True)
class NetworkList(Kind):
    """A list of networks: CIDRs, single addresses, or certain words."""

    words: tuple[str, ...] = ()

    in_environment = False

    def take(self, value: Any) -> Any:
        """See `Kind.take`."""
        if not isinstance(value, (list, tuple)):
            raise ValueError('must be a list of networks, such as ["10.0.0.0/8"].')
        for entry in value:
            if isinstance(entry, str) and entry in self.words:
                continue
            try:
                if not isinstance(entry, str):
                    raise ValueError("it is not a string")
                ip_network(entry)
            except ValueError as error:
                raise ValueError(
                    f"has {entry!r:.80}, which is not a network: {str(error).rstrip('.')}."
                ) from error
        return tuple(value)


# What settings, view attributes and the arguments of loaders and backends have in common

#: A whole number of 1 or more, such as a number of parts or whole seconds.
COUNT: Final = Number(int)
#: Requests of one client in a window.
LIMIT: Final = Number(int, most=MAX_LIMIT)
#: A number of seconds above zero.
SECONDS: Final = Number(float, least=float_info.min)
#: True or False.
SWITCH: Final = Flag()
