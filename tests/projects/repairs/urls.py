from __future__ import annotations

from django.urls import include, path
from rest_framework import routers
from rest_framework.authtoken.views import obtain_auth_token

from . import dashboards, views

router = routers.DefaultRouter()
router.register("customers", views.CustomerViewSet)
router.register("bicycles", views.BicycleViewSet)
router.register("orders", views.OrderViewSet)

urlpatterns = [
    path("api/", include(router.urls)),
    path("api/stock/", views.StockView.as_view(), name="stock"),
    path("api/prices/", views.PricesView.as_view(), name="prices"),
    path("api/quote/", views.QuoteView.as_view(), name="quote"),
    path("api/profile/", views.ProfileView.as_view(), name="profile"),
    path("api/token/", obtain_auth_token, name="token"),
    # Added with partstream.
    path("api/front/", include(dashboards.FrontPage.urls(name="front"))),
    path("api/plain-front/", include(dashboards.PlainFrontPage.urls(name="plain-front"))),
    path("api/busy/", include(dashboards.BusyPage.urls(name="busy"))),
    path(
        "api/busy-threads/",
        include(dashboards.BusyPage.urls(name="busy-threads", executor=dashboards.THREADS)),
    ),
    path("api/board/", include(dashboards.CustomerBoard.urls(name="board"))),
    path("api/till/<int:part>/", include(dashboards.TillPage.urls(name="till"))),
]
