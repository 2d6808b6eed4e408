"""The wire: what clients see."""
