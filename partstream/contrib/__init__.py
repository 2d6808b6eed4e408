"""Integrations with other packages: one module and one extra each."""
