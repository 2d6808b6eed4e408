"""What the eight parts take. The clients read this too, so nothing here needs Django."""

from __future__ import annotations

#: Name of a part -> milliseconds that its loader sleeps.
SLEEPS = {
    "profile": 0,
    "alerts": 20,
    "orders": 100,
    "stock": 150,
    "history": 250,
    "revenue": 400,
    "margins": 500,
    "forecast": 600,
}
#: The order of the view, which does not know which parts are quick.
ORDER = ["forecast", "alerts", "revenue", "profile", "history", "orders", "margins", "stock"]
#: The part whose JSON has 2 MB.
LARGE = "history"
#: The time budgets of the walks that a stream is compared with, in milliseconds.
BUDGETS = (25, 50, 100, 150, 200, 250, 300, 400, 500, 700)
