"""Parts: what a view declares, and what became of it."""
