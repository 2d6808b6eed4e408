"""The wire: what a client sees."""
