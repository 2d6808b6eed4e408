"""Executors: where loaders run."""
