"""The health check over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.transaction import non_atomic_requests
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views import View

from partstream.conf import get_settings, get_values

from .runner import check_timeout
from .shared_run import get_shared_run


@method_decorator(non_atomic_requests, name="dispatch")
class HealthCheckView(View):
    """Answers ``{"status": "ok"}`` with 200, or ``{"status": "error"}`` with 503.

    It says nothing else, so that it may be public; the log of ``partstream.health`` says what
    failed. Requests at the same time share one run of the probes, whose result is used again for
    a second. With ``HEALTH_CHECK_ENABLED = False`` it is 404.

    Attributes:
        timeout: Seconds after which a probe without an answer has failed.

    Raises:
        Misuse: In ``as_view()``, when the timeout is not a number of seconds above 0.

    Example:
        ``path("health/", HealthCheckView.as_view(timeout=1))``
    """

    http_method_names = ["get", "head"]
    timeout: float = 2

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        """See ``View.as_view()``. Django's ``LoginRequiredMiddleware`` lets it pass."""
        check_timeout(f"{cls.__name__}.timeout", initkwargs.get("timeout", cls.timeout))
        view = super().as_view(**initkwargs)
        # A redirect to a login page would look like success to many that ask.
        view.login_required = False  # type: ignore[attr-defined]
        return view

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The response to GET and HEAD; 405 for other methods.

        Raises:
            Http404: When ``HEALTH_CHECK_ENABLED`` is False.
        """
        if not _is_enabled():
            raise Http404
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        return response

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The status; what the URL has captured is ignored."""
        if all(result.ok for result in get_shared_run().get(self.timeout)):
            return JsonResponse({"status": "ok"})
        return JsonResponse({"status": "error"}, status=503)


def _is_enabled() -> bool:
    try:
        return get_settings().HEALTH_CHECK_ENABLED
    except ImproperlyConfigured:
        # Another setting may be the one at fault, which the answer has to show.
        return get_values()["HEALTH_CHECK_ENABLED"][0] is not False
