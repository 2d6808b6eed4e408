"""The shop's dashboard delivered in other ways, each of which changes one thing."""

from __future__ import annotations

from headline_measures.dashboard import BUDGET

from .dashboard import DashboardView

THREADS = "partstream.backends.executors.threads.ThreadExecutor"


def slow_first(parts):
    """The parts with the slow ones in front, as a view would have them that never thought of it.

    A part stays behind those that it depends on.
    """
    names = [name for name, _ in parts]
    front = names[names.index("revenue_by_month") :]
    return sorted(parts, key=lambda pair: pair[0] not in front)


class SlowFirstView(DashboardView):
    """Laziness without the order: the slow parts come first."""

    def get_parts(self):
        return slow_first(super().get_parts())


class SideBySideView(DashboardView):
    """Concurrency alone: one response with all parts, which run side by side."""

    executor = THREADS
    chunk_size = 13


class BudgetView(SlowFirstView):
    """Concurrency and laziness: what is ready first is sent first, whatever the order."""

    executor = THREADS
    chunk_size = 13
    time_budget = BUDGET
