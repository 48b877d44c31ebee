"""Tenants are neither made nor deleted in a block of D1 that could be rolled back without their objects."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from accounts.models import Tenant
from do_bridge.backends.d1.base import OptimisticDatabaseWrapper
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.deletion import delete_tenant
from do_bridge.tenancy.lifecycle.history.rewind import rewind_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.provision import has_tables, provision, provision_noted
from do_bridge.tenancy.lifecycle.transfer.load import load_tenant
from do_bridge.tenancy.lifecycle.transfer.moving import move_tenant
from do_bridge.tenancy.places import Place
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.cut_off import cut_off

REFUSED = "inside atomic\\(\\) on 'default', .* Nothing was done. .*transaction.on_commit\\(\\)"


@pytest.fixture
def optimistic(db):
    """D1 with optimistic transactions as this thread's shared database."""
    before = connections["default"]
    options = before.settings_dict["OPTIONS"] | {"transactions": "optimistic"}
    settings = before.settings_dict | {"OPTIONS": options}
    connections["default"] = connection = OptimisticDatabaseWrapper(settings, "default")
    yield connection
    connection.close()
    connections["default"] = before


@pytest.fixture
def slug(db):
    slug = unique_slug("block")
    yield slug
    empty_object(tenant_alias(slug))
    tenant_databases().release(tenant_alias(slug))


class Failed(Exception):
    """The block fails."""


@pytest.mark.usefixtures("optimistic")
def test_a_tenant_is_not_created_in_a_block_that_could_be_rolled_back(slug):
    with (
        pytest.raises(TransactionManagementError, match=f"'{slug}' can't be created {REFUSED}"),
        transaction.atomic(),
    ):
        create_tenant(slug)
    assert not Tenant.objects.filter(slug=slug).exists()
    assert not has_tables(slug)
    assert leases.look(slug).fence == 0
    with pytest.raises(CommandError, match=REFUSED), transaction.atomic():
        call_command("create_tenant", slug, verbosity=0)
    # The block of another database has nothing to do with it.
    with transaction.atomic(using=tenant_alias(slug)):
        assert create_tenant(slug)[1]


@pytest.mark.usefixtures("optimistic")
def test_a_tenant_is_created_when_the_block_is_certain(slug):
    with pytest.raises(Failed, match="on purpose"), transaction.atomic():
        transaction.on_commit(lambda: create_tenant(slug))
        raise Failed("on purpose")
    assert not has_tables(slug)
    with transaction.atomic():
        transaction.on_commit(lambda: create_tenant(slug))
        assert not has_tables(slug)
    assert lookup.get(slug).slug == slug


@pytest.mark.usefixtures("optimistic")
def test_no_operation_on_a_tenant_begins_in_such_a_block(slug, tmp_path):
    file, listed = tmp_path / "it.sqlite3", tmp_path / "listed.csv"
    create_tenant(slug)
    call_command("tenant_dump", slug, str(file), verbosity=0)
    listed.write_text(unique_slug("listed"))
    ledger.all_states().filter(slug=slug).update(fingerprint="0" * 64)
    for work in (
        lambda: delete_tenant(slug),
        lambda: load_tenant(slug, file, replaces=True),
        lambda: call_command("tenant_copy", slug, unique_slug("copy"), verbosity=0),
        lambda: provision_noted(slug),
        lambda: move_tenant(slug, Place()),
        lambda: rewind_tenant(slug, "00000001-0"),
        lambda: call_command("create_tenants", str(listed), verbosity=0),
        lambda: call_command("migrate", database=tenant_alias(slug), verbosity=0),
        lambda: call_command("migrate", database="tenant", tenants=[slug], verbosity=0),
    ):
        with pytest.raises((TransactionManagementError, CommandError), match=REFUSED), transaction.atomic():
            work()
    assert has_tables(slug)
    assert lookup.get(slug).slug == slug
    assert load_tenant(slug, file, replaces=True, dry_run=True).tables


def test_a_block_that_rolls_nothing_back_is_no_matter(slug):
    with pytest.raises(Failed, match="on purpose"), transaction.atomic():
        create_tenant(slug)
        raise Failed("on purpose")
    assert lookup.get(slug).slug == slug
    with transaction.atomic():
        delete_tenant(slug)
    assert not has_tables(slug)


@pytest.mark.usefixtures("optimistic")
def test_the_block_of_a_test_case_does_not_count(slug):
    block = transaction.atomic()
    block._from_testcase = True
    with pytest.raises(Failed, match="on purpose"), block:
        assert create_tenant(slug)[1]
        raise Failed("on purpose")
    assert not Tenant.objects.filter(slug=slug).exists()


def test_a_first_use_in_a_block_that_fails_leaves_a_tenant_that_can_be_used(slug, optimistic):
    late = cut_off(slug, "migrate")[slug]
    delete_tenant(slug)
    provision(slug, lease=late)
    Tenant.objects.create(slug=slug, name="By hand")
    with pytest.raises(Failed, match="on purpose"), transaction.atomic():
        # What an older lease has left in the object is replaced.
        assert lookup.get(slug).slug == slug
        raise Failed("on purpose")
    assert leases.look(slug).state == ledger.READY
    lookup.forget()
    assert lookup.get(slug).slug == slug
