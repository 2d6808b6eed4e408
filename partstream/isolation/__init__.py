"""Isolation: one part changes nothing for other parts, threads or requests."""
