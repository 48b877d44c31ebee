"""Log records tell the tenant, the alias, the time and the rows; tracing sees every statement."""

import logging
import time

import pytest
from django.db import DatabaseError, connections, transaction

from blog.models import Post
from do_bridge.contrib.logging import TenantFilter, trace
from do_bridge.tenancy import alias_slug, directory_context, tenant_alias, tenant_context


@pytest.fixture
def queries(acme, caplog):
    """The records of do_bridge.queries, cleared after the tenant has been made."""
    connections[tenant_alias(acme.slug)].close()
    caplog.set_level(logging.DEBUG, "do_bridge.queries")
    caplog.clear()
    return lambda: [record for record in caplog.records if record.name == "do_bridge.queries"]


def test_a_request_is_logged_with_tenant_alias_duration_and_rows(acme, in_both, queries):
    with tenant_context(acme):
        Post.objects.bulk_create(Post(title=f"p{n}", content="-", user_id=in_both) for n in range(3))
        assert len(Post.objects.all()) == 3
        Post.objects.filter(title="p1").update(title="q")
    alias = tenant_alias(acme.slug)
    records = [record for record in queries() if record.alias == alias]
    assert {record.tenant for record in records} == {acme.slug}
    assert all(0 < record.duration < 30 for record in records)
    read = [record for record in records if record.rows_returned == 3 and not record.rows_changed]
    assert [(record.operation, record.statements, record.error) for record in read] == [("batch", 1, None)]
    assert records[-1].rows_changed == 1
    assert "1 changed" in records[-1].getMessage()


def test_d1_is_logged_under_its_alias_and_no_tenant(queries, django_user_model):
    with directory_context():
        assert django_user_model.objects.count() == 0
    (record,) = [record for record in queries() if record.alias == "default"]
    assert (record.tenant, record.rows_returned) == ("-", 1)


def test_a_tenants_records_carry_the_rows_that_the_runtime_read_and_wrote(acme, in_both, queries):
    with tenant_context(acme):
        posts = [Post(title=f"p{n}", content="-", user_id=in_both) for n in range(3)]
        # Django 6.1 opens no block for it by itself.
        with transaction.atomic():
            Post.objects.bulk_create(posts)
        Post.objects.get(pk=posts[1].pk)
        list(Post.objects.filter(content="nowhere"))
        Post.objects.filter(pk=posts[1].pk).update(content="x")
    records = [record for record in queries() if record.tenant == acme.slug]
    reads = [(record.rows_read, record.rows_written) for record in records if not record.rows_changed]
    # A commit has no statement; a key finds one row; without an index all three are looked at, and none fits.
    assert reads == [(None, None), (1, 0), (3, 0)]
    created, updated = [record for record in records if record.rows_changed]
    assert created.rows_written > 3
    assert (updated.rows_read, updated.rows_written) == (1, 1)
    assert updated.getMessage().endswith("1 changed; 1 read, 1 written")


def test_d1s_records_carry_them_once_a_session_knows_the_columns(queries, django_user_model):
    with directory_context():
        for _ in range(2):
            assert not list(django_user_model.objects.filter(first_name="nobody"))
    first, second = [record for record in queries() if record.alias == "default"]
    assert (first.rows_read, first.rows_written) == (None, None)
    assert second.rows_read >= 0
    assert second.rows_written == 0


def test_a_transaction_is_logged_to_its_commit(acme, in_both, queries):
    with tenant_context(acme), transaction.atomic(using=tenant_alias(acme.slug)):
        Post.objects.create(title="x", content="secret text", user_id=in_both)
    operations = [record.operation for record in queries() if record.tenant == acme.slug]
    assert operations == ["tx", "commit"]
    assert not any("secret text" in record.getMessage() for record in queries())


def test_a_request_that_fails_is_logged_with_its_error(acme, queries):
    with (
        pytest.raises(DatabaseError, match="no such table: nowhere"),
        connections[tenant_alias(acme.slug)].cursor() as cursor,
    ):
        cursor.execute("SELECT * FROM nowhere")
    (record,) = [record for record in queries() if record.error]
    assert (record.error, record.tenant) == ("OperationalError", acme.slug)


def make(**attributes):
    return logging.makeLogRecord({"name": "site", "msg": "hello", **attributes})


def test_the_filter_gives_any_record_the_current_tenant(acme):
    formatter = logging.Formatter("%(tenant)s %(alias)s %(message)s")

    def said(record):
        assert TenantFilter().filter(record)
        return formatter.format(record)

    with tenant_context(acme):
        assert said(make()) == f"{acme.slug} tenant/{acme.slug} hello"
        assert said(make(alias="default")) == "- default hello"
        assert said(make(alias="tenant/zeta")) == "zeta tenant/zeta hello"
    with directory_context():
        assert said(make()) == "- default hello"
    assert said(make()) == "- - hello"


def test_tracing_sees_every_statement_of_every_tenant_until_it_is_undone(acme, zeta):
    spans = []

    def tracer(execute, sql, params, many, context):
        start = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            alias = context["connection"].alias
            spans.append((alias_slug(alias), sql.split()[0], time.perf_counter() - start))

    open_already, opened_later = (connections[tenant_alias(tenant.slug)] for tenant in (acme, zeta))
    open_already.ensure_connection()
    opened_later.close()
    undo = trace(tracer)
    try:
        for tenant in (acme, zeta):
            with tenant_context(tenant):
                assert not Post.objects.exists()
    finally:
        undo()
    assert [(slug, verb) for slug, verb, _ in spans] == [(acme.slug, "SELECT"), (zeta.slug, "SELECT")]
    assert all(duration > 0 for *_, duration in spans)
    with tenant_context(acme):
        assert not Post.objects.exists()
    assert len(spans) == 2
    assert tracer not in opened_later.execute_wrappers
