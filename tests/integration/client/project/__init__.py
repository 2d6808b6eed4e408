"""The demo shop, and views whose parts a test of the client declares: `python -m` this package."""
