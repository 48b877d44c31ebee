"""tenant_restore and tenant_bookmark, on objects with a history: a stand-in for the platform's recovery."""

from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError
from django.db import DataError
from django.utils.timezone import now

from accounts.models import Membership, Tenant, User
from do_bridge.models import TenantBookmark
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.history import bookmarks
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.lifecycle.states import Operation, State
from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.lifecycle.rewinding import bookmark, run, titles, undo_in, write


def test_a_tenant_goes_back_to_a_bookmark_and_forth_on_a_stand_in(slug, author):
    before = bookmark(slug)
    write(slug, author, "bad")
    text = run("tenant_restore", slug, "--bookmark", before, "--noinput")
    assert titles(slug) == ["before"]
    row = leases.look(slug)
    assert (row.state, row.operation, row.fingerprint) == (State.READY, "", code_fingerprint())
    assert "was restored" in text
    write(slug, author, "later")
    run("tenant_restore", slug, "--bookmark", undo_in(text), "--noinput")
    assert titles(slug) == ["before", "bad"]
    kept = TenantBookmark.objects.filter(slug=slug).values_list("reason", flat=True)
    assert sorted(kept) == ["request", "restore", "restore"]
    assert TenantBookmark.objects.get(bookmark=before).used is not None


def test_a_tenant_goes_back_to_a_moment_on_a_stand_in(slug, author, settings):
    settings.TIME_ZONE = "UTC"
    moment = now()
    write(slug, author, "bad")
    text = run("tenant_restore", slug, "--to", moment.isoformat(), "--noinput")
    assert f"{moment:%Y-%m-%d %H:%M:%S} UTC" in text
    assert titles(slug) == ["before"]


def test_an_older_lease_is_refused_after_a_restore_on_a_stand_in(slug, author):
    before = bookmark(slug)
    row = leases.look(slug)
    write(slug, author, "bad")
    run("tenant_restore", slug, "--bookmark", before, "--noinput")
    assert read_tenant(slug).fence > row.fence
    assert leases.look(slug).fence == read_tenant(slug).fence


def test_members_copies_follow_on_a_stand_in(slug, author):
    before = bookmark(slug)
    late = User.objects.create_user("late", name="Late")
    Membership.objects.create(user=late, tenant=Tenant.objects.get(slug=slug))
    Membership.objects.get(user=author, tenant__slug=slug).delete()
    run("tenant_restore", slug, "--bookmark", before, "--noinput")
    copies = User.objects.using(tenant_alias(slug))
    assert dict(copies.values_list("username", "is_active")) == {"ada": False, "late": True}


def test_a_user_who_was_deleted_since_stays_inactive_on_a_stand_in(slug, author):
    gone = User.objects.create_user("gone", name="Gone")
    Membership.objects.create(user=gone, tenant=Tenant.objects.get(slug=slug))
    before = bookmark(slug)
    gone.delete()
    run("tenant_restore", slug, "--bookmark", before, "--noinput")
    copies = User.objects.using(tenant_alias(slug))
    assert dict(copies.values_list("username", "is_active")) == {"ada": True, "gone": False}


def test_content_types_keep_the_keys_of_d1_on_a_stand_in(slug):
    before = bookmark(slug)
    # D1 has learned of a model since, and the tenant with it.
    made = ContentType.objects.create(app_label="blog", model="newcomer")
    try:
        copy_content_types(tenant_alias(slug))
        run("tenant_restore", slug, "--bookmark", before, "--noinput")
        assert ContentType.objects.using(tenant_alias(slug)).get(model="newcomer").pk == made.pk
    finally:
        made.delete()
        ContentType.objects.clear_cache()


@pytest.mark.parametrize("answer", [None, "no"], ids=["closed", "another answer"])
def test_nothing_is_done_without_the_right_answer_on_a_stand_in(slug, author, monkeypatch, answer):
    def give(prompt):
        if answer is None:
            raise EOFError
        return answer

    before = bookmark(slug)
    write(slug, author, "later")
    monkeypatch.setattr("builtins.input", give)
    with pytest.raises(CommandError, match="Nothing was restored"):
        run("tenant_restore", slug, "--bookmark", before)
    assert titles(slug) == ["before", "later"]
    monkeypatch.setattr("builtins.input", lambda prompt: slug)
    run("tenant_restore", slug, "--bookmark", before)
    assert titles(slug) == ["before"]


