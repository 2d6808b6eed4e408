from __future__ import annotations

from django.urls import include, path

from .views import DashboardView, WalkView

urlpatterns = [
    path("walk/", WalkView.as_view(), name="walk"),
    path("alone/", DashboardView.as_view(), name="alone"),
    path("dashboard/", include(DashboardView.urls(name="dashboard"))),
    path("years/<int:year>/", include(DashboardView.urls(name="year"))),
    path("spaced/", include((DashboardView.urls(name="dashboard"), "example"), namespace="ns")),
]
