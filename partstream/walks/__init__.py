"""Walks: where a request stands, and what it is bound to."""
