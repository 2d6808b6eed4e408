"""Walks: the position of a request in its walk, and what the walk is bound to."""
