"""Bookmarks of tenants that move, on a stand-in for objects with a history and jurisdictions."""

import pytest
from django.core.management import CommandError

from do_bridge.models import TenantBookmark
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.states import MOVING, State
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from tests.lifecycle.rewinding import bookmark, run, titles, write


def test_a_bookmark_of_the_object_that_a_tenant_has_left_is_refused_on_a_stand_in(slug, author):
    before = bookmark(slug)
    run("tenant_move", slug, "--jurisdiction", "eu")
    write(slug, author, "later")
    with pytest.raises(CommandError, match="object in the jurisdiction 'none', which tenant .* has left"):
        run("tenant_restore", slug, "--bookmark", before, "--noinput")
    row = leases.look(slug)
    assert (row.state, row.operation, row.jurisdiction) == (State.READY, "", "eu")
    assert titles(slug) == ["before", "later"]
    assert before not in run("tenant_bookmark", slug, "--list")


def test_a_moved_tenant_goes_back_in_its_new_place_on_a_stand_in(slug, author):
    run("tenant_move", slug, "--jurisdiction", "eu")
    moved = bookmark(slug)
    write(slug, author, "bad")
    run("tenant_restore", slug, "--bookmark", moved, "--noinput")
    assert titles(slug) == ["before"]
    assert set(TenantBookmark.objects.filter(slug=slug).values_list("jurisdiction", flat=True)) == {"eu"}


def test_a_tenant_that_came_back_has_its_earlier_history_again_on_a_stand_in(slug, author):
    before = bookmark(slug)
    write(slug, author, "bad")
    run("tenant_move", slug, "--jurisdiction", "eu")
    run("tenant_move", slug, "--jurisdiction", "none")
    run("tenant_restore", slug, "--bookmark", before, "--noinput")
    assert titles(slug) == ["before"]
    assert leases.look(slug).fingerprint == code_fingerprint()


def test_a_moment_in_the_middle_of_a_move_can_be_used_on_a_stand_in(slug, author, monkeypatch):
    from do_bridge.tenancy.lifecycle.transfer import moving

    taken = []
    monkeypatch.setattr(
        moving, "dump_connection", lambda source, *arguments: taken.append(source.bookmark()) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError, match="division"):
        run("tenant_move", slug, "--jurisdiction", "eu")
    write(slug, author, "bad")
    run("tenant_restore", slug, "--bookmark", taken[0], "--noinput")
    row = leases.look(slug)
    assert (row.operation, row.fingerprint) == ("", code_fingerprint())
    assert row.fingerprint != MOVING
    assert titles(slug) == ["before"]
