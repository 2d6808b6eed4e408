"""Makes the tables, the policies if they are wanted, and eight clients that are logged in."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection

from ..clients import Client
from .models import Owner

TENANTS = ["red", "blue"]
# The table's owner is not above them: FORCE. No session may be read or saved without a tenant.
POLICIES = """
ALTER TABLE rows_owner ENABLE ROW LEVEL SECURITY;
ALTER TABLE rows_owner FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON rows_owner USING (name = nullif(current_setting('app.tenant', true), ''));
ALTER TABLE django_session ENABLE ROW LEVEL SECURITY;
ALTER TABLE django_session FORCE ROW LEVEL SECURITY;
CREATE POLICY any_tenant ON django_session USING (current_setting('app.tenant', true) <> '');
"""


def make():
    """The clients of the project."""
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Owner)
    names = TENANTS if settings.POLICIES else ["everyone"]
    for name in names:
        Owner.objects.create(name=name)
    clients = [make_client(TENANTS[number % 2], names[number % len(names)]) for number in range(8)]
    if settings.POLICIES:
        with connection.cursor() as cursor:
            cursor.execute(POLICIES)
    connection.close()
    return clients


def make_client(tenant, expects):
    """A user of a tenant, with a session."""
    user = User.objects.create(username=f"{tenant}{User.objects.count()}")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return Client(tenant, expects, f"sessionid={session.session_key}")


def get_state():
    """The tenant that this thread's session has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant', true)")
        return cursor.fetchone()[0] or ""
