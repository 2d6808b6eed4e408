"""Rate-limit stores: they count the requests of each client."""

from __future__ import annotations
