"""Budgets of a chunk, in seconds: what the tests of schedules share."""

from __future__ import annotations

#: Seconds of a budget that is meant to be spent.
BUDGET = 0.03
#: The same, with time for another part before.
LONGER = 0.3
#: Seconds of a timeout that comes long after such a budget.
BEYOND = 1.0
#: Seconds of a budget that is not spent.
AMPLE = 3600.0
