"""A tenant's row does not go alone, and a row that comes alone does not read what somebody else left."""

import logging
import sqlite3
from contextlib import closing
from io import StringIO

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.messages import get_messages
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections
from django.db.models import ProtectedError
from django.db.models.deletion import Collector
from django.test import AsyncClient, Client, TestCase, TransactionTestCase
from django.urls import reverse

from accounts.admin import TenantAdmin
from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.backends.remote_sqlite import operations
from do_bridge.inspection.inspected import Inspected
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle import creation, ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.keeping import TenantKept
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.provision import ObjectTaken, has_tables, provision, provision_noted
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.errors import TenantUnclaimed
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, provision_test_tenant, unique_slug
from tests.tenancy.cut_off import cut_off
from tests.tenancy.lost_rows import lose_row

KEPT = "is not deleted, because its database would stay behind. Delete both with `manage.py tenant_delete"


@pytest.fixture
def lived_in(acme, author):
    """A tenant that is at head by the ledger, with a member and a post."""
    provision_noted(acme.slug)
    Membership.objects.create(user=author, tenant=acme)
    with tenant_context(acme):
        Post.objects.create(title="of before", content="-", user_id=author.pk)
    lookup.forget()
    return acme


@pytest.fixture(params=[True, False], ids=["and its ledger", "alone"])
def orphan(request, lived_in):
    """The slug of a tenant whose row was lost, with the ledger's or without, though its object is there."""
    lose_row(lived_in.slug)
    if request.param:
        ledger.forget(lived_in.slug)
    return lived_in.slug


