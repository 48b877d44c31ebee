"""tenant_delete: the object's content, the memberships and the row go; the slug is free afterwards."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from io import StringIO
from threading import Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, models
from django.utils import timezone

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.management.commands import migrate
from do_bridge.members.models import DirtyFlag
from do_bridge.members.syncing import add_member
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import creation, deletion, dump, leases, ledger, load
from do_bridge.tenancy.lifecycle.creation import create_tenant, first_members
from do_bridge.tenancy.lifecycle.emptying import erase_tenant
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.errors import SchemaMismatch
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.cut_off import cut_off


def delete(slug, **options):
    out = StringIO()
    call_command("tenant_delete", slug, stdout=out, stderr=out, **options)
    return out.getvalue()


def everything_in(slug):
    """The names in the object, the runtime's own among them."""
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [("SELECT name FROM sqlite_master", None)])
    return [name for (name,) in result.rows if not name.startswith("__miniflare")]


def tables_of(slug):
    query = (
        "SELECT name FROM sqlite_master WHERE name NOT GLOB '_cf_*' AND name NOT GLOB '__miniflare*' "
        "AND name <> 'sqlite_sequence'"
    )
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [(query, None)])
    return [name for (name,) in result.rows]


@pytest.fixture
def lived_in(acme, author):
    """A tenant with a member and a post."""
    add_member(author, acme)
    with tenant_context(acme):
        Post.objects.create(title="Kept?", content="-", user_id=author.pk)
    return acme


def test_everything_of_the_tenant_is_gone_and_the_ledger_says_so(lived_in, zeta, author):
    add_member(author, zeta)
    assert f"Tenant {lived_in.slug} was deleted" in delete(lived_in.slug, yes=True)
    assert tables_of(lived_in.slug) == []
    assert list(Tenant.objects.all()) == [zeta]
    assert [membership.tenant for membership in Membership.objects.all()] == [zeta]
    assert not DirtyFlag.objects.exists()
    assert ledger.states([lived_in.slug])[lived_in.slug].state == ledger.DELETED


@pytest.mark.parametrize("dumped", [False, True])
def test_the_objects_storage_is_given_back_with_the_runtimes_own_tables(lived_in, tmp_path, dumped):
    assert "_cf_KV" in everything_in(lived_in.slug)
    delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3" if dumped else None)
    assert everything_in(lived_in.slug) == []


@pytest.mark.parametrize("dumped", [False, True])
def test_a_deletion_that_ends_before_the_storage_is_given_back_can_be_run_again(
    lived_in, tmp_path, monkeypatch, dumped
):
    def lost(transport, database, deadline, *, fence=None):
        raise driver.OperationalError("the relay could not be reached")

    with monkeypatch.context() as patched, pytest.raises(CommandError, match="could not be reached"):
        patched.setattr(RelayTransport, "erase", lost)
        delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3" if dumped else None)
    assert Tenant.objects.filter(pk=lived_in.pk).exists()
    assert ledger.states([lived_in.slug])[lived_in.slug].status == "delete failed"
    delete(lived_in.slug, yes=True)
    assert not Tenant.objects.filter(pk=lived_in.pk).exists()
    assert everything_in(lived_in.slug) == []


def test_the_slug_can_be_created_again_and_knows_nothing_of_before(lived_in, author):
    delete(lived_in.slug, yes=True)
    call_command("create_tenant", lived_in.slug, verbosity=0)
    with tenant_context(lived_in.slug):
        assert not Post.objects.exists()
    assert not Membership.objects.filter(tenant__slug=lived_in.slug).exists()


def test_the_slug_has_to_be_typed(lived_in, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt: "yes")
    with pytest.raises(CommandError, match="Nothing was deleted"):
        delete(lived_in.slug)
    assert Tenant.objects.filter(pk=lived_in.pk).exists() and "blog_post" in tables_of(lived_in.slug)
    monkeypatch.setattr("builtins.input", lambda prompt: lived_in.slug)
    delete(lived_in.slug)
    assert tables_of(lived_in.slug) == []


def test_a_dump_is_written_first_and_nothing_is_deleted_where_it_cannot_be(lived_in, tmp_path):
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(CommandError, match="already exists"):
        delete(lived_in.slug, yes=True, dump=taken)
    assert "blog_post" in tables_of(lived_in.slug)
    delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3")
    with closing(sqlite3.connect(tmp_path / "last.sqlite3")) as file:
        assert file.execute("SELECT title FROM blog_post").fetchall() == [("Kept?",)]
    assert tables_of(lived_in.slug) == []


