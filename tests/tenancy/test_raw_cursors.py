"""Raw SQL through django.db.connection inside a tenant: D1's own tables, and never a tenant's namesake."""

from io import StringIO
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, connections, transaction

import do_bridge
from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import TenantMismatch, directory_context, tenant_alias, tenant_context
from do_bridge.tenancy.context import migration_context


def alias(tenant):
    return tenant_alias(tenant.slug)


def count(cursor, table="blog_post"):
    return cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM blog_post",
        'SELECT * FROM "blog_post" LIMIT 1',
        "select * from accounts_user u, Blog_Post p",
        "WITH p AS (SELECT id FROM [blog_post]) SELECT * FROM p",
        "UPDATE blog_post SET title = 'x'",
        "DELETE FROM main.blog_post",
        "SELECT * FROM django_admin_log",
    ],
)
def test_a_tenants_table_is_refused_before_anything_is_sent(shared, acme, trips, sql):
    with tenant_context(acme):
        before = trips.count
        with connection.cursor() as cursor:
            with pytest.raises(TenantMismatch, match="the tenants' table") as caught:
                cursor.execute(sql)
            with pytest.raises(TenantMismatch, match="the tenants' table"):
                cursor.execute(sql, [])
        assert trips.count == before
    assert f"connections['{alias(acme)}'].cursor()" in str(caught.value)


def test_every_way_to_a_cursor_is_watched(shared, acme):
    with tenant_context(acme):
        with pytest.raises(TenantMismatch, match="blog_post"):
            connection.cursor().executemany("INSERT INTO blog_post (title) VALUES (%s)", [["a"], ["b"]])
        with pytest.raises(TenantMismatch, match="blog_post"):
            connection.chunked_cursor().execute("SELECT * FROM blog_post")
        with pytest.raises(TenantMismatch, match="blog_post"), connection.temporary_connection() as cursor:
            cursor.execute("SELECT * FROM blog_post")
        with pytest.raises(TenantMismatch, match="blog_post"), do_bridge.batch():
            connection.cursor().execute("DELETE FROM blog_post")
        with pytest.raises(TenantMismatch, match="blog_post"), transaction.atomic():
            connection.cursor().execute("DELETE FROM blog_post")
    shared.force_debug_cursor = True
    try:
        with tenant_context(acme), pytest.raises(TenantMismatch, match="blog_post"):
            connection.cursor().execute("SELECT * FROM blog_post")
    finally:
        shared.force_debug_cursor = False


def test_a_cursor_that_was_made_elsewhere_is_watched_inside_a_tenant(shared, acme):
    cursor = connection.cursor()
    assert count(cursor) == 0
    with tenant_context(acme), pytest.raises(TenantMismatch, match="blog_post"):
        count(cursor)
    assert count(cursor) == 0


def test_the_shared_databases_own_tables_are_read_as_ever(shared, acme):
    User.objects.create_user("somebody")
    with tenant_context(acme), connection.cursor() as cursor:
        cursor.execute("SELECT username FROM accounts_user WHERE username = %s", ["somebody"])
        assert cursor.fetchall() == [("somebody",)]
        assert [each[0] for each in cursor.description] == ["username"]
        cursor.execute("UPDATE accounts_user SET name = 'blog_post' WHERE username = 'somebody'")
        assert cursor.rowcount == 1


def test_what_names_its_database_is_not_watched(shared, acme, write):
    with tenant_context(acme):
        write("one")
        assert count(connections["default"].cursor()) == 0
        assert count(connections[alias(acme)].cursor()) == 1
        assert Post.objects.using("default").count() == 0
        assert list(Post.objects.using("default").raw("SELECT * FROM blog_post")) == []
        assert [post.title for post in Post.objects.raw("SELECT * FROM blog_post")] == ["one"]
    with directory_context():
        assert count(connection.cursor()) == 0


def test_a_migrations_python_code_that_names_no_database_is_refused(acme):
    with migration_context(alias(acme)), pytest.raises(TenantMismatch, match="blog_post"):
        connection.cursor().execute("UPDATE blog_post SET title = 'x'")


def test_djangos_own_cursors_are_not_refused(acme, in_both):
    with tenant_context(acme):
        with connections["default"].cursor() as cursor:
            assert "blog_post" in connections["default"].introspection.table_names(cursor)
        connections["default"].introspection.get_sequences(connections["default"].cursor(), "blog_post")
        connections["default"].check_constraints(["blog_post"])
        call_command("check", databases=["default"], stdout=StringIO())
        call_command("showmigrations", "blog", database="default", stdout=StringIO())
        call_command("migrate", database="default", stdout=StringIO(), verbosity=0)
        call_command("inspectdb", "blog_post", database="default", stdout=StringIO())
        call_command("sqlflush", database="default", stdout=StringIO())
        session = SessionStore()
        session["key"] = "value"
        session.save()
        assert SessionStore(session.session_key)["key"] == "value"
        with connections["default"].schema_editor() as editor:
            editor.alter_db_table(apps.get_model("blog.Post"), "blog_post", "blog_post")


@pytest.mark.django_db(transaction=True)
def test_a_flush_inside_a_tenant_is_not_refused(acme):
    User.objects.create_user("somebody")
    with tenant_context(acme):
        call_command("flush", database="default", interactive=False, verbosity=0)
    assert not User.objects.exists()


def test_nothing_is_looked_at_where_no_tenant_is_current(shared):
    with mock.patch("do_bridge.tenancy.orm.raw_cursors.tables_in") as looked:
        assert count(connection.cursor()) == 0
    looked.assert_not_called()
