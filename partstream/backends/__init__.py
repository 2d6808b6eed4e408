"""Backends, which settings name by dotted path: codecs, stores and executors."""