def test_a_moment_before_the_tenant_is_refused_and_undone_on_a_stand_in(slug, author):
    with pytest.raises(CommandError, match="had no data"):
        run("tenant_restore", slug, "--to", (now() - timedelta(hours=1)).isoformat(), "--noinput")
    assert titles(slug) == ["before"]
    assert leases.look(slug).operation == ""
    assert lookup.get(slug) is not None


@pytest.fixture
def former(slug, author):
    """A bookmark of the tenant that had the slug before."""
    before = bookmark(slug)
    run("tenant_delete", slug, "--yes")
    create_tenant(slug, "", [author])
    write(slug, author, "present")
    return before


def test_a_former_tenants_data_does_not_come_back_for_a_moment_on_a_stand_in(slug, former, frames):
    with pytest.raises(CommandError, match="a former tenant's"):
        run("tenant_restore", slug, "--bookmark", former, "--noinput")
    assert titles(slug) == ["present"]
    # Its creation had not been settled; the object has the restore's token now, and the creation's owner.
    lookup.forget()
    assert lookup.get(slug) is not None
    assert leases.look(slug).operation == ""
    # What visitors wrote between a restore and its undoing would be lost.
    assert "restore" not in [frame["op"] for frame in frames]
    assert former not in [one.bookmark for one in bookmarks.listed(slug)]


def test_a_restore_to_a_former_tenants_data_is_undone_where_the_history_is_too_short_on_a_stand_in(
    slug, former, monkeypatch
):
    def too_short(row, at=None):
        if at is not None:
            raise DataError("The history of the object does not have this bookmark or moment.")
        return present(row)

    present = bookmarks.bookmark_of
    monkeypatch.setattr(bookmarks, "bookmark_of", too_short)
    with pytest.raises(CommandError, match="a former tenant's"):
        run("tenant_restore", slug, "--bookmark", former, "--noinput")
    assert titles(slug) == ["present"]


def test_a_bookmark_that_the_platform_refuses_changes_nothing_on_a_stand_in(slug):
    with pytest.raises(CommandError, match="history of the object does not have"):
        run("tenant_restore", slug, "--bookmark", "ffffffff-0-0-0", "--noinput")
    assert leases.look(slug).operation == ""
    assert titles(slug) == ["before"]


def test_while_a_restore_is_not_finished_nobody_uses_the_tenant_on_a_stand_in(slug, author):
    before = bookmark(slug)
    write(slug, author, "bad")
    leases.take_many([leases.look(slug)], Operation.REWIND, seconds=0, noting=bookmarks.before_rewind)
    lookup.forget()
    with pytest.raises(TenantBehind, match="'rewind' has not finished"):
        lookup.get(slug)
    (kept,) = TenantBookmark.objects.filter(slug=slug, reason="restore")
    text = run("tenant_restore", slug, "--bookmark", before, "--noinput")
    assert undo_in(text) == kept.bookmark
    assert titles(slug) == ["before"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--to", "yesterday"], "is not a time"),
        ([], "required"),
        (["--all", "--before-migration"], "Name one tenant"),
        (["--to", "2999-01-01"], "in the future"),
        (["--to", "2020-01-01T00:00"], "30 days"),
        (["--before-migration"], "No bookmark from before"),
    ],
)
def test_what_cannot_be_meant_is_refused_on_a_stand_in(slug, arguments, text):
    with pytest.raises(CommandError, match=text):
        run("tenant_restore", slug, *arguments, "--noinput")
    assert titles(slug) == ["before"]


def test_the_local_runtime_refuses_a_restore_and_the_tenant_goes_on(author):
    slug = unique_slug("local")
    create_tenant(slug)
    Membership.objects.create(user=author, tenant=Tenant.objects.get(slug=slug))
    lookup.get(slug)
    write(slug, author, "before")
    present = bookmark(slug)
    for target in (["--bookmark", present], ["--to", now().isoformat()]):
        with pytest.raises(CommandError, match="keeps no history of objects"):
            run("tenant_restore", slug, *target, "--noinput")
    assert leases.look(slug).operation == ""
    write(slug, author, "after")
    assert titles(slug) == ["before", "after"]
    empty_object(tenant_alias(slug))
