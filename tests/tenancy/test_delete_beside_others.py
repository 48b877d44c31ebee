"""tenant_delete beside creations, loads and migrations of the same slug, and after a deletion cut off."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.management.commands import migrate
from do_bridge.members.syncing import add_member
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import creation, deletion, ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant, first_members
from do_bridge.tenancy.lifecycle.emptying import erase_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.outside import in_thread
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.lifecycle.transfer import load
from tests.tenancy.cut_off import cut_off
from tests.tenancy.deleting import begun, delete, everything_in, tables_of


@pytest.fixture
def as_the_rows_went(monkeypatch):
    """Lets a test do something between the deletion's last two steps."""

    def do(work):
        forget = deletion.lookup.forget

        def forgetting(slug=None):
            known = forget(slug)
            if slug is not None:
                monkeypatch.undo()
                work(slug)
            return known

        monkeypatch.setattr(deletion.lookup, "forget", forgetting)

    return do


def test_a_tenant_created_anew_just_as_the_rows_went_keeps_what_it_has(lived_in, author, as_the_rows_went):
    def create(slug):
        create_tenant(slug, "Anew", [author])
        Post.objects.using(tenant_alias(slug)).create(title="New", content="-", user_id=author.pk)

    as_the_rows_went(create)
    delete(lived_in.slug, yes=True)
    assert Tenant.objects.get(slug=lived_in.slug).name == "Anew"
    assert Post.objects.using(tenant_alias(lived_in.slug)).get().title == "New"


def test_a_creation_between_its_two_trips_just_as_the_rows_went_keeps_its_first_members(
    lived_in, author, as_the_rows_went
):
    as_the_rows_went(lambda slug: provision(slug, first_members([author]).copies, lease=begun(slug)))
    delete(lived_in.slug, yes=True)
    assert User.objects.using(tenant_alias(lived_in.slug)).get().username == "ada"


def test_what_a_late_use_made_just_as_the_rows_went_is_dropped(lived_in, as_the_rows_went):
    late = begun(lived_in.slug, "migrate")
    as_the_rows_went(lambda slug: provision(slug, lease=late))
    delete(lived_in.slug, yes=True)
    assert tables_of(lived_in.slug) == []


@pytest.fixture
def half_deleted(lived_in):
    """A tenant whose deletion was cut off before its rows went."""
    erase_tenant(cut_off(lived_in.slug, "delete")[lived_in.slug])
    return lived_in.slug


def test_a_half_deleted_tenant_is_not_created_again_with_its_former_members(
    half_deleted, tmp_path, unregistered
):
    file = tmp_path / "tenants.csv"
    file.write_text(f"{half_deleted}\n{unregistered}\n")
    with pytest.raises(CommandError, match="was interrupted"):
        call_command("create_tenant", half_deleted, verbosity=0)
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {half_deleted}"):
        call_command("create_tenants", file, stdout=StringIO(), stderr=StringIO())
    assert tables_of(half_deleted) == []
    assert Tenant.objects.filter(slug=unregistered).exists() and "blog_post" in tables_of(unregistered)
    delete(half_deleted, yes=True)
    call_command("create_tenant", half_deleted, verbosity=0)
    assert not Membership.objects.exists()


@pytest.mark.parametrize("adopt", [False, True])
def test_a_creation_in_the_middle_of_a_deletion_waits_and_leaves_nothing(
    lived_in, monkeypatch, settings, adopt
):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.5}
    monkeypatch.setattr(leases, "MARGIN", 0.2)

    def emptied(lease):
        monkeypatch.setattr(deletion, "erase_tenant", erase_tenant)
        erase_tenant(lease)
        with pytest.raises(leases.Held, match="another process runs 'delete' on it"):
            create_tenant(lease.slug, adopt=adopt)
        assert tables_of(lease.slug) == []

    monkeypatch.setattr(deletion, "erase_tenant", emptied)
    delete(lived_in.slug, yes=True)
    assert tables_of(lived_in.slug) == []
    assert not Tenant.objects.filter(slug=lived_in.slug).exists()


@pytest.mark.parametrize("adopt", [False, True])
def test_a_creation_that_a_deletion_overtakes_leaves_nothing_and_can_be_run_again(
    lived_in, author, monkeypatch, no_renewals, adopt
):
    delete(lived_in.slug, yes=True)
    fill = creation._fill

    def slow(lease, *args):
        delete(lease.slug, yes=True)
        return fill(lease, *args)

    with monkeypatch.context() as patched:
        patched.setattr(creation, "_fill", slow)
        with pytest.raises(leases.LeaseLost, match="took over tenant"):
            create_tenant(lived_in.slug, "", [author], adopt=adopt)
    # What it wrote is older than the deletion, so it goes.
    assert everything_in(lived_in.slug) == []
    assert not Tenant.objects.filter(slug=lived_in.slug).exists()
    assert ledger.states([lived_in.slug])[lived_in.slug].state == ledger.DELETED
    assert create_tenant(lived_in.slug, "", [author])[1:] == (True, "provisioned")
    assert User.objects.using(tenant_alias(lived_in.slug)).get().username == "ada"


