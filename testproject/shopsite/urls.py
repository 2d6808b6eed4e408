"""The URLs of the demo site."""

from __future__ import annotations

import os

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView

from partstream.health import HealthCheckView

urlpatterns = [
    path("admin/", admin.site.urls),  # sign in here to see the staff's part of the dashboard
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("health/", HealthCheckView.as_view()),
    path("", include("shop.urls")),
]

if os.environ.get("SHOP_METRICS") == "1":
    from partstream.contrib.prometheus import metrics

    urlpatterns.append(path("metrics/", metrics))
