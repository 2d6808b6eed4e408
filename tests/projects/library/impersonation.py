"""Librarians may act as a reader: with a header, or for the rest of their session."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import Http404


class ImpersonationMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.impersonator = None
        name = request.headers.get("X-Acts-As") or request.session.get("acts_as")
        if name and request.user.is_staff:
            reader = User.objects.filter(username=name).first()
            if reader is None:
                raise Http404
            request.impersonator, request.user = request.user, reader
        return self.get_response(request)


def impersonator(request):
    """For the setting `IDENTITY` of partstream."""
    return request.impersonator and str(request.impersonator.pk)