def test_what_is_written_behind_the_dump_and_before_the_deletion_is_refused(
    lived_in, author, tmp_path, monkeypatch
):
    name, refused = dump._give_name, []

    def write():
        try:
            Post.objects.using(tenant_alias(lived_in.slug)).create(
                title="Late", content="-", user_id=author.pk
            )
        except SchemaMismatch as error:
            refused.append(error)
        finally:
            connections.close_all()

    writer = Thread(target=write)

    def named(temporary, path):
        name(temporary, path)
        writer.start()
        writer.join(1)  # where nothing makes it wait

    monkeypatch.setattr(dump, "_give_name", named)
    delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3")
    writer.join(30)
    assert len(refused) == 1
    assert tables_of(lived_in.slug) == []


def test_a_deletion_that_fails_behind_its_dump_says_that_the_dump_is_whole(lived_in, tmp_path, monkeypatch):
    def unreachable(lease, connection):
        raise DatabaseError("the object cannot be reached")

    with monkeypatch.context() as patched, pytest.raises(CommandError, match="was not deleted: the object"):
        patched.setattr(deletion, "erase_held_tenant", unreachable)
        delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3")
    assert "blog_post" in tables_of(lived_in.slug)
    delete(lived_in.slug, yes=True, dump=tmp_path / "again.sqlite3")
    assert tables_of(lived_in.slug) == []


def test_a_deleted_tenant_can_be_loaded_again_from_its_dump(lived_in, tmp_path):
    delete(lived_in.slug, yes=True, dump=tmp_path / "last.sqlite3")
    call_command("tenant_load", lived_in.slug, tmp_path / "last.sqlite3", verbosity=0)
    with tenant_context(lived_in.slug):
        post = Post.objects.get()
        assert (post.title, post.user.username) == ("Kept?", "ada")
        # Nobody is a member of the tenant until D1 says so.
        assert post.user.is_active is False


def test_a_deletion_that_fails_can_be_run_again(lived_in, monkeypatch):
    def unreachable(lease):
        raise DatabaseError("the object cannot be reached")

    monkeypatch.setattr(deletion, "erase_tenant", unreachable)
    with pytest.raises(CommandError, match="cannot be reached. Run the command again"):
        delete(lived_in.slug, yes=True)
    state = ledger.states([lived_in.slug])[lived_in.slug]
    assert (state.status, state.error) == ("delete failed", "DatabaseError: the object cannot be reached")
    assert Tenant.objects.filter(pk=lived_in.pk).exists()
    monkeypatch.setattr(deletion, "erase_tenant", erase_tenant)
    delete(lived_in.slug, yes=True)
    assert tables_of(lived_in.slug) == []


def test_a_deletion_killed_before_its_rows_went_is_finished_by_the_next(lived_in):
    erase_tenant(cut_off(lived_in.slug, "delete")[lived_in.slug])
    delete(lived_in.slug, yes=True)
    assert not Tenant.objects.filter(pk=lived_in.pk).exists()
    assert ledger.states([lived_in.slug])[lived_in.slug].state == ledger.DELETED


def test_rows_in_the_directory_go_in_one_batch_or_not_at_all(lived_in, monkeypatch):
    def broken():
        raise DatabaseError("the ledger cannot be written")

    monkeypatch.setattr(deletion.ledger, "stamp", broken)
    with pytest.raises(CommandError, match="the ledger cannot be written"):
        delete(lived_in.slug, yes=True)
    assert Membership.objects.filter(tenant=lived_in).exists()
    assert Tenant.objects.filter(pk=lived_in.pk).exists()


def test_a_tenant_that_is_not_there_cannot_be_deleted(db):
    for slug in ("nobody", "../acme", "ACME"):
        with pytest.raises(CommandError, match="[Tt]enant"):
            delete(slug, yes=True)


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


def begun(slug, operation="create"):
    """Return the lease of an operation that is cut off before it has reached the object."""
    return cut_off(slug, operation)[slug]


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


def test_a_tenant_whose_row_may_not_go_keeps_all_that_it_holds(lived_in, monkeypatch):
    monkeypatch.setattr(Membership._meta.get_field("tenant").remote_field, "on_delete", models.PROTECT)
    with pytest.raises(CommandError, match="protected foreign keys: 'Membership.tenant'"):
        delete(lived_in.slug, yes=True)
    assert Post.objects.using(tenant_alias(lived_in.slug)).get().title == "Kept?"
    assert ledger.states([lived_in.slug])[lived_in.slug].operation != "delete"


@pytest.fixture
def other(db):
    """A slug without a tenant; whatever a test makes of it is emptied."""
    slug = unique_slug("other")
    yield slug
    empty_object(tenant_alias(slug))
    ledger.forget(slug)


@pytest.fixture
def half_deleted(lived_in):
    """A tenant whose deletion was cut off before its rows went."""
    erase_tenant(cut_off(lived_in.slug, "delete")[lived_in.slug])
    return lived_in.slug


