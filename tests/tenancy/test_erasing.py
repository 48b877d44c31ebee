"""What an erasure leaves of a tenant's object, and what comes late: repeated writes, older leases, others."""

import json
import threading

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connections, transaction
from django.utils import timezone

from accounts.models import Tenant
from do_bridge import driver
from do_bridge.driver.transports.relay_session import RelaySession
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle import creation, ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.deletion import delete_tenant
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.fencing import fenced
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import ObjectTaken, fingerprint_once, provision, template_dump
from do_bridge.tenancy.lifecycle.template_objects import empty_template_object
from do_bridge.tenancy.lifecycle.transfer import load
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, provision_test_tenant, unique_slug
from tests.tenancy.cut_off import cut_off
from tests.tenancy.processes import finish, start

ONE_PAGE = 4096


@pytest.fixture
def slug(empty_ledger):
    """A slug that nobody has had; whatever a test makes of it is erased."""
    slug = unique_slug("gone")
    yield slug
    empty_object(tenant_alias(slug))
    tenant_databases().release(tenant_alias(slug))
    ledger.forget(slug)


def names_in(alias):
    """The names in an object, the runtime's own among them."""
    with unchecked(alias):
        (result,) = run_batch(connections[alias], [("SELECT name FROM sqlite_master", None)])
    return [name for (name,) in result.rows if not name.startswith("__miniflare")]


def size(alias):
    with unchecked(alias), connected(alias) as connection:
        return connection.size()


def assert_nothing_is_kept(alias):
    assert names_in(alias) == []
    assert size(alias) <= ONE_PAGE


def write(slug, key):
    """Write a row that needs no other rows."""
    rows = Session.objects.using(tenant_alias(slug))
    rows.create(session_key=key, session_data="x" * 100_000, expire_date=timezone.now())


def written(slug):
    return list(Session.objects.using(tenant_alias(slug)).values_list("session_key", flat=True))


# Every path ends with an object that holds nothing


def test_the_runtime_reports_a_page_for_an_object_that_holds_nothing(slug):
    alias = tenant_alias(slug)
    never_written = size(alias)
    create_tenant(slug)
    assert size(alias) > 10 * ONE_PAGE
    delete_tenant(slug)
    assert size(alias) <= ONE_PAGE
    assert size(alias) <= never_written


def test_a_deletion_asks_the_object_twice(slug, monkeypatch):
    create_tenant(slug)
    # It notes that the creation has ended.
    assert lookup.get(slug)
    asked = []
    request = RelaySession.request_all

    def counted(session, messages, deadline):
        asked.extend(message["op"] for message in messages if message["db"].startswith("do:"))
        return request(session, messages, deadline)

    monkeypatch.setattr(RelaySession, "request_all", counted)
    delete_tenant(slug)
    assert asked == ["erase", "erase"]


def test_an_undone_creation_keeps_nothing(slug, monkeypatch):
    def failing(lease, *arguments):
        # As a batch whose key was given up.
        run_batch(connections[tenant_alias(slug)], [("CREATE TABLE _do_bridge_meta (key, value)", None)])
        raise DatabaseError("the object refused")

    monkeypatch.setattr(creation, "_fill", failing)
    template_dump()
    with unchecked(tenant_alias(slug)), pytest.raises(DatabaseError, match="refused"):
        create_tenant(slug)
    assert not Tenant.objects.filter(slug=slug).exists()
    assert ledger.states([slug])[slug].state == ledger.DELETED
    assert_nothing_is_kept(tenant_alias(slug))


def test_what_an_undone_creation_sent_late_is_left_over_and_in_nobodys_way(slug, monkeypatch):
    late = []

    def failing(lease, *arguments):
        late.append(lease)
        raise DatabaseError("the object refused")

    template_dump()
    with monkeypatch.context() as patched, pytest.raises(DatabaseError, match="refused"):
        patched.setattr(creation, "_fill", failing)
        create_tenant(slug)
    provision(slug, lease=late[0])
    assert create_tenant(slug)[1:] == (True, "provisioned")


def test_a_creation_that_finds_another_tenants_tables_leaves_them(slug):
    with provision_test_tenant(slug):
        ledger.forget(slug)
        with pytest.raises(ObjectTaken, match="were not made for this tenant"):
            create_tenant(slug)
        assert "blog_post" in names_in(tenant_alias(slug))


@pytest.mark.parametrize("replaces", [False, True])
def test_a_load_that_fails_keeps_nothing(slug, acme, tmp_path, monkeypatch, replaces):
    file = tmp_path / "acme.sqlite3"
    call_command("tenant_dump", acme.slug, str(file), verbosity=0)
    if replaces:
        create_tenant(slug)

    def failing(alias):
        raise DatabaseError("no more")

    monkeypatch.setattr(load, "copy_content_types", failing)
    with pytest.raises(DatabaseError, match="no more"):
        load.load_tenant(slug, file, replaces=replaces)
    assert_nothing_is_kept(tenant_alias(slug))


def test_emptied_template_and_test_objects_keep_nothing(db):
    template_dump()
    alias = tenant_databases().template_object_alias(fingerprint_once())
    empty_template_object(alias)
    assert_nothing_is_kept(alias)
    with provision_test_tenant() as made:
        pass
    assert_nothing_is_kept(tenant_alias(made))


def test_a_tenant_is_deleted_a_second_time_as_well(slug, capsys):
    create_tenant(slug)
    for _ in range(2):
        call_command("tenant_delete", slug, yes=True)
        assert f"Tenant {slug} was deleted." in capsys.readouterr().out
        assert_nothing_is_kept(tenant_alias(slug))


# Older leases


