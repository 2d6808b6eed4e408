"""A small application for the tests: one view of each kind, and a model with rows."""
