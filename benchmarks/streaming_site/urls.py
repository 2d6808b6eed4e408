"""The URLs of the benchmark's project."""

from __future__ import annotations

import os

from django.http import HttpResponse
from django.urls import path

from . import eight, heavy, orjson_parts, plain, waiting
from .sleeps import BUDGETS

if os.environ.get("STREAMING_ORJSON") == "1":
    orjson_parts.put_in()

urlpatterns = [
    path("process/", lambda request: HttpResponse(str(os.getpid()))),
    path("plain/", plain.PlainView.as_view()),
    path("eight/", eight.EightView.as_view()),
    path("eight/inline/", eight.InlineView.as_view()),
    path("eight/one-by-one/", eight.OneByOneView.as_view()),
    *(
        path(f"eight/budget/{budget}/", eight.EightView.as_view(time_budget=budget / 1000))
        for budget in BUDGETS
    ),
    *(
        path(
            f"eight/budget/{budget}/default/",
            eight.EightView.as_view(time_budget=budget / 1000, chunk_size=None),
        )
        for budget in BUDGETS
    ),
    path("heavy/", heavy.HeavyView.as_view()),
    path("heavy/blocking/", heavy.BlockingHeavyView.as_view()),
    path("waiting/", waiting.WaitingView.as_view()),
    path("waiting/coroutines/", waiting.WaitingCoroutinesView.as_view()),
    path("waiting/release/", waiting.release),
    path("waiting/hold/", waiting.hold),
    path("waiting/begun/", waiting.begun),
]
