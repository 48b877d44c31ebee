"""A tenant that a command line names and nobody has made gets no command, and no tables."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Tenant
from blog.models import Post
from do_bridge.management import named_tenants as typed
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import ObjectTaken, has_tables
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.errors import TenantUnclaimed
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy.processes import finish, start

POST = {"model": "blog.post", "pk": 1, "fields": {"title": "t", "content": "-", "user": 1}}


@pytest.fixture
def typo(db):
    """A slug that nobody has, and whose object is emptied afterwards."""
    slug = unique_slug("typo")
    yield slug
    connections[tenant_alias(slug)].close()
    empty_object(tenant_alias(slug))


@pytest.fixture
def as_typed(typo, monkeypatch):
    """Lets this process work as one whose command line names the slug."""
    monkeypatch.setattr(typed, "in_test_environment", lambda: False)
    typed.check_typed({typo})
    yield typo
    typed._unknown.clear()


def refusal(slug):
    return (
        f"Tenant '{slug}' does not exist. Check the slug with `manage.py list_tenants`, or run "
        f"`manage.py create_tenant {slug}`."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["dbshell"],
        ["loaddata", "{fixture}"],
        ["dumpdata", "blog"],
        ["flush", "--no-input"],
        ["sqlflush"],
        ["inspectdb"],
        ["showmigrations"],
        ["sqlmigrate", "blog", "0001"],
        ["remove_stale_contenttypes", "--no-input"],
        ["migrate"],
        ["migrate", "--plan"],
    ],
    ids=" ".join,
)
def test_no_command_of_django_works_on_it(as_typed, arguments, tmp_path, monkeypatch):
    fixture = tmp_path / "posts.json"
    fixture.write_text(json.dumps([POST]))
    monkeypatch.setattr("sys.stdin", io.StringIO("CREATE TABLE zz (a);"))
    name, *rest = [argument.format(fixture=fixture) for argument in arguments]
    out = io.StringIO()
    with pytest.raises(CommandError, match="does not exist") as caught:
        call_command(name, *rest, database=tenant_alias(as_typed), stdout=out, stderr=out)
    assert str(caught.value).endswith(refusal(as_typed))
    monkeypatch.undo()
    assert not has_tables(as_typed)


def test_it_is_refused_as_often_as_it_is_tried(as_typed):
    for _ in range(2):
        with pytest.raises(CommandError, match="does not exist"):
            connections[tenant_alias(as_typed)].ensure_connection()


def test_one_that_is_there_is_asked_for_once(as_typed, trips):
    Tenant.objects.create(slug=as_typed, name="There")
    before = trips.count
    for _ in range(2):
        connections[tenant_alias(as_typed)].ensure_connection()
        connections[tenant_alias(as_typed)].close()
    # One for the row, and one for the place.
    assert trips.count - before == 2


def test_dbshell_is_refused_in_one_line_in_a_process_of_its_own(typo):
    code, output = finish(start("dbshell", "--database", tenant_alias(typo)))
    assert code == 1
    assert output == f"CommandError: {refusal(typo)}\n"
    assert not has_tables(typo)


def test_loaddata_is_refused_in_one_line_in_a_process_of_its_own(typo, tmp_path):
    (tmp_path / "posts.json").write_text(json.dumps([POST]))
    code, output = finish(start("loaddata", tmp_path / "posts.json", f"--database={tenant_alias(typo)}"))
    assert (code, output) == (1, f"CommandError: {refusal(typo)}\n")
    assert not has_tables(typo)


def test_code_that_names_an_alias_is_believed_but_dbshell_is_not(typo, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("CREATE TABLE zz (a);"))
    with pytest.raises(CommandError, match="does not exist"):
        call_command("dbshell", database=tenant_alias(typo))
    assert not has_tables(typo)
    call_command("migrate", database=tenant_alias(typo), verbosity=0)
    assert has_tables(typo)


def test_a_stray_table_is_not_taken_over_by_a_creation_unless_it_is_asked_to(typo):
    with unchecked(tenant_alias(typo)):
        run_batch(connections[tenant_alias(typo)], [("CREATE TABLE zz (a)", None)])
    with pytest.raises(ObjectTaken, match=f"`manage.py create_tenant --adopt {typo}`"):
        create_tenant(typo)
    assert not Tenant.objects.filter(slug=typo).exists()
    assert ledger.states(typo)[typo].state == ledger.DELETED
    create_tenant(typo, adopt=True)
    with unchecked(tenant_alias(typo)), connections[tenant_alias(typo)].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM zz")


def test_a_stray_table_is_not_taken_over_by_the_first_use_of_a_row_made_by_hand(typo):
    with unchecked(tenant_alias(typo)):
        run_batch(connections[tenant_alias(typo)], [("CREATE TABLE zz (a)", None)])
    Tenant.objects.create(slug=typo, name="By hand")
    with pytest.raises(TenantUnclaimed, match="has tables that were not made for this tenant"):
        Post.objects.using(tenant_alias(typo)).count()
