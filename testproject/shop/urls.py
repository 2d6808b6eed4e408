"""The shop's URLs."""

from __future__ import annotations

from django.urls import include, path

from .views import (
    BlockingDashboardView,
    DashboardPage,
    DashboardView,
    ReadyFirstView,
    ReportView,
)

urlpatterns = [
    path("", DashboardPage.as_view(), name="home"),
    path("api/dashboard/", include(DashboardView.urls(name="dashboard"))),
    path("api/ready-first/", include(ReadyFirstView.urls(name="ready-first"))),
    path("api/report/", ReportView.as_view(), name="report"),
    path("api/blocking/", BlockingDashboardView.as_view(), name="blocking"),
]
