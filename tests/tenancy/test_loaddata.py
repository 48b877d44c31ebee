"""loaddata with tenants: into one of them, never by accident into D1's own tables."""

import io
import json

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.backends.remote_sqlite.fixtures import staging
from do_bridge.tenancy import directory_context, tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.dump import dump_tenant

MOMENT = "2024-02-29T12:00:00Z"
TENANT = {
    "model": "accounts.tenant",
    "pk": 99,
    "fields": {"slug": "new", "name": "New", "created": MOMENT},
}
OTHER = f"{staging.FIXTURE_TABLES}9999999999_00000000_1_abcd"


def posts(count, user, first=1, body="-"):
    fields = {"content": body, "user": user, "created": MOMENT, "updated": MOMENT}
    numbers = range(first, first + count)
    return [{"model": "blog.post", "pk": n, "fields": {"title": f"t{n}", **fields}} for n in numbers]


@pytest.fixture
def loaddata(tmp_path):
    """loaddata(records, …): runs the command with a fixture of them; returns (stdout, stderr)."""

    def run(records, *before, **options):
        path = tmp_path / "fixture.json"
        path.write_text(json.dumps(records))
        out, err = io.StringIO(), io.StringIO()
        call_command(*before, "loaddata", str(path), stdout=out, stderr=err, **options)
        return out.getvalue(), err.getvalue()

    return run


def count_in(tenant):
    return Post.objects.using(tenant_alias(tenant.slug)).count()


@pytest.mark.parametrize("count", [250, 7000])
def test_a_tenants_posts_are_loaded_without_holding_it(acme, in_both, loaddata, calls, count):
    told = loaddata(posts(count, in_both, body="b" * 400), "tenant_command", acme.slug)
    assert told == (f"Installed {count} object(s) from 1 fixture(s)\n", "")
    operations = [operation for alias, operation in calls() if alias == tenant_alias(acme.slug)]
    assert operations == ["batch"] * {250: 1, 7000: 3}[count]
    assert count_in(acme) == count


@pytest.mark.parametrize("options", [{}, {"database": "default"}])
def test_tenants_rows_are_refused_by_the_shared_database(acme, in_both, loaddata, options):
    rows = [TENANT, *posts(1, in_both)]
    for scope in (directory_context(), tenant_context(acme)):
        with scope, pytest.raises(CommandError, match="--database tenant/<slug>") as caught:
            loaddata(rows, **options)
        assert str(caught.value).startswith("The rows of blog.Post belong into a tenant's database, not")
        assert "\n" not in str(caught.value)
    assert not Post.objects.using("default").exists()
    assert not Tenant.objects.filter(pk=99).exists()


def test_what_the_shared_database_refuses_can_be_left_out(db, author, loaddata):
    rows = [TENANT, *posts(1, author.pk)]
    told, _ = loaddata(rows, exclude=["blog"])
    assert told == "Installed 1 object(s) (of 2) from 1 fixture(s)\n"
    assert Tenant.objects.get(pk=99).slug == "new"


def test_rows_that_tenants_models_point_at_are_a_tenants_own_without_a_word(acme, loaddata):
    user = {"model": "accounts.user", "pk": 77, "fields": {"username": "copy", "name": "Copy"}}
    assert loaddata([*posts(2, 77), user], database=tenant_alias(acme.slug))[1] == ""
    assert User.objects.using(tenant_alias(acme.slug)).get(pk=77).username == "copy"
    assert not User.objects.filter(pk=77).exists()
    assert count_in(acme) == 2


def test_rows_that_are_read_from_the_shared_database_are_loaded_with_a_warning(acme, author, loaddata):
    alias = tenant_alias(acme.slug)
    _, warned = loaddata([TENANT, TENANT], database=alias)
    assert warned.splitlines() == [
        "The rows of accounts.Tenant are read from the shared database, so those in "
        f"'{alias}' are never seen. Load them with --database default."
    ]
    assert not Membership.objects.using(alias).exists()


def test_content_types_and_permissions_are_found_by_natural_keys(acme, loaddata):
    alias = tenant_alias(acme.slug)
    rows = [
        {
            "model": "auth.permission",
            "fields": {"codename": f"p{n}", "name": "P", "content_type": ["blog", "post"]},
        }
        for n in range(30)
    ]
    with tenant_context(acme):
        assert loaddata(rows, database=alias) == ("Installed 30 object(s) from 1 fixture(s)\n", "")
    of_posts = {"content_type__model": "post", "codename__startswith": "p"}
    assert Permission.objects.using(alias).filter(**of_posts).count() == 30
    assert not Permission.objects.filter(**of_posts).exists()


def test_a_load_names_its_own_tenant_while_another_one_is_current(acme, zeta, in_both, loaddata):
    with tenant_context(zeta):
        loaddata(posts(3, in_both), database=tenant_alias(acme.slug))
    assert (count_in(acme), count_in(zeta)) == (3, 0)


def test_all_tenants_are_loaded_at_once(acme, zeta, in_both, tmp_path):
    path = tmp_path / "posts.json"
    path.write_text(json.dumps(posts(40, in_both)))
    out = io.StringIO()
    call_command("all_tenants_command", "--jobs", "2", "loaddata", str(path), stdout=out, stderr=out)
    assert "2 tenants, 0 failed" in out.getvalue()
    assert (count_in(acme), count_in(zeta)) == (40, 40)


def test_a_staging_table_is_in_no_dump_and_on_no_list(acme, in_both, loaddata, tmp_path):
    alias = tenant_alias(acme.slug)
    with connections[alias].cursor() as cursor:
        cursor.execute(f'CREATE TABLE "{OTHER}" (n INTEGER PRIMARY KEY, v)')
        cursor.execute(f"INSERT INTO \"{OTHER}\" VALUES (0, 'x')")  # noqa: S608
    loaddata(posts(2, in_both), database=alias)
    assert OTHER not in connections[alias].introspection.table_names()
    report = dump_tenant(acme.slug, tmp_path / "acme.sqlite3")
    assert OTHER.encode() not in (tmp_path / "acme.sqlite3").read_bytes()
    assert report.tables
    out = io.StringIO()
    call_command("inspectdb", database=alias, stdout=out)
    assert "fixture" not in out.getvalue()
