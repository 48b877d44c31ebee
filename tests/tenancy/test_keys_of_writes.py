"""The keys of a tenant's writes stay in its object: no dump, copy or page has them, a deletion takes them."""

import sqlite3
from contextlib import closing
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from blog.models import Post
from do_bridge.inspection.inspected import Inspected
from do_bridge.inspection.reading.queries import table_names
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import (
    dump_database,
    fingerprint_once,
    provision,
    template_dump,
)
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.lost_rows import lose_row

KEYS = "_do_bridge_keys"


def names(slug):
    with unchecked(tenant_alias(slug)):
        (result,) = run_batch(connections[tenant_alias(slug)], [("SELECT name FROM sqlite_master", None)])
    return {name for (name,) in result.rows}


def clients(slug):
    (result,) = run_batch(connections[tenant_alias(slug)], [(f"SELECT client FROM {KEYS}", None)])
    return {client for (client,) in result.rows}


@pytest.fixture
def written(acme, in_both):
    """A tenant whose object knows a write of a client that writes nowhere else."""
    with tenant_context(acme):
        Post.objects.create(title="Kept", content="-", user_id=in_both)
    copied = (f"INSERT INTO {KEYS} SELECT 'of acme alone', n, answer, at FROM {KEYS} LIMIT 1", None)
    run_batch(connections[tenant_alias(acme.slug)], [copied])
    assert "of acme alone" in clients(acme.slug)
    return acme.slug


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 2})
def test_connections_that_give_way_to_each_other_write_under_few_names(db):
    slugs = [unique_slug("names") for _ in range(4)]
    try:
        for slug in slugs * 5:
            with unchecked(tenant_alias(slug)):
                run_batch(connections[tenant_alias(slug)], [("CREATE TABLE IF NOT EXISTS t (v)", None)])
        with unchecked(tenant_alias(slug)):
            assert len(clients(slug)) <= 3
    finally:
        for slug in slugs:
            empty_object(tenant_alias(slug))


def test_a_dump_is_without_them_and_a_copy_knows_its_own_alone(written, tmp_path):
    call_command("tenant_dump", written, str(tmp_path / "acme.sqlite3"), verbosity=0)
    with closing(sqlite3.connect(tmp_path / "acme.sqlite3")) as file:
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    assert "blog_post" in tables
    assert KEYS not in tables
    other = unique_slug("copy")
    try:
        call_command("tenant_copy", written, other, verbosity=0)
        assert "of acme alone" not in clients(other)
        with tenant_context(other):
            assert Post.objects.count() == 1
    finally:
        lose_row(other)
        empty_object(tenant_alias(other))


def test_a_file_that_has_some_is_loaded_without_them(written, tmp_path):
    path = tmp_path / "acme.sqlite3"
    call_command("tenant_dump", written, str(path), verbosity=0)
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"CREATE TABLE {KEYS} (client TEXT PRIMARY KEY, n, answer, at)")
        file.execute(f"INSERT INTO {KEYS} VALUES ('of the file', 1, '-', 1)")
        file.commit()
    other = unique_slug("load")
    try:
        call_command("tenant_load", other, str(path), verbosity=0)
        assert "of the file" not in clients(other)
    finally:
        lose_row(other)
        empty_object(tenant_alias(other))


def test_a_deletion_takes_them(written):
    call_command("tenant_delete", written, yes=True, stdout=StringIO())
    assert {
        name for name in names(written) if not name.startswith(("_cf_", "__miniflare", "sqlite_"))
    } == set()


def test_an_object_that_holds_keys_alone_can_be_provisioned_and_loaded(written, tmp_path):
    path = tmp_path / "acme.sqlite3"
    call_command("tenant_dump", written, str(path), verbosity=0)
    for fill in (
        lambda slug: provision(slug),
        lambda slug: call_command("tenant_load", slug, str(path), verbosity=0),
    ):
        slug = unique_slug("keys")
        alias = tenant_alias(slug)
        connection = connections[alias]
        connection.ensure_connection()
        try:
            connection.connection.expect = None
            # Keyed, and nothing is left of it but its key.
            connection.connection.execute_batch([("CREATE TABLE t (v)", None), ("DROP TABLE t", None)])
            connection.close()
            fill(slug)
            with tenant_context(slug):
                assert Post.objects.count() <= 1
        finally:
            lose_row(slug)
            empty_object(alias)


def test_a_new_tenant_gets_none_of_the_scratch_object(acme):
    template_dump()
    alias = tenant_databases().template_object_alias(fingerprint_once())
    dump = dump_database(connections[alias])
    connections[alias].close()
    assert not any(KEYS in sql for sql in dump.schema)
    assert KEYS not in {table for table, _, _ in dump.rows}


def test_inspectdb_and_the_pages_do_not_show_them(written):
    out = StringIO()
    call_command("inspectdb", database=tenant_alias(written), stdout=out)
    assert "class BlogPost" in out.getvalue()
    assert KEYS not in out.getvalue()
    with Inspected(written).connect(10) as connection:
        assert "blog_post" in table_names(connection)
        assert KEYS not in table_names(connection)
