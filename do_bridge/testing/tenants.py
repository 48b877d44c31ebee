"""Tenants that live for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from django.db import connections
from django.test.testcases import DatabaseOperationForbidden

from do_bridge.backends.environment import in_test_environment
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import NO_FENCE, erase
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.slugs import alias_slug, tenant_alias
from do_bridge.tenancy.tenants import lookup


def unique_slug(prefix: str = "t") -> str:
    """Return a slug that no other test uses."""
    return f"{prefix}-{uuid4().hex[:12]}"


def _refuse_outside_tests(name: str, why: str) -> None:
    if not in_test_environment():
        raise RuntimeError(
            f"{name} works only in a test run, because {why}. Run it with `manage.py test` or pytest."
        )


@contextmanager
def make_test_tenant(slug: str | None = None, **fields: Any) -> Iterator[Any]:
    """Make a tenant with its row and its object, ready for use; yields the row.

    `fields` are values for the row. Afterwards the object is emptied; the row goes with what else the test
    wrote to D1.
    """
    _refuse_outside_tests("make_test_tenant()", "it empties the object afterwards")
    slug = slug or unique_slug()
    try:
        row, _, _ = create_tenant(slug, fields.pop("name", slug), fields=fields)
        yield row
    finally:
        empty_object(tenant_alias(slug))
        lookup.forget()


@contextmanager
def provision_test_tenant(slug: str | None = None) -> Iterator[str]:
    """Give a test a tenant's object of its own, and empty it afterwards.

    Yields the slug. The object is ready for use. The tenant has no row in D1: make one if the code under test
    looks it up. Needs the shared database (pytest.mark.django_db), because content types are copied from
    there.
    """
    _refuse_outside_tests("provision_test_tenant()", "it empties the object afterwards")
    slug = slug or unique_slug()
    # The lease stays, so that the tables are known to be the tenant's once the test makes its row.
    lease = leases.take_many([leases.look(slug)], Operation.MIGRATE, seconds=0)[slug]
    provision(slug, lease=lease)
    try:
        yield slug
    finally:
        empty_object(tenant_alias(slug))


def empty_object(alias: str) -> None:
    """Erase the database `alias`; refuse outside a test run.

    It takes one round trip. The ledger's record of the object is removed, so that a tenant's row may be
    deleted. If the test may use the shared database, that takes two more round trips.
    """
    _refuse_outside_tests("empty_object()", "it deletes all data")
    connection = connections[alias]
    with unchecked(alias), connection.wrap_database_errors:
        connection.ensure_connection()
        erase(connection.connection, NO_FENCE)
    connection.close()
    if (slug := alias_slug(alias)) is not None:
        with suppress(DatabaseOperationForbidden):
            ledger.emptied(slug)
