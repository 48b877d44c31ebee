"""migrate for the directory, one tenant and all of them; makemigrations; create_tenant; provisioning."""

import threading
from io import StringIO

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import connections, transaction
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.management import base
from do_bridge.tenancy import register_tenant, tenant_alias, tenant_context
from do_bridge.tenancy.context import migration_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import (
    dump_database,
    fingerprint,
    forget_dumps,
    has_tables,
    provision,
    template_dump,
)
from do_bridge.tenancy.replicated.sql import copy_rows
from do_bridge.tenancy.tenants import no_such_tenant
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.cut_off import cut_off
from tests.tenancy.lost_rows import lose_row


@pytest.fixture
def bare(db):
    """A slug whose object has no tables yet."""
    slug = unique_slug("bare")
    yield slug
    empty_object(tenant_alias(slug))


def migrate(*arguments, **options):
    out = StringIO()
    call_command("migrate", *arguments, stdout=out, stderr=out, interactive=False, **options)
    return out.getvalue()


def applied(alias):
    return set(MigrationRecorder(connections[alias]).applied_migrations())


def keys(alias):
    types = ContentType.objects.using(alias).values_list("pk", "app_label", "model")
    permissions = Permission.objects.using(alias).values_list("pk", "content_type_id", "codename", "name")
    return set(types), set(permissions)


def test_the_directory_is_migrated_as_ever(db):
    assert "No migrations to apply" in migrate("--database", "default")


def test_one_tenant_is_migrated_with_all_migrations_and_the_directorys_keys(bare):
    alias = tenant_alias(bare)
    output = migrate(f"--database={alias}")
    assert "Applying blog.0001_initial" in output
    assert applied(alias) == applied("default")
    assert keys(alias) == keys("default")
    assert "No migrations to apply" in migrate("--database", alias)


def test_a_tenant_costs_no_trip_for_each_content_type(bare, trips):
    alias = tenant_alias(bare)
    migrate("--database", alias)
    before = trips.count
    migrate("--database", alias)
    assert trips.count - before <= 14


def test_content_types_that_the_directory_lacks_are_made_there_first(bare):
    stale = ContentType.objects.get(app_label="blog", model="post")
    stale.delete()
    from do_bridge.tenancy.replicated.contenttypes import forget_directory_rows

    forget_directory_rows()
    ContentType.objects.clear_cache()
    migrate("--database", tenant_alias(bare))
    made = ContentType.objects.get(app_label="blog", model="post")
    assert made.pk != stale.pk
    assert keys(tenant_alias(bare)) == keys("default")


def test_keys_that_differ_from_the_directorys_are_moved_with_everything_that_points_at_them(acme, in_both):
    alias = tenant_alias(acme.slug)
    group = Group.objects.using(alias).create(name="writers")
    permission = Permission.objects.using(alias).get(codename="add_post")
    group.permissions.add(permission)
    with tenant_context(acme):
        post = Post.objects.create(title="x", content="-", user_id=in_both)
        LogEntry.objects.log_actions(in_both, [post], ADDITION, single_object=True)
    # As after a restore of another directory: two types under each other's keys, one in the way of a third.
    with connections[alias].cursor() as cursor, transaction.atomic(using=alias):
        cursor.execute("PRAGMA defer_foreign_keys = on")
        post_key = ContentType.objects.using(alias).get(app_label="blog", model="post").pk
        user_key = ContentType.objects.using(alias).get(app_label="accounts", model="user").pk
        for table, column in [
            ("django_content_type", "id"),
            ("auth_permission", "content_type_id"),
            ("django_admin_log", "content_type_id"),
        ]:
            swap = f"UPDATE {table} SET {column} = {column} + %s WHERE {column} = %s"
            cursor.execute(swap, [100_000, post_key])
            cursor.execute(swap, [post_key - user_key, user_key])
            cursor.execute(swap, [user_key - post_key - 100_000, post_key + 100_000])
    assert keys(alias) != keys("default")
    migrate("--database", alias)
    assert keys(alias) == keys("default")
    assert group.permissions.get().codename == "add_post"
    assert group.permissions.get().content_type.model_class() is Post
    with tenant_context(acme):
        assert LogEntry.objects.get().get_edited_object() == post


