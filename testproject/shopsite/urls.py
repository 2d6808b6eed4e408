"""The URLs of the demo site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),  # sign in here to see the staff's part of the dashboard
    path("", include("shop.urls")),
]
