from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework import routers
from rest_framework_simplejwt.views import TokenObtainPairView

from . import dashboards, views

router = routers.DefaultRouter()
router.register("books", views.BookViewSet)
router.register("authors", views.AuthorViewSet)
router.register("loans", views.LoanViewSet)

api = [
    path("", include(router.urls)),
    path("branches/", views.BranchesView.as_view(), name="branches"),
    path("account/", views.AccountView.as_view(), name="account"),
    path("statistics/", views.StatisticsView.as_view(), name="statistics"),
    path("payroll/", views.PayrollView.as_view(), name="payroll"),
    path("recent/", views.RecentView.as_view(), name="recent"),
    path("cover/", views.CoverView.as_view(), name="cover"),
    path("old-books/", views.OldBooksView.as_view(), name="old_books"),
    path("shelf-label/", views.ShelfLabelView.as_view(), name="shelf_label"),
    path("poster/", views.PosterView.as_view(), name="poster"),
    path("news/", views.NewsView.as_view(), name="news"),
    # Added with partstream.
    path("desk/", include(dashboards.Desk.urls(name="desk"))),
    path("busy-desk/", include(dashboards.BusyDesk.urls(name="busy-desk"))),
    path("filtered/", include(dashboards.Filtered.urls(name="filtered"))),
    path("desk/loans/<uuid:loan>/", include(dashboards.LoanDesk.urls(name="loan-desk"))),
    path(
        "busy-desk/loans/<uuid:loan>/",
        include(dashboards.BusyLoanDesk.urls(name="busy-loan-desk")),
    ),
    path("staff-desk/", include(dashboards.StaffDesk.urls(name="staff-desk"))),
    path("desk/recent/<slug:slug>/", include(dashboards.RecentDesk.urls(name="recent-desk"))),
    path(
        "busy-desk/recent/<slug:slug>/",
        include(dashboards.BusyRecentDesk.urls(name="busy-recent-desk")),
    ),
    path("old-version/", include(dashboards.OldVersion.urls(name="old-version"))),
    path("odd-desk/", include(dashboards.OddDesk.urls(name="odd-desk"))),
]

urlpatterns = [
    path("v1/", include((api, "library"), namespace="v1")),
    path("v2/", include((api, "library"), namespace="v2")),
    path("reports/<str:version>/loans/", views.ReportView.as_view(), name="report"),
    path("partner/", views.PartnerView.as_view(), name="partner"),
    path("token/", TokenObtainPairView.as_view(), name="token"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
]