def test_all_tenants_are_migrated_one_after_another(make_tenant):
    slugs = [make_tenant().slug for _ in range(2)]
    empty_object(tenant_alias(slugs[0]))
    output = migrate("--database", "tenant")
    assert "2 tenants, 0 failed" in output
    for slug in slugs:
        assert applied(tenant_alias(slug)) == applied("default")


def test_a_tenant_that_fails_does_not_stop_the_others(make_tenant):
    broken, sound = sorted([make_tenant("a"), make_tenant("b")], key=lambda tenant: tenant.slug)
    for tenant in (broken, sound):
        empty_object(tenant_alias(tenant.slug))
    with unchecked(), connections[tenant_alias(broken.slug)].cursor() as cursor:
        cursor.execute("CREATE TABLE blog_post (id INTEGER PRIMARY KEY)")
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {broken.slug}"):
        call_command("migrate", "--database", "tenant", stdout=out, stderr=out, interactive=False)
    assert "has tables that were not made for this tenant" in out.getvalue()
    assert applied(tenant_alias(sound.slug)) == applied("default")


def test_check_says_which_tenants_are_behind(acme, zeta):
    assert "0 failed" in migrate("--database", "tenant", "--check")
    empty_object(tenant_alias(zeta.slug))
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants is behind: {zeta.slug}. .*`manage.py migrate"):
        call_command("migrate", "--database", "tenant", "--check", stdout=out)
    assert "2 tenants, 0 failed: 1 behind, 1 up to date, 0 not checked." in out.getvalue()
    assert "behind" in next(line for line in out.getvalue().splitlines() if zeta.slug in line)


def test_check_tells_a_tenant_that_cannot_be_asked_from_one_that_is_behind(acme, zeta):
    empty_object(tenant_alias(zeta.slug))
    with unchecked(), connections[tenant_alias(acme.slug)].cursor() as cursor:
        cursor.execute("DROP TABLE django_migrations")
        cursor.execute("CREATE TABLE django_migrations (other)")
    cut_off(acme.slug, "migrate", error="seen to it")
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of 2 tenants failed: {acme.slug}"):
        call_command("migrate", "--database", "tenant", "--check", stdout=out)
    assert "2 tenants, 1 failed: 1 behind, 0 up to date" in out.getvalue()


def test_a_database_that_cannot_be_is_refused_without_a_trip(db, trips):
    for database in ("tenant/../acme", "tenant/ACME", "tenant/", "elsewhere", "tenant/a/b"):
        with pytest.raises(CommandError, match="DATABASES has no alias"):
            migrate("--database", database)
    assert trips.count == 0


def test_a_database_that_cannot_be_is_refused_from_the_command_line_too(db):
    with pytest.raises(CommandError, match="DATABASES has no alias"):
        call_command("migrate", "--database", "tenant/ACME", skip_checks=False)


def test_a_tenant_that_nobody_registered_is_not_migrated_by_a_slip_of_the_hand(bare, capsys):
    command = load_command_class("do_bridge", "migrate")
    with pytest.raises(SystemExit, match="^1$"):
        command.run_from_argv(["manage.py", "migrate", "--database", tenant_alias(bare)])
    assert no_such_tenant(bare) in capsys.readouterr().err
    assert not has_tables(bare)
    Tenant.objects.create(slug=bare, name="Bare")
    command.run_from_argv(["manage.py", "migrate", "--database", tenant_alias(bare), "--verbosity", "0"])
    assert has_tables(bare)
    command.run_from_argv(["manage.py", "migrate", "--database", "tenant"])
    assert "1 tenants, 0 failed" in capsys.readouterr().out


def test_flushing_a_tenant_leaves_it_with_the_directorys_keys(acme, in_both):
    alias = tenant_alias(acme.slug)
    with tenant_context(acme):
        Post.objects.create(title="gone", content="-", user_id=in_both)
    call_command("flush", database=alias, interactive=False, verbosity=0)
    assert not Post.objects.using(alias).exists()
    assert keys(alias) == keys("default")


def test_models_of_a_migration_mean_the_database_that_is_migrated(acme):
    alias = tenant_alias(acme.slug)
    historical = MigrationLoader(None).project_state().apps
    with migration_context(alias):
        historical.get_model("accounts", "User").objects.create(pk=77, username="by-migration")
        historical.get_model("blog", "Post").objects.create(title="seed", content="-", user_id=77)
    assert Post.objects.using(alias).get().user.username == "by-migration"
    assert not User.objects.filter(username="by-migration").exists()
    with migration_context("default"):
        assert historical.get_model("blog", "Post").objects.all().db == "default"


# The second is registered by a test case: the command looks at every alias that Django shows it.
every_alias = pytest.mark.django_db(databases=["default", register_tenant("case-one")])


@every_alias
def test_makemigrations_works_with_routers_and_finds_nothing_to_do():
    out = StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert "No changes detected" in out.getvalue()


@every_alias
def test_makemigrations_refuses_a_registered_tenant_with_an_inconsistent_history():
    MigrationRecorder(connections["tenant/case-one"]).record_unapplied("accounts", "0001_initial")
    try:
        with pytest.raises(InconsistentMigrationHistory, match="tenant/case-one"):
            call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())
    finally:
        MigrationRecorder(connections["tenant/case-one"]).record_applied("accounts", "0001_initial")


def test_other_commands_take_a_tenants_alias(acme, in_both):
    with tenant_context(acme):
        Post.objects.create(title="dumped", content="-", user_id=in_both)
    out = StringIO()
    call_command("dumpdata", "blog", "contenttypes", database=tenant_alias(acme.slug), stdout=out)
    assert '"dumped"' in out.getvalue()
    assert '"contenttypes.contenttype"' in out.getvalue()


# Provisioning


def test_a_new_tenant_takes_at_most_two_trips(bare, trips):
    template_dump()
    ContentType.objects.exists()
    provision(unique_slug("warm"))
    # A creation knows the place of the object, which it has written into the ledger.
    leases.look(bare)
    before = trips.count
    assert provision(bare) == "provisioned"
    assert trips.count - before <= 2


def test_a_provisioned_object_is_what_migrating_makes(bare, acme):
    alias = tenant_alias(bare)
    migrate("--database", alias)
    migrated, provisioned = (dump_database(connections[name]) for name in (alias, tenant_alias(acme.slug)))
    assert sorted(provisioned.schema) == sorted(migrated.schema)
    assert applied(tenant_alias(acme.slug)) == applied("default")
    assert keys(tenant_alias(acme.slug)) == keys("default")
    assert "No migrations to apply" in migrate("--database", tenant_alias(acme.slug))


def test_provisioning_twice_keeps_what_is_there(acme, in_both):
    with tenant_context(acme):
        Post.objects.create(title="kept", content="-", user_id=in_both)
    assert provision(acme.slug) == "migrated"
    with tenant_context(acme):
        assert Post.objects.get().title == "kept"


def test_the_fingerprint_stays_the_same_for_the_same_code():
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 16


def test_the_scratch_object_is_no_tenant_and_no_choice(acme):
    assert not any(alias.startswith("scratch/") for alias in connections)
    assert (
        connections[tenant_databases().template_object_alias("0a1b")]
        .settings_dict["NAME"]
        .startswith("test/")
    )


# create_tenant


def test_create_tenant_makes_the_row_the_object_and_the_members(author, bare):
    out = StringIO()
    call_command("create_tenant", bare, "--name", "Bare & Co", "--member", "ada", stdout=out)
    assert "created" in out.getvalue()
    tenant = Tenant.objects.get(slug=bare)
    assert tenant.name == "Bare & Co"
    assert Membership.objects.get(tenant=tenant).user == author
    copy = User.objects.using(tenant_alias(bare)).get()
    assert (copy.pk, copy.username, copy.has_usable_password()) == (author.pk, "ada", False)
    with tenant_context(bare):
        Post.objects.create(title="first", content="-", user_id=author.pk)


def test_create_tenant_can_be_repeated(author, bare):
    for _ in range(2):
        call_command("create_tenant", bare, "--member", "ada", stdout=StringIO())
    assert Tenant.objects.get(slug=bare).name == bare
    assert Membership.objects.count() == 1
    assert User.objects.using(tenant_alias(bare)).count() == 1


def test_a_new_tenant_is_not_given_what_a_deleted_one_of_its_name_wrote(acme, in_both):
    with tenant_context(acme):
        Post.objects.create(title="the former tenant's", content="-", user_id=in_both)
    lose_row(acme.slug)
    with pytest.raises(CommandError, match="has tables that were not made"):
        call_command("create_tenant", acme.slug, stdout=StringIO())
    assert not Tenant.objects.filter(slug=acme.slug).exists()
    call_command("create_tenant", acme.slug, "--adopt", stdout=StringIO())
    assert Post.objects.using(tenant_alias(acme.slug)).exists()
    call_command("create_tenant", acme.slug, stdout=StringIO())


def test_a_tenant_can_be_created_twice_at_once(bare):
    # As after a change of the code: nobody has migrated the scratch object yet.
    forget_dumps()
    empty_object(tenant_databases().template_object_alias(fingerprint()))
    barrier = threading.Barrier(2, timeout=60)
    failures = []

    def create():
        try:
            barrier.wait()
            call_command("create_tenant", bare, "--name", "Bare", stdout=StringIO())
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert Tenant.objects.filter(slug=bare).count() == 1
    assert applied(tenant_alias(bare)) == applied("default")
    assert keys(tenant_alias(bare)) == keys("default")


def test_create_tenant_refuses_a_hostile_slug_without_a_trip(db, trips):
    for slug in ("../acme", "ACME", "a" * 300, "acme\n", "\u0430cme"):
        with pytest.raises(CommandError, match="lower-case ASCII"):
            call_command("create_tenant", slug)
    assert trips.count == 0


def test_create_tenant_names_a_member_who_does_not_exist(bare):
    with pytest.raises(CommandError, match="'nobody' does not exist"):
        call_command("create_tenant", bare, "--member", "nobody", stdout=StringIO())


# Copies


def test_copies_have_the_same_key_and_no_password_and_follow_changes(acme, author, trips):
    alias = tenant_alias(acme.slug)
    before = trips.count
    assert copy_rows(User, [author], alias) == 1
    assert trips.count - before == 1
    author.name = "Countess"
    copy_rows(User, [author], alias)
    copy = User.objects.using(alias).get()
    assert (copy.pk, copy.name, copy.date_joined) == (author.pk, "Countess", author.date_joined)
    assert not copy.has_usable_password()
    assert User.objects.get(pk=author.pk).check_password("secret-of-ada")


def test_many_rows_are_copied_in_one_trip_from_values_too(acme, db, trips):
    User.objects.bulk_create([User(username=f"user-{number}") for number in range(700)])
    rows = list(User.objects.values())
    before = trips.count
    assert copy_rows(User, rows, tenant_alias(acme.slug), blank=("password", "email")) == 700
    assert trips.count - before == 1
    assert User.objects.using(tenant_alias(acme.slug)).count() == 700
    assert copy_rows(User, [], tenant_alias(acme.slug)) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["create_tenant", "acme"],
        ["create_tenants", "-"],
        ["empty_template_objects"],
        ["tenant_dump", "acme", "file"],
        ["tenant_load", "acme", "file"],
        ["tenant_copy", "acme", "beta"],
        ["tenant_delete", "acme"],
        ["tenant_bookmark", "acme"],
        ["tenant_restore", "acme", "--bookmark", "0-1"],
        ["tenant_command", "acme", "check"],
        ["all_tenants_command", "check"],
    ],
)
def test_where_there_are_no_tenants_their_commands_say_so(words, monkeypatch):
    monkeypatch.setattr(base, "tenant_databases", lambda: None)
    with pytest.raises(CommandError, match="no databases for tenants"):
        call_command(*words)


def test_no_command_about_tenants_is_left_out():
    for_any_project = {"migrate", "showmigrations", "relay", "dumpdata", "loaddata", "load_sqlite"}
    for_any_project |= {"database_bookmark", "database_restore"}
    own = {name for name, app in get_commands().items() if app == "do_bridge"} - for_any_project
    assert own
    for name in own:
        assert isinstance(load_command_class("do_bridge", name), base.TenantsCommand)