def test_what_an_older_lease_writes_late_goes_with_the_next_deletion(slug):
    create_tenant(slug)
    late = cut_off(slug, "migrate")[slug]
    delete_tenant(slug)
    provision(slug, lease=late)
    assert size(tenant_alias(slug)) > ONE_PAGE
    call_command("tenant_delete", slug, yes=True, verbosity=0)
    assert_nothing_is_kept(tenant_alias(slug))


def test_an_older_lease_writes_nothing_into_a_tenant_that_was_made_again(slug):
    create_tenant(slug)
    late = cut_off(slug, "migrate")[slug]
    delete_tenant(slug)
    create_tenant(slug)
    write(slug, "new")
    with fenced(tenant_alias(slug), late), pytest.raises(DatabaseError, match="has taken over"):
        write(slug, "late")
    assert written(slug) == ["new"]


# Writes that are sent again


@pytest.fixture
def losing(monkeypatch):
    """Loses the answer to the next keyed request of an operation, once `meanwhile` has run."""

    def lose(operation, meanwhile):
        request, lost = RelaySession.request, []

        def losing(session, message, deadline):
            answers = request(session, message, deadline)
            if message["op"] == operation and '"key":' in json.dumps(message) and not lost:
                lost.append(True)
                meanwhile()
                raise driver.OperationalError("the answer was lost", effect="unknown", transient=True)
            return answers

        monkeypatch.setattr(RelaySession, "request", losing)

    return lose


def in_another_thread(work):
    def worked():
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=worked)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def make_again(slug):
    delete_tenant(slug)
    create_tenant(slug)


def make_again_elsewhere(slug):
    delete_tenant(slug)
    code, output = finish(start("create_tenant", slug))
    assert code == 0, output


@pytest.mark.parametrize("meanwhile", [delete_tenant, make_again, make_again_elsewhere])
def test_a_write_that_is_sent_again_does_not_run_in_the_next_tenant(slug, losing, meanwhile):
    create_tenant(slug)
    losing("batch", lambda: in_another_thread(lambda: meanwhile(slug)))
    was_deleted = meanwhile is delete_tenant
    with pytest.raises(DatabaseError, match="was deleted" if was_deleted else "is unknown"):
        write(slug, "of the former tenant")
    if was_deleted:
        assert_nothing_is_kept(tenant_alias(slug))
    else:
        assert written(slug) == []
        write(slug, "new")
        assert written(slug) == ["new"]


def test_the_outcome_of_a_commit_in_the_former_tenant_is_unknown_in_the_next(slug, losing):
    create_tenant(slug)
    losing("tx", lambda: in_another_thread(lambda: make_again(slug)))
    with (
        pytest.raises(OperationalError, match="is unknown"),
        transaction.atomic(using=tenant_alias(slug)),
    ):
        write(slug, "of the former tenant")
    assert written(slug) == []


def test_a_write_into_a_tenants_first_life_is_repeated_as_ever(slug, losing):
    create_tenant(slug)
    losing("batch", lambda: None)
    write(slug, "once")
    assert written(slug) == ["once"]


def test_a_replaced_tenant_does_not_get_its_former_writes(slug, acme, losing, tmp_path):
    file = tmp_path / "acme.sqlite3"
    call_command("tenant_dump", acme.slug, str(file), verbosity=0)
    create_tenant(slug)

    def replace():
        load.load_tenant(slug, file, replaces=True)

    losing("batch", lambda: in_another_thread(replace))
    with pytest.raises(OperationalError, match="is unknown"):
        write(slug, "of before")
    assert written(slug) == []


def says_that_it_was_made_again(slug):
    with connections[tenant_alias(slug)].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM _do_bridge_meta WHERE key = 'remade'")
        return cursor.fetchone() == (1,)


def test_an_object_in_its_second_life_says_so_and_neither_its_dump_nor_its_copy_does(slug, tmp_path):
    create_tenant(slug)
    assert not says_that_it_was_made_again(slug)
    make_again(slug)
    assert says_that_it_was_made_again(slug)
    file = tmp_path / "it.sqlite3"
    call_command("tenant_dump", slug, str(file), verbosity=0)
    other = unique_slug("copy")
    call_command("tenant_load", other, str(file), verbosity=0)
    try:
        assert not says_that_it_was_made_again(other)
    finally:
        delete_tenant(other)


# What is open in the object


def test_a_transaction_that_is_open_ends_before_the_deletion(slug):
    create_tenant(slug)
    begun, ended = threading.Event(), []

    def hold():
        with transaction.atomic(using=tenant_alias(slug)):
            write(slug, "late")
            begun.set()
            deleting.wait(30)
        ended.append(True)

    deleting = threading.Event()
    holder = threading.Thread(target=lambda: in_another_thread(hold))
    holder.start()
    assert begun.wait(30)
    deleter = threading.Thread(target=lambda: in_another_thread(lambda: delete_tenant(slug)))
    deleter.start()
    deleting.set()
    for thread in (holder, deleter):
        thread.join(60)
    assert ended
    assert_nothing_is_kept(tenant_alias(slug))


def test_a_reader_with_an_open_connection_gets_the_new_tenants_schema(slug):
    create_tenant(slug)
    write(slug, "of the former tenant")
    assert written(slug) == ["of the former tenant"]
    in_another_thread(lambda: make_again(slug))
    assert written(slug) == []


def test_two_deletions_at_once_and_a_creation_after_them(slug):
    create_tenant(slug)
    failed = []

    def delete():
        try:
            delete_tenant(slug)
        except DatabaseError as error:
            failed.append(error)

    threads = [threading.Thread(target=lambda: in_another_thread(delete)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert_nothing_is_kept(tenant_alias(slug))
    assert create_tenant(slug)[1:] == (True, "provisioned")