def test_a_half_deleted_tenant_is_not_created_again_with_its_former_members(half_deleted, tmp_path, other):
    file = tmp_path / "tenants.csv"
    file.write_text(f"{half_deleted}\n{other}\n")
    with pytest.raises(CommandError, match="was interrupted"):
        call_command("create_tenant", half_deleted, verbosity=0)
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {half_deleted}"):
        call_command("create_tenants", file, stdout=StringIO(), stderr=StringIO())
    assert tables_of(half_deleted) == []
    assert Tenant.objects.filter(slug=other).exists() and "blog_post" in tables_of(other)
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
    with pytest.raises(CommandError, match="Run tenant_delete again"):
        call_command("tenant_load", half_deleted, tmp_path / "zeta.sqlite3", verbosity=0)
    assert tables_of(half_deleted) == []


def test_a_load_that_a_deletion_overtakes_leaves_the_ledger_alone(
    other, zeta, tmp_path, monkeypatch, no_renewals
):
    call_command("tenant_dump", zeta.slug, tmp_path / "zeta.sqlite3", verbosity=0)

    def on_the_way(alias):
        delete(other, yes=True)

    monkeypatch.setattr(load, "copy_content_types", on_the_way)
    with pytest.raises(CommandError, match="was not loaded"):
        call_command("tenant_load", other, tmp_path / "zeta.sqlite3", verbosity=0)
    assert everything_in(other) == []
    assert ledger.states([other])[other].state == ledger.DELETED
    assert not Tenant.objects.filter(slug=other).exists()


def test_a_load_that_a_deletion_overtakes_at_its_end_makes_no_erase_tenant(
    other, zeta, tmp_path, monkeypatch, no_renewals
):
    call_command("tenant_dump", zeta.slug, tmp_path / "zeta.sqlite3", verbosity=0)
    fill = load._fill

    def slow(*args):
        fill(*args)
        delete(other, yes=True)

    monkeypatch.setattr(load, "_fill", slow)
    with pytest.raises(CommandError, match="took over tenant"):
        call_command("tenant_load", other, tmp_path / "zeta.sqlite3", verbosity=0)
    assert not Tenant.objects.filter(slug=other).exists()
    assert tables_of(other) == []
    assert ledger.states([other])[other].state == ledger.DELETED


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


def test_tables_that_no_command_accepts_can_be_deleted_and_the_slug_is_free(other):
    # As a deletion beside a creation left them: a migration fails at the first, and nobody has a row.
    statements = [
        "CREATE TABLE django_content_type (id INTEGER PRIMARY KEY)",
        "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app, name, applied)",
    ]
    with unchecked(tenant_alias(other)):
        run_batch(connections[tenant_alias(other)], [(sql, None) for sql in statements])
    with pytest.raises(CommandError, match=f"or delete them with `manage.py tenant_delete {other}`"):
        call_command("create_tenant", other, verbosity=0)
    with pytest.raises(CommandError, match="already exists"):
        call_command("create_tenant", other, adopt=True, verbosity=0)
    delete(other, yes=True)
    assert tables_of(other) == []
    create_tenant(other)


def test_what_is_no_tenants_is_deleted_after_a_question_that_says_so(other, monkeypatch):
    provision(other)
    asked = StringIO()
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("tenant_delete", other, stdout=asked)
    assert f"in the database of '{other}', which is not a tenant" in asked.getvalue()
    assert "blog_post" in tables_of(other)


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


@pytest.fixture
def relay_without_fences(monkeypatch):
    """An older relay, which erases no object that has a table."""
    erased = RelayTransport.erase
    monkeypatch.setattr(
        RelayTransport,
        "erase",
        lambda transport, database, deadline, fence=None: erased(transport, database, deadline),
    )


@pytest.mark.usefixtures("relay_without_fences")
def test_tables_that_somebody_makes_while_an_object_is_emptied_go_as_well(lived_in, monkeypatch):
    batch, made = driver.Connection.execute_batch, []

    def make():
        with connections[tenant_alias(lived_in.slug)].cursor() as cursor:
            cursor.execute("CREATE TABLE late (a)")
        connections.close_all()

    def dropping(connection, statements):
        if not made and any(sql.startswith("DROP TABLE") for sql, _ in statements):
            made.append(Thread(target=make))
            made[0].start()
            made[0].join()
        return batch(connection, statements)

    monkeypatch.setattr(driver.Connection, "execute_batch", dropping)
    erase_tenant(cut_off(lived_in.slug, "delete")[lived_in.slug])
    assert made
    assert tables_of(lived_in.slug) == []


@pytest.mark.usefixtures("relay_without_fences")
def test_a_relay_of_before_deletes_the_tenant_in_more_round_trips(lived_in):
    delete(lived_in.slug, yes=True)
    assert everything_in(lived_in.slug) == []
