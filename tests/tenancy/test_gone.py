"""A tenant that another process deletes: whoever still remembers it says 404, and makes nothing anew."""

import logging
import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from accounts.models import Tenant
from blog.models import Post
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle import provision as provisioning
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.tenancy.lifecycle.provision import has_tables, provision_noted
from do_bridge.tenancy.migrate import bring, catch_up
from do_bridge.tenancy.schema.errors import TenantBehind, TenantGone
from do_bridge.tenancy.tenants import lookup
from tests.tenancy.cut_off import cut_off
from tests.tenancy.lost_rows import lose_row
from tests.tenancy.newer_code import NAME, RATING, newer_code
from tests.tenancy.processes import finish, start


@pytest.fixture
def remembered(acme):
    """A tenant that this process has looked up and served."""
    provision_noted(acme.slug)
    lookup.forget()
    assert Client().get(f"/t/{acme.slug}/").status_code == 200
    return acme


def posts(slug):
    return Post.objects.using(tenant_alias(slug)).count()


def test_a_visitor_of_a_tenant_that_another_process_deleted_gets_a_404(remembered):
    code, output = finish(start("tenant_delete", remembered.slug, "--yes"))
    assert code == 0, output
    # From this process's memory, for the first time; from the directory then.
    assert lookup._rows.keys() == {remembered.slug}
    for path in ("", "about/", ""):
        assert Client().get(f"/t/{remembered.slug}/{path}").status_code == 404
    assert lookup._rows.keys() == set()
    with pytest.raises(TenantGone, match="was deleted"):
        posts(remembered.slug)
    assert not has_tables(remembered.slug)
    assert ledger.states(remembered.slug)[remembered.slug].state == ledger.DELETED


def test_a_row_deleted_by_hand_is_forgotten_with_the_next_look_up(remembered, monkeypatch):
    lose_row(remembered.slug)
    lookup.forget()
    assert Client().get(f"/t/{remembered.slug}/").status_code == 404


def test_a_use_between_the_deletions_two_parts_makes_nothing_anew(remembered, monkeypatch):
    seen = []
    known = catch_up._is_here

    def registered(slug):
        # It has its row still when this process asks; then the deletion comes to its end.
        answer = known(slug)
        if not seen:
            seen.append(answer)
            assert finish(start("tenant_delete", slug, "--yes"))[0] == 0
        return answer

    monkeypatch.setattr(catch_up, "_is_here", registered)
    from do_bridge.testing import empty_object

    empty_object(tenant_alias(remembered.slug))
    with pytest.raises(TenantGone, match="deleted"):
        posts(remembered.slug)
    assert seen == [True]
    assert not has_tables(remembered.slug)


@pytest.fixture
def overtaken(monkeypatch, no_renewals):
    """Lets a test do something while this process migrates a tenant, whose lease has expired."""

    def do(work):
        call = provisioning.call_command

        def late(*arguments, **options):
            monkeypatch.setattr(provisioning, "call_command", call)
            work()
            return call(*arguments, **options)

        monkeypatch.setattr(provisioning, "call_command", late)

    return do


def test_a_tenant_deleted_while_it_was_caught_up_is_emptied_again(remembered, overtaken, tmp_path):
    overtaken(lambda: call_command("tenant_delete", remembered.slug, "--yes", verbosity=0))
    with newer_code(tmp_path, RATING), pytest.raises(TenantGone, match="deleted"):
        posts(remembered.slug)
    assert not has_tables(remembered.slug)
    assert ledger.states(remembered.slug)[remembered.slug].state == ledger.DELETED


