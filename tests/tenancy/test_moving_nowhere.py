"""A jurisdiction that the runtime does not have: the local runtime has none."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.testing import empty_object, unique_slug
from tests.lifecycle.conftest import tenants_on
from tests.tenancy.moves import move


@pytest.fixture
def slug(db, own_worker):
    """A tenant on a relay whose runtime has no jurisdictions."""
    with tenants_on(own_worker(jurisdictions=False).start()):
        slug = unique_slug("here")
        create_tenant(slug)
        yield slug
        empty_object(tenant_alias(slug))


def test_a_move_there_is_refused_before_anything_is_done(slug):
    before = leases.look(slug)
    with pytest.raises(CommandError, match="A local relay has no jurisdictions: leave out --jurisdiction"):
        move(slug, "eu")
    assert leases.look(slug) == before
    assert connections[tenant_alias(slug)].introspection.table_names()


def test_what_was_noted_there_stops_no_later_operation(slug):
    TenantState.objects.filter(slug=slug).update(left_behind="eu")
    move(slug, "none")
    assert leases.look(slug).left_behind is None
    TenantState.objects.filter(slug=slug).update(left_behind="eu")
    call_command("tenant_delete", slug, "--yes", verbosity=0)
    assert leases.look(slug).state == ledger.DELETED
