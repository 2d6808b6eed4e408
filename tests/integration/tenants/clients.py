"""The clients of a project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        tenant: The host that it asks.
        expects: What each part has to say.
        cookie: Its session.
    """

    tenant: str
    expects: str
    cookie: str = ""
