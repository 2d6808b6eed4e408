"""The public names as a typed project uses them: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from django.test import AsyncClient, Client
from django.urls import include, path
from rest_framework import serializers
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.routers import DefaultRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet

from partstream import (
    HybridProgressiveView,
    PartError,
    PartList,
    ProgressiveView,
    cached_for,
    lazy,
    safe_call,
    with_timeout,
)
from partstream.backends.executors.threads import ThreadExecutor
from partstream.exceptions import ProbeFailed
from partstream.health import HealthCheckView, ProbeResult, run_probes
from partstream.mixins import ChunkMixin, CursorMixin, KeyAccessMixin, ManifestMixin
from partstream.schemas import returns
from partstream.testing import aread_records, collect, inline, read_records
from partstream.viewsets import ProgressiveViewSetMixin, progressive_action


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "username")


def get_rates(request: Request) -> dict[str, float]:
    raise PartError("No rates today.", code="rates_closed", retryable=True)


def guess_rates(request: Request, error: Exception) -> dict[str, float]:
    return {}


def get_tenant(request: Request) -> str | None:
    return request.headers.get("X-Tenant")


class ReportView(ProgressiveView):
    executor = "partstream.backends.executors.threads.ThreadExecutor"
    time_budget = 0.1
    enable_caching = True
    chunk_size = 3
    cursor_ttl = 60
    permission_classes = [IsAuthenticated]
    parts = [
        ("meta", {"version": 1}),
        ("orders", lazy("get_orders", depends_on=["meta"], size="medium")),
        ("rates", lazy(safe_call(with_timeout(get_rates, 2.5), fallback=guess_rates))),
        ("stock", lazy("get_stock", timeout=1)),
    ]

    def get_refresh_allowed(self) -> bool:
        return bool(self.request.user.is_staff)

    @cached_for(60, vary=["X-Tenant"], key=get_tenant)
    def get_stock(self, request: Request) -> dict[str, int]:
        return {"items": 40}

    async def get_orders(self, request: Request, meta: dict[str, Any]) -> list[int]:
        return [1, 2]


class DashboardView(HybridProgressiveView):
    max_keys_per_request = 5

    def get_parts(self) -> PartList:
        return PartList(
            [
                ("user", {"name": self.request.user.get_username()}),
                ("users", lazy(self.get_users, serializer_class=UserSerializer, many=True)),
                ("secrets", lazy(safe_call(get_rates, {}), permission_classes=[IsAdminUser])),
            ]
        )

    def get_parts_manifest(self) -> dict[str, dict[str, Any]]:
        return {"users": {"size": "large", "dependencies": ["user"]}}

    def get_identity(self, request: Request) -> str | None:
        return None

    def get_chunk_size(self) -> int:
        return 4

    def get_users(self, request: Request) -> Any:
        return User.objects.all()


def misspelt() -> Any:
    """An argument that does not exist is an error of the type checker, too."""
    return lazy(get_rates, serializer=UserSerializer)  # type: ignore[arg-type]


class ComposedView(ManifestMixin, KeyAccessMixin, ChunkMixin, CursorMixin, APIView):
    parts = [("one", 1)]

    def get(self, request: Request) -> HttpResponseBase:
        if "keys" in request.query_params:
            return self.keys_response(request)
        return self.walk_response(request)


class UserViewSet(ProgressiveViewSetMixin, ModelViewSet[User]):
    queryset = User.objects.all()
    serializer_class = UserSerializer

    @progressive_action(detail=False, chunk_size=2, permission_classes=[IsAdminUser])
    def overview(self) -> list[tuple[str, Any]]:
        return [("count", lazy("get_count")), ("users", lazy(self.get_users))]

    @progressive_action(detail=True, url_path="at-a-glance", url_name="glance")
    def profile(self) -> PartList:
        return PartList([("pk", self.kwargs["pk"])])

    def get_count(self, request: Request) -> int:
        return self.get_queryset().count()

    @returns(UserSerializer, many=True)
    def get_users(self, request: Request) -> Any:
        return self.get_serializer(self.get_queryset(), many=True).data


class LongerUserViewSet(UserViewSet):
    @progressive_action(detail=False)
    def overview(self) -> list[tuple[str, Any]]:
        return [("version", 2), *super().overview()]

    @cached_for(60)
    @returns(UserSerializer)
    def get_newest(self, request: Request) -> dict[str, Any]:
        return {}


router = DefaultRouter()
router.register("users", UserViewSet)

urlpatterns = [
    *router.urls,
    path("report/", ReportView.as_view()),
    path("dashboard/", include(DashboardView.urls(name="dashboard"))),
    path("composed/", ComposedView.as_view()),
    path("health/", HealthCheckView.as_view(timeout=1)),
]


class WatchedExecutor(ThreadExecutor):
    def probe(self) -> None:
        super().probe()
        if self.pool.waiting > 32:
            raise ProbeFailed("too many calls wait for a thread")


def failures() -> list[str]:
    results: list[ProbeResult] = run_probes(timeout=2)
    return [f"{result.name}: {result.message}" for result in results if not result.ok]


def use_in_a_test(client: Client) -> tuple[Any, list[str], int]:
    with inline():
        parts = collect(client, "/dashboard/", mode="keys", allow_errors=True)
        collect(client, "/dashboard/", mode="sse")
    return parts["users"], list(parts.errors), parts.requests


def read_a_stream(client: Client) -> Iterator[dict[str, Any]]:
    return read_records(client.get("/dashboard/?format=ndjson"))


async def read_a_stream_later(client: AsyncClient) -> list[dict[str, Any]]:
    response = await client.get("/dashboard/?format=sse")
    return [record async for record in aread_records(response)]
