"""Rate-limit stores: where the requests of each client are counted."""

from __future__ import annotations
