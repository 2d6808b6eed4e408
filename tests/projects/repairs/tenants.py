"""The workshop of a request: a variable of the database's session, which all policies look at."""

from __future__ import annotations

from contextlib import contextmanager

from django.db import connection
from django.http import Http404

from .models import Workshop


def set_workshop(pk):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.workshop', %s, false)", [str(pk or "")])


@contextmanager
def as_workshop(workshop):
    """For shells, commands and tests."""
    set_workshop(workshop.pk)
    try:
        yield
    finally:
        set_workshop(None)


class WorkshopMiddleware:
    """`north.workshops.example` is the workshop `north`."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        slug = request.get_host().partition(".")[0]
        request.workshop = Workshop.objects.filter(slug=slug).first()
        if request.workshop is None:
            raise Http404
        set_workshop(request.workshop.pk)
        try:
            return self.get_response(request)
        finally:
            set_workshop(None)


def before_call(request):
    set_workshop(request.workshop.pk)


def after_call(request):
    if connection.connection is not None:
        set_workshop(None)
