"""What is served: one view in two places, whose secrets nobody may see."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.urls import include, path
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.permissions import IsAdminUser

from partstream import HybridProgressiveView, lazy

from .settings import CANARY


class BearerAuthentication(BaseAuthentication):
    """Takes any credential, so that whatever a client writes is somebody's identity."""

    def authenticate(self, request: Any) -> Any:
        kind, _, credential = get_authorization_header(request).partition(b" ")
        if kind.lower() != b"bearer":
            return None
        return AnonymousUser(), credential.decode("latin-1")


class FuzzedView(HybridProgressiveView):
    """A part of each kind; the last two have what must stay inside."""

    authentication_classes = [BearerAuthentication, BasicAuthentication, SessionAuthentication]
    chunk_size = 1
    parts = [
        ("meta", {"version": 1}),
        ("orders", lazy("get_orders", depends_on=["meta"])),
        ("news", lazy("get_news")),
        ("broken", lazy("get_broken")),
        (f"{CANARY}_margins", lazy("get_margins", permission_classes=[IsAdminUser])),
        ("last", lazy("get_orders", depends_on=["meta"])),
    ]

    def get_orders(self, request: Any, meta: Any) -> Any:
        return [meta["version"], 2]

    async def get_news(self, request: Any) -> Any:
        return "quiet"

    def get_broken(self, request: Any) -> Any:
        raise RuntimeError(f"password={CANARY}")

    def get_margins(self, request: Any) -> Any:
        return CANARY


urlpatterns = [
    path("fuzzed/", include(FuzzedView.urls(name="fuzzed"))),
    path("years/<int:year>/", FuzzedView.as_view()),
]