def test_a_new_tenant_of_the_slug_is_not_touched_by_whoever_caught_up_the_old_one(
    remembered, overtaken, tmp_path
):
    def make_anew():
        call_command("tenant_delete", remembered.slug, "--yes", verbosity=0)
        create_tenant(remembered.slug, "Anew")
        # So that the migration has something to do.
        call_command("migrate", "blog", "0001", database=tenant_alias(remembered.slug), verbosity=0)

    overtaken(make_anew)
    with newer_code(tmp_path, RATING):
        # The first attempt is refused by the object, the second one is about the new tenant.
        assert posts(remembered.slug) == 0
        assert times_applied(remembered.slug) == 1
    assert Tenant.objects.get(slug=remembered.slug).name == "Anew"


def test_a_tenant_deleted_during_a_run_over_many_is_told_and_stays_empty(
    remembered, monkeypatch, tmp_path, no_renewals
):
    def deleted_meanwhile(steps, slug, start):
        call_command("tenant_delete", slug, "--yes", verbosity=0)
        return bring_on(steps, slug, start)

    bring_on = bring.Steps.bring
    monkeypatch.setattr(bring.Steps, "bring", deleted_meanwhile)
    out = StringIO()
    with newer_code(tmp_path, RATING), pytest.raises(CommandError, match="1 of 1 tenants failed"):
        call_command("migrate", "--database", "tenant", "--tenant", remembered.slug, stdout=out, stderr=out)
    assert "took over tenant" in out.getvalue()
    assert not has_tables(remembered.slug)
    assert ledger.states(remembered.slug)[remembered.slug].state == ledger.DELETED


def test_a_slug_that_is_registered_anew_by_hand_is_provisioned_by_its_first_use(remembered):
    call_command("tenant_delete", remembered.slug, "--yes", verbosity=0)
    Tenant.objects.create(slug=remembered.slug, name="Anew")
    assert posts(remembered.slug) == 0
    assert ledger.states(remembered.slug)[remembered.slug].state == ledger.READY


def test_a_deletion_that_failed_or_was_cut_off_keeps_visitors_out_until_it_is_repeated(remembered, caplog):
    caplog.set_level(logging.CRITICAL)
    # Killed after the object was emptied, before the directory's rows went.
    code, _ = finish(start("tenant_delete", remembered.slug, "--yes", kill=("d1:", "DELETE FROM", 1, False)))
    assert code == -signal.SIGKILL
    for failed in (False, True):
        if failed:
            cut_off(remembered.slug, "delete", error="the object cannot be reached")
        assert Client().get(f"/t/{remembered.slug}/").status_code == 503
        with pytest.raises(TenantBehind, match="'delete' has not finished|runs 'delete' on it"):
            posts(remembered.slug)
    assert not has_tables(remembered.slug)
    call_command("tenant_delete", remembered.slug, "--yes", verbosity=0)
    assert Client().get(f"/t/{remembered.slug}/").status_code == 404


def test_a_migration_of_one_tenant_makes_nothing_anew_in_what_a_deletion_left_empty(remembered, caplog):
    caplog.set_level(logging.CRITICAL)
    code, _ = finish(start("tenant_delete", remembered.slug, "--yes", kill=("d1:", "DELETE FROM", 1, False)))
    assert code == -signal.SIGKILL
    with pytest.raises(CommandError, match="was interrupted. .*tenant_delete"):
        call_command("migrate", database=tenant_alias(remembered.slug), verbosity=0)
    assert not has_tables(remembered.slug)
    assert Client().get(f"/t/{remembered.slug}/").status_code == 503


def test_a_tenant_whose_deletion_did_not_reach_it_is_for_the_deletion_alone(remembered):
    cut_off(remembered.slug, "delete", error="the object cannot be reached")
    with pytest.raises(CommandError, match="was interrupted. .*tenant_delete"):
        call_command("migrate", database=tenant_alias(remembered.slug), verbosity=0)
    call_command("tenant_delete", remembered.slug, "--yes", verbosity=0)
    assert not has_tables(remembered.slug)


def times_applied(slug):
    with unchecked(), connections[tenant_alias(slug)].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE name = %s", [NAME])
        return cursor.fetchone()[0]
