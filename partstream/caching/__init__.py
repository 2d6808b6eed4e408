"""Caching: who makes a value, and under which key it is kept."""
