"""A model for tenants whose slugs are in a column of another name."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections

from accounts.models import Tenant, User
from do_bridge.members import triggers
from do_bridge.members.models import DirtyFlag
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import keeping
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.states import State
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug


@pytest.fixture
def slugs(db, author):
    """Two free slugs; the column is "handle" during the test."""
    field, made = Tenant._meta.get_field("slug"), [unique_slug("column"), unique_slug("column")]

    def rename(name):
        keeping.drop_triggers("default")
        triggers.drop_triggers()
        with connections["default"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE accounts_tenant RENAME COLUMN {field.column} TO {name}")
        field.column = name
        triggers.make_triggers()
        keeping.make_triggers("default")

    rename("handle")
    yield made
    for slug in made:
        empty_object(tenant_alias(slug))
    rename("slug")


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def names(slug):
    return list(User.objects.using(tenant_alias(slug)).values_list("name", flat=True))


def test_a_tenant_lives_and_its_copies_follow(slugs, author):
    slug, other = slugs
    create_tenant(slug, "One", [author])
    User.objects.update(name="Renamed")
    assert list(DirtyFlag.objects.values_list("slug", flat=True)) == [slug]
    assert lookup.get(slug) is not None
    assert names(slug) == ["Renamed"]
    run("create_tenant", slug, "--name", "Two")
    run("tenant_copy", slug, other)
    assert names(other) == ["Renamed"]
    assert slug in run("list_tenants")
    Tenant.objects.create(slug=f"{slug}-by-hand", name="By hand")
    assert leases.look(f"{slug}-by-hand").state == State.UNUSED
    for each in slugs:
        run("tenant_delete", each, "--yes")
        assert leases.look(each).state == State.DELETED
