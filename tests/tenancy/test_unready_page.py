"""The page of a tenant that can't be used names the reason, and the command that helps."""

import html
import logging

import pytest
from django.db import connections
from django.test import Client

from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.provision import provision_noted
from do_bridge.tenancy.schema.errors import TenantElsewhere
from do_bridge.tenancy.tenants import lookup
from tests.tenancy import newer_code
from tests.tenancy.cut_off import cut_off
from tests.tenancy.extra_schemas import GONE, leave_app
from tests.tenancy.newer_code import PYTHON, RATING

SECRET = "a value of somebody's row"


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


def page(slug):
    response = Client().get(f"/t/{slug}/")
    assert response.status_code == 503
    text = html.unescape(response.content.decode())
    assert SECRET not in text
    assert "Nothing is lost" not in text
    return text


@pytest.mark.parametrize(
    ("operation", "command"),
    [
        ("delete", "manage.py tenant_delete {}"),
        ("load", "manage.py tenant_load {} FILE"),
        ("copy", "manage.py tenant_copy SOURCE {}"),
        ("restore", "manage.py tenant_load {} FILE --replace"),
        ("rewind", "manage.py tenant_restore {} --bookmark BOOKMARK"),
    ],
)
def test_the_page_of_an_interrupted_operation_names_its_command_and_not_migrate(acme, operation, command):
    provision_noted(acme.slug)
    cut_off(acme.slug, operation, error=SECRET)
    lookup.forget()
    text = page(acme.slug)
    assert f"'{operation}' has not finished" in text
    assert f"run `{command.format(acme.slug)}` again" in text
    assert "migrate" not in text


def test_the_page_of_a_tenant_behind_names_migrate_for_this_tenant(acme, newer, settings):
    provision_noted(acme.slug)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    with newer(RATING):
        assert f"Run `manage.py migrate --database tenant/{acme.slug}`" in page(acme.slug)


def test_the_page_of_a_failed_migration_refers_to_the_log_and_hides_the_error(acme, newer):
    def fail(alias):
        raise RuntimeError(SECRET)

    provision_noted(acme.slug)
    with newer(RATING, PYTHON):
        newer_code.heard.append(fail)
        for _ in range(2):
            text = page(acme.slug)
            assert "could not be migrated. The log contains the reason." in text
            assert f"Run `manage.py migrate --database tenant/{acme.slug}`" in text


def test_the_page_of_a_busy_tenant_names_the_operation(acme, newer, settings):
    provision_noted(acme.slug)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.2}
    cut_off(acme.slug, "move", seconds=60)
    with newer(RATING):
        text = page(acme.slug)
    assert "another process runs 'move' on it. Wait until that has ended" in text


def test_the_page_of_tables_without_a_tenant_names_both_ways(acme):
    provision_noted(acme.slug)
    ledger.forget(acme.slug)
    # As a deletion notes it: the object's tables are older than this.
    cut_off(acme.slug, "create")
    lookup.forget()
    text = page(acme.slug)
    assert f"manage.py create_tenant --adopt {acme.slug}" in text
    assert f"manage.py tenant_delete {acme.slug}" in text


def test_the_page_of_a_tenant_with_newer_migrations_says_to_deploy(acme, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "REQUIRE_EXACT_SCHEMA": True}
    leave_app(acme.slug, GONE)
    connections[tenant_alias(acme.slug)].close()
    assert "has migrations that this code does not have. Deploy the code" in page(acme.slug)


def test_a_tenant_elsewhere_is_moved_by_a_command_that_works_as_typed():
    error = TenantElsewhere("acme", "eu", "none")
    assert "`manage.py tenant_move acme --jurisdiction none`" in error.remedy
    assert str(error) == f"{error.reason} {error.remedy}"
