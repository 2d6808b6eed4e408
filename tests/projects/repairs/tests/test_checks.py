from __future__ import annotations

from django.core.checks import run_checks
from django.core.management import call_command


def test_check__finds_nothing(db):
    assert run_checks(databases=["default"]) == []


def test_check__of_a_deployment_finds_the_cache_of_one_process(db):
    found = run_checks(include_deployment_checks=True)
    said = {message.id for message in found if not message.is_silenced()}
    assert said == {"partstream.W009", "partstream.W019", "partstream.W023"}


def test_migrations__are_those_of_the_models(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
