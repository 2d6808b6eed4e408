"""The URLs of the benchmark's project."""

from __future__ import annotations

import os

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

from . import export, overview, variants
from .dashboard import BlockingDashboardView, DashboardView

urlpatterns = [
    path("process/", lambda request: HttpResponse(str(os.getpid()))),
    path("dashboard/blocking/", BlockingDashboardView.as_view()),
    path("dashboard/", DashboardView.as_view()),
    path("dashboard/slow-first/", variants.SlowFirstView.as_view()),
    path("dashboard/side-by-side/", variants.SideBySideView.as_view()),
    path("dashboard/budget/", variants.BudgetView.as_view()),
    path("overview/blocking/", overview.BlockingOverviewView.as_view()),
    path("overview/blocking/cached/", cache_page(600)(overview.BlockingOverviewView.as_view())),
    path("overview/cached/", overview.CachedOverviewView.as_view()),
    path("overview/blocking/fixed/", overview.BlockingOverviewView.as_view(is_fixed=True)),
    path("overview/", overview.OverviewView.as_view()),
    path("overview/fixed/", overview.OverviewView.as_view(is_fixed=True)),
    path("export/blocking/", export.BlockingExportView.as_view()),
    path("export/by-hand/", export.ByHandExportView.as_view()),
    path("export/", export.ExportView.as_view()),
]
