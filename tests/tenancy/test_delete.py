"""tenant_delete: the object's content, the memberships and the row go; the slug is free afterwards."""

import sqlite3
from contextlib import closing
from io import StringIO
from threading import Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, models

from accounts.models import Membership, Tenant
from blog.models import Post
from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.members.models import DirtyFlag
from do_bridge.members.syncing import add_member
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import deletion, ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.emptying import erase_tenant
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.lifecycle.transfer import dump
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.errors import SchemaMismatch
from tests.tenancy.cut_off import cut_off
from tests.tenancy.deleting import delete, everything_in, tables_of


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


def test_a_tenant_whose_row_may_not_go_keeps_all_that_it_holds(lived_in, monkeypatch):
    monkeypatch.setattr(Membership._meta.get_field("tenant").remote_field, "on_delete", models.PROTECT)
    with pytest.raises(CommandError, match="protected foreign keys: 'Membership.tenant'"):
        delete(lived_in.slug, yes=True)
    assert Post.objects.using(tenant_alias(lived_in.slug)).get().title == "Kept?"
    assert ledger.states([lived_in.slug])[lived_in.slug].operation != "delete"


def test_tables_that_no_command_accepts_can_be_deleted_and_the_slug_is_free(unregistered):
    # As a deletion beside a creation left them: a migration fails at the first, and nobody has a row.
    statements = [
        "CREATE TABLE django_content_type (id INTEGER PRIMARY KEY)",
        "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app, name, applied)",
    ]
    with unchecked(tenant_alias(unregistered)):
        run_batch(connections[tenant_alias(unregistered)], [(sql, None) for sql in statements])
    with pytest.raises(CommandError, match=f"or delete them with `manage.py tenant_delete {unregistered}`"):
        call_command("create_tenant", unregistered, verbosity=0)
    with pytest.raises(CommandError, match="already exists"):
        call_command("create_tenant", unregistered, adopt=True, verbosity=0)
    delete(unregistered, yes=True)
    assert tables_of(unregistered) == []
    create_tenant(unregistered)


def test_what_is_no_tenants_is_deleted_after_a_question_that_says_so(unregistered, monkeypatch):
    provision(unregistered)
    asked = StringIO()
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("tenant_delete", unregistered, stdout=asked)
    assert f"in the database of '{unregistered}', which is not a tenant" in asked.getvalue()
    assert "blog_post" in tables_of(unregistered)


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