def test_a_half_deleted_tenant_is_not_loaded_with_its_former_members(half_deleted, zeta, tmp_path):
    call_command("tenant_dump", zeta.slug, tmp_path / "zeta.sqlite3", verbosity=0)
    with pytest.raises(CommandError, match="run `manage.py tenant_delete .*` again"):
        call_command("tenant_load", half_deleted, tmp_path / "zeta.sqlite3", verbosity=0)
    assert tables_of(half_deleted) == []


def test_a_load_that_a_deletion_overtakes_leaves_the_ledger_alone(
    unregistered, zeta, tmp_path, monkeypatch, no_renewals
):
    call_command("tenant_dump", zeta.slug, tmp_path / "zeta.sqlite3", verbosity=0)

    def on_the_way(alias):
        delete(unregistered, yes=True)

    monkeypatch.setattr(load, "copy_content_types", on_the_way)
    with pytest.raises(CommandError, match="was not loaded"):
        call_command("tenant_load", unregistered, tmp_path / "zeta.sqlite3", verbosity=0)
    assert everything_in(unregistered) == []
    assert ledger.states([unregistered])[unregistered].state == ledger.DELETED
    assert not Tenant.objects.filter(slug=unregistered).exists()


def test_a_load_that_a_deletion_overtakes_at_its_end_makes_no_erase_tenant(
    unregistered, zeta, tmp_path, monkeypatch, no_renewals
):
    call_command("tenant_dump", zeta.slug, tmp_path / "zeta.sqlite3", verbosity=0)
    fill = load._fill

    def slow(*args):
        fill(*args)
        delete(unregistered, yes=True)

    monkeypatch.setattr(load, "_fill", slow)
    with pytest.raises(CommandError, match="took over tenant"):
        call_command("tenant_load", unregistered, tmp_path / "zeta.sqlite3", verbosity=0)
    assert not Tenant.objects.filter(slug=unregistered).exists()
    assert tables_of(unregistered) == []
    assert ledger.states([unregistered])[unregistered].state == ledger.DELETED


def test_a_migration_of_one_tenant_that_a_deletion_overtakes_makes_nothing_anew(
    lived_in, monkeypatch, no_renewals
):
    command = migrate.Command()
    command.is_typed = True
    bring = command._migrate_alias

    def slow(alias, options):
        delete(lived_in.slug, yes=True)
        bring(alias, options)

    monkeypatch.setattr(command, "_migrate_alias", slow)
    with pytest.raises(leases.LeaseLost, match="took over tenant"):
        call_command(command, database=tenant_alias(lived_in.slug), verbosity=0)
    assert tables_of(lived_in.slug) == []
    assert ledger.states([lived_in.slug])[lived_in.slug].state == ledger.DELETED


def test_a_tenant_registered_by_hand_just_as_the_rows_went_keeps_what_it_has(
    lived_in, author, as_the_rows_went
):
    def register(slug):
        add_member(author, Tenant.objects.create(slug=slug))

    as_the_rows_went(register)
    delete(lived_in.slug, yes=True)
    assert "accounts_user" in tables_of(lived_in.slug)


def test_what_a_creation_left_behind_a_deletion_is_in_nobodys_way(lived_in, tmp_path):
    slug, file = lived_in.slug, tmp_path / "it.sqlite3"
    call_command("tenant_dump", slug, file, verbosity=0)
    late = begun(slug)
    delete(slug, yes=True)
    provision(slug, lease=late)
    call_command("tenant_load", slug, file, verbosity=0)
    assert Post.objects.using(tenant_alias(slug)).exists()


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_no_hosts_clock_decides_what_is_left_over(lived_in, author, monkeypatch, hours):
    late = begun(lived_in.slug)
    # The clock of whoever deletes is another one than that of whoever creates.
    monkeypatch.setattr(ledger, "now", lambda: timezone.now() + timedelta(hours=hours))
    delete(lived_in.slug, yes=True)
    provision(lived_in.slug, lease=late)
    assert create_tenant(lived_in.slug, "", [author])[1:] == (True, "provisioned")
    assert User.objects.using(tenant_alias(lived_in.slug)).get().username == "ada"


def test_a_slug_that_was_deleted_is_taken_over_where_it_is_asked_for(lived_in, author):
    late = begun(lived_in.slug)
    delete(lived_in.slug, yes=True)
    provision(lived_in.slug, lease=late)
    assert create_tenant(lived_in.slug, "", [author], adopt=True)[1:] == (True, "migrated")
    assert ledger.states(lived_in.slug)[lived_in.slug].state == ledger.READY


def test_a_creation_that_a_deletion_overtakes_names_it_and_not_a_missing_table(lived_in, author, monkeypatch):
    """The tenant is new, so its creation has ended for others as soon as the object is its work."""
    slug = lived_in.slug
    delete(slug, yes=True)
    create_tenant(slug, "Anew", [author])

    def overtaken(lease):
        in_thread(deletion.delete_tenant, slug)
        # What it reads between the erasure and the end of its lease.
        raise OperationalError("no such table: django_migrations")

    monkeypatch.setattr(creation, "ready", overtaken)
    with pytest.raises(leases.LeaseLost, match=f"Another operation took over tenant '{slug}'"):
        create_tenant(slug, "Anew", [author])
    assert not Tenant.objects.filter(slug=slug).exists()
    assert not tables_of(slug)
