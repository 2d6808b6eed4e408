"""Librarians may act as a reader: with a header, or for the rest of their session."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import Http404
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication


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


class ActingJWTAuthentication(JWTAuthentication):
    """For scripts of librarians, whose token is not known before the view."""

    def authenticate(self, request):
        found = super().authenticate(request)
        name = request.headers.get("X-Acts-As")
        if found is None or not name or not found[0].is_staff:
            return found
        reader = User.objects.filter(username=name).first()
        if reader is None:
            raise AuthenticationFailed("There is no such reader.")
        request.impersonator = found[0]
        return reader, found[1]


class ActingJWTScheme(SimpleJWTScheme):
    """How drf-spectacular describes it."""

    target_class = ActingJWTAuthentication
    name = "actingJwtAuth"


def impersonator(request):
    """For the setting `IDENTITY` of partstream."""
    return request.impersonator and str(request.impersonator.pk)