@pytest.fixture
def root(db):
    """A client of a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="secret-of-root"))
    return client


def sql(statement):
    run_batch(connections["default"], [(statement, None)])


def is_whole(tenant):
    """Say whether nothing of a tenant is gone: its row, its memberships, its posts."""
    posts = Post.objects.using(tenant_alias(tenant.slug)).filter(title="of before")
    return (
        Tenant.objects.filter(pk=tenant.pk, slug=tenant.slug).exists()
        and Membership.objects.filter(tenant_id=tenant.pk).exists()
        and posts.exists()
    )


# Rows do not go alone


@pytest.mark.parametrize(
    "delete",
    [
        pytest.param(lambda tenant: tenant.delete(), id="delete()"),
        pytest.param(lambda tenant: Tenant.objects.filter(pk=tenant.pk).delete(), id="a queryset's delete()"),
        pytest.param(lambda tenant: Tenant.objects.all()._raw_delete("default"), id="_raw_delete()"),
        pytest.param(lambda tenant: sql(f"DELETE FROM accounts_tenant WHERE id = {tenant.pk}"), id="SQL"),
        pytest.param(lambda tenant: sql("DELETE FROM accounts_tenant"), id="SQL without WHERE"),
    ],
)
def test_a_row_is_kept_with_all_that_belongs_to_it(lived_in, delete):
    with pytest.raises(IntegrityError, match=f"{KEPT} ({lived_in.slug}|SLUG)`"):
        delete(lived_in)
    assert is_whole(lived_in)
    call_command("tenant_delete", lived_in.slug, yes=True, verbosity=0)
    assert not Tenant.objects.exists() and not has_tables(lived_in.slug)


def test_the_error_is_one_that_django_knows_and_names_the_row(lived_in):
    with pytest.raises(ProtectedError, match=lived_in.slug) as caught:
        lived_in.delete()
    assert isinstance(caught.value, TenantKept)
    assert caught.value.protected_objects == {lived_in}


def test_a_cascade_from_another_model_deletes_nothing(lived_in):
    # As if tenants belonged to users: Django's own CASCADE collects them in this way.
    author = User.objects.get()
    collector = Collector(using="default", origin=author)
    collector.collect([author])
    collector.collect([lived_in], source=User, nullable=False)
    with pytest.raises(TenantKept, match=lived_in.slug):
        collector.delete()
    assert User.objects.filter(pk=author.pk).exists() and is_whole(lived_in)


@pytest.mark.parametrize(
    "rename",
    [
        pytest.param(lambda tenant: tenant.save(), id="save()"),
        pytest.param(
            lambda tenant: Tenant.objects.filter(pk=tenant.pk).update(slug=tenant.slug), id="update()"
        ),
        pytest.param(
            lambda tenant: Tenant.objects.bulk_update([tenant], ["slug"]),
            id="bulk_update()",
        ),
    ],
)
def test_a_slug_is_kept(lived_in, rename):
    slug = lived_in.slug
    lived_in.slug = unique_slug("renamed")
    with pytest.raises(IntegrityError, match="keeps its slug, .*`manage.py tenant_copy SLUG NEW`"):
        rename(lived_in)
    assert is_whole(Tenant.objects.get(slug=slug))


def test_other_columns_change_as_ever(lived_in):
    lived_in.name = "Other"
    lived_in.save()
    assert Tenant.objects.filter(name="Other").update(name="Another") == 1
    assert is_whole(lived_in)


def test_a_fixture_that_is_loaded_over_a_row_changes_it(lived_in, tmp_path):
    lived_in.name = "From a fixture"
    (tmp_path / "tenants.json").write_text(serializers.serialize("json", [lived_in]))
    call_command("loaddata", tmp_path / "tenants.json", verbosity=0)
    assert Tenant.objects.get().name == "From a fixture"
    assert is_whole(lived_in)


def test_a_row_that_was_never_used_goes_and_is_renamed(db):
    Tenant.objects.create(slug="unused", name="Unused")
    Tenant.objects.filter(slug="unused").update(slug="still-unused")
    assert ledger.states(["unused", "still-unused"]).keys() == {"still-unused"}
    assert Tenant.objects.get().delete()[0] == 1
    assert ledger.states("still-unused") == {}
    Tenant.objects.create(slug="unused", name="Unused")
    sql("DELETE FROM accounts_tenant")
    assert not Tenant.objects.exists()


def test_the_triggers_are_away_while_tables_change_and_back_afterwards(lived_in):
    call_command("migrate", "accounts", "0002", database="default", verbosity=0)
    call_command("migrate", database="default", verbosity=0)
    with pytest.raises(IntegrityError, match=KEPT):
        sql("DELETE FROM accounts_tenant")


def test_a_flush_that_is_no_test_runs_is_refused(lived_in, monkeypatch):
    monkeypatch.setattr(operations, "without_guards", lambda connection, statements, guards: statements)
    with pytest.raises(CommandError, match="couldn't be flushed") as caught:
        call_command("flush", database="default", interactive=False, verbosity=0)
    assert KEPT in str(caught.value.__cause__)
    assert is_whole(lived_in)


# The admin


@pytest.fixture
def deletable(monkeypatch):
    """The admin of tenants as any project registers it: Django lets superusers delete."""
    monkeypatch.delattr(TenantAdmin, "has_delete_permission")


def test_the_sites_own_admin_deletes_a_tenant_from_its_home_alone(root, lived_in):
    page = root.get(reverse("admin:accounts_tenant_change", args=[lived_in.pk])).content.decode()
    assert reverse("admin:tenant_home", args=[Inspected(lived_in.slug)]) in page
    assert 'class="deletelink"' not in page
    url = reverse("admin:accounts_tenant_delete", args=[lived_in.pk])
    assert root.post(url, {"post": "yes"}).status_code == 403
    assert is_whole(lived_in)


def told(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_a_row_that_is_deleted_on_its_page_is_kept_with_a_message(root, lived_in, deletable):
    url = reverse("admin:accounts_tenant_delete", args=[lived_in.pk])
    response = root.post(url, {"post": "yes"})
    assert response.status_code == 302
    assert response.headers["Location"] == reverse("admin:accounts_tenant_change", args=[lived_in.pk])
    assert KEPT in told(response)[0]
    assert is_whole(lived_in)


def test_rows_that_are_deleted_by_the_action_are_kept_with_a_message(root, lived_in, deletable):
    url = reverse("admin:accounts_tenant_changelist")
    fields = {"action": "delete_selected", "_selected_action": [lived_in.pk], "post": "yes"}
    response = root.post(url, fields)
    assert (response.status_code, response.headers["Location"]) == (302, url)
    assert KEPT in told(response)[0]
    assert is_whole(lived_in)


def test_a_slug_that_is_changed_in_an_admin_is_kept_with_a_message(root, lived_in, monkeypatch):
    monkeypatch.setattr(TenantAdmin, "get_readonly_fields", lambda *args: ["place", "home"])
    monkeypatch.setattr(TenantAdmin, "inlines", [])
    monkeypatch.setattr(TenantAdmin, "form", admin.ModelAdmin.form)
    url = reverse("admin:accounts_tenant_change", args=[lived_in.pk])
    response = root.post(url, {"slug": "renamed", "name": "Renamed"})
    assert (response.status_code, response.headers["Location"]) == (302, url)
    assert "keeps its slug" in told(response)[0]
    assert is_whole(lived_in)


# Rows that come alone


def test_a_row_that_is_renamed_to_the_slug_of_an_object_of_before_is_refused(orphan):
    Tenant.objects.create(slug="unused", name="New")
    Tenant.objects.filter(slug="unused").update(slug=orphan)
    with pytest.raises(TenantUnclaimed, match="create_tenant --adopt"):
        lookup.get(orphan)


def test_a_row_that_replaces_another_by_sql_is_refused(lived_in):
    # SQLite fires no trigger for the row that goes by REPLACE.
    author = User.objects.get()
    Membership.objects.all().delete()
    sql(
        f"INSERT OR REPLACE INTO accounts_tenant VALUES (999, '{lived_in.slug}', 'New', '2026-01-01', '', '')"
    )
    assert User.objects.using(tenant_alias(lived_in.slug)).filter(pk=author.pk).exists()
    with pytest.raises(TenantUnclaimed, match="create_tenant --adopt"):
        lookup.get(lived_in.slug)


def test_a_row_of_which_the_ledger_knows_nothing_is_served_and_kept(lived_in):
    # As one that is older than the ledger, or that came while a migration had taken the triggers away.
    ledger.forget(lived_in.slug)
    assert lookup.get(lived_in.slug).unsettled is None
    with pytest.raises(IntegrityError, match=KEPT):
        lived_in.delete()
    with pytest.raises(IntegrityError, match=KEPT):
        sql("DELETE FROM accounts_tenant")


def test_a_row_made_for_an_object_of_before_is_refused_until_it_is_emptied(orphan, caplog):
    caplog.set_level(logging.CRITICAL)
    Tenant.objects.create(slug=orphan, name="New")
    with pytest.raises(TenantUnclaimed, match=f"--adopt {orphan}`.*_delete {orphan}`"):
        lookup.get(orphan)
    assert Client().get(f"/t/{orphan}/").status_code == 503
    with pytest.raises(CommandError, match="1 of 1 tenants failed"):
        call_command("migrate", database="tenant", tenants=[orphan], verbosity=0, stderr=StringIO())
    with pytest.raises(ObjectTaken, match="not made for this tenant"):
        provision_noted(orphan)
    with pytest.raises(ObjectTaken, match="not made for this tenant"):
        create_tenant(orphan)
    # None of these attempts has made it the tenant's.
    assert Client().get(f"/t/{orphan}/").status_code == 503
    call_command("tenant_delete", orphan, yes=True, verbosity=0)
    assert not has_tables(orphan)
    Tenant.objects.create(slug=orphan, name="New")
    assert Client().get(f"/t/{orphan}/").status_code == 200
    assert not Post.objects.using(tenant_alias(orphan)).exists()


def test_an_asynchronous_request_for_such_a_row_gets_the_same_page(orphan, caplog):
    caplog.set_level(logging.CRITICAL)
    Tenant.objects.create(slug=orphan, name="New")
    response = async_to_sync(AsyncClient().get)(f"/t/{orphan}/")
    assert response.status_code == 503


def test_a_row_made_for_an_object_of_before_can_take_it_over(orphan):
    Tenant.objects.create(slug=orphan, name="New")
    call_command("create_tenant", orphan, adopt=True, verbosity=0)
    lookup.forget()
    assert b"of before" in Client().get(f"/t/{orphan}/").content


def test_a_row_made_for_what_a_killed_creation_left_is_refused(db):
    slug = unique_slug("killed")
    lease = leases.take_many([leases.look(slug)], "create", seconds=0)[slug]
    provision(slug, lease=lease)
    ledger.forget(slug)
    try:
        Tenant.objects.create(slug=slug, name="By hand")
        with pytest.raises(TenantUnclaimed, match="create_tenant --adopt"):
            lookup.get(slug)
    finally:
        empty_object(tenant_alias(slug))


def test_a_failed_run_over_many_does_not_make_an_object_the_tenants(orphan):
    Tenant.objects.create(slug=orphan, name="New")
    for _ in range(2):
        out = StringIO()
        with pytest.raises(CommandError, match="1 of 1 tenants failed"):
            call_command("migrate", database="tenant", tenants=[orphan], stdout=out, stderr=out)
        assert "TenantUnclaimed" in out.getvalue()
    with pytest.raises(TenantUnclaimed, match="create_tenant --adopt"):
        lookup.get(orphan)


def test_a_look_up_takes_one_trip_and_the_first_one_of_an_unused_row_two(lived_in, trips):
    before = trips.count
    assert lookup.get(lived_in.slug).unsettled is None
    assert trips.count - before == 1
    Tenant.objects.create(slug="unused", name="Unused")
    before = trips.count
    assert lookup.get("unused").unsettled
    assert trips.count - before == 2


# What a test run does


class Flushed(TransactionTestCase):
    databases = frozenset({"default"})

    def test_rows_go_with_the_flush(self):
        Tenant.objects.create(slug="flushed", name="Flushed")
        ledger.reached("flushed", code_fingerprint())

    test_and_are_gone_in_the_next_test = test_rows_go_with_the_flush


class Restored(TestCase):
    databases = frozenset({"default"})

    @classmethod
    def setUpTestData(cls):
        Tenant.objects.create(slug="of-the-class", name="Of the class")
        ledger.reached("of-the-class", code_fingerprint())

    def test_rows_are_put_back(self):
        assert Tenant.objects.count() == 1
        Tenant.objects.create(slug="of-a-test", name="Of a test")
        ledger.reached("of-a-test", code_fingerprint())

    test_and_are_put_back_again = test_rows_are_put_back

    def test_rows_are_kept_in_a_test_too(self):
        with pytest.raises(IntegrityError, match=KEPT):
            Tenant.objects.all()._raw_delete("default")


def test_pythons_own_sqlite_reads_a_copy_of_d1_with_its_triggers(db):
    (made,) = run_batch(
        connections["default"],
        [
            (
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL "
                "AND tbl_name IN ('accounts_tenant', 'do_bridge_tenantstate') "
                "AND (type = 'table' OR name GLOB 'do_bridge_tenant_*')",
                None,
            )
        ],
    )
    with closing(sqlite3.connect(":memory:")) as copied:
        for (statement,) in sorted(made.rows, key=lambda row: "CREATE TABLE" not in row[0]):
            copied.execute(statement)
        copied.execute("INSERT INTO accounts_tenant VALUES (1, 'acme', 'Acme', '2026-01-01', '', '')")
        copied.execute("UPDATE do_bridge_tenantstate SET state = 'ready'")
        with pytest.raises(sqlite3.IntegrityError, match=KEPT):
            copied.execute("DELETE FROM accounts_tenant")


def test_a_tenant_of_a_test_is_its_rows(db):
    with provision_test_tenant() as slug:
        Tenant.objects.create(slug=slug, name="Tenant of a test")
        assert lookup.get(slug)
    assert ledger.may_go(slug)
    Tenant.objects.get(slug=slug).delete()
    assert ledger.states(slug)[slug].state == ledger.DELETED


@pytest.fixture
def standing_still(monkeypatch):
    """A creation whose lease has expired when its row is written."""
    send = creation.run_batch

    def slowly(connection, statements):
        ledgers = (
            "UPDATE do_bridge_tenantstate SET expires = '2020-01-01 00:00:00' WHERE operation = 'create'"
        )
        begun = next(index for index, (sql, _) in enumerate(statements) if "RETURNING slug, fence" in sql) + 1
        results = send(connection, [*statements[:begun], (ledgers, None), *statements[begun:]])
        return results[:begun] + results[begun + 1 :]

    monkeypatch.setattr(creation, "run_batch", slowly)


@pytest.mark.usefixtures("standing_still")
def test_a_creation_that_outlives_its_lease_before_it_writes_the_row_is_no_row_that_came_alone(db):
    slug = unique_slug("slow")
    try:
        assert create_tenant(slug)[1:] == (True, "provisioned")
        lookup.forget()
        assert lookup.get(slug).slug == slug
        assert leases.look(slug).state == ledger.READY
    finally:
        empty_object(tenant_alias(slug))


@pytest.mark.usefixtures("standing_still")
def test_such_a_creation_that_is_killed_before_it_fills_the_object_is_finished_by_the_first_use(db):
    slug = unique_slug("slow")
    try:
        creation.write_rows([(creation.NewTenant(slug), creation.FirstMembers())])
        assert leases.look(slug).operation == "create"
        with tenant_context(slug):
            assert not Post.objects.exists()
        assert leases.look(slug).state == ledger.READY
    finally:
        empty_object(tenant_alias(slug))


@pytest.mark.parametrize("operation", ["migrate", "load", "delete"])
def test_a_row_that_comes_alone_beside_another_operation_that_was_cut_off_is_unused(orphan, operation):
    cut_off(orphan, operation)
    Tenant.objects.create(slug=orphan, name="New")
    assert leases.look(orphan).state == ledger.UNUSED
