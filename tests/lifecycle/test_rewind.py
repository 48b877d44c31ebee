"""tenant_restore and tenant_bookmark, on objects with a history: a stand-in for the platform's recovery."""

from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError
from django.db import DatabaseError, DataError
from django.utils.timezone import now

from accounts.models import Membership, Tenant, User
from do_bridge.models import TenantBookmark
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.history import bookmarks, rewind
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.lifecycle.states import Operation, State
from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.lifecycle.rewinding import bookmark, run, run_refused, titles, undo_in, write


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
    text = run_refused(
        "was not restored. This point of the object's history can't be used: the platform",
        "tenant_restore",
        slug,
        "--bookmark",
        "ffffffff-0-0-0",
        "--noinput",
    )
    assert "To undo this" not in text
    assert leases.look(slug).operation == ""
    assert titles(slug) == ["before"]
    assert not TenantBookmark.objects.filter(slug=slug).exists()


def test_a_restore_that_fails_in_the_middle_prints_the_way_back_on_a_stand_in(slug, author, monkeypatch):
    def fail(alias):
        raise DatabaseError("The connection was lost")

    before = bookmark(slug)
    write(slug, author, "bad")
    with monkeypatch.context() as patched:
        patched.setattr(rewind, "copy_content_types", fail)
        text = run_refused("connection was lost", "tenant_restore", slug, "--bookmark", before, "--noinput")
    assert text.count("To undo this") == 1
    run("tenant_restore", slug, "--bookmark", undo_in(text), "--noinput")
    assert titles(slug) == ["before", "bad"]
    assert leases.look(slug).operation == ""


def test_a_restore_prints_its_way_back_once_on_a_stand_in(slug):
    text = run("tenant_restore", slug, "--bookmark", bookmark(slug), "--noinput")
    assert text.count("To undo this") == 1


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
        (["--all", "--before-migration"], "Name one tenant or use --all, not both"),
        (["--before-migration", "--since", "2026-01-01"], "--since chooses among all tenants"),
        (["--to", "2999-01-01"], "history can't be used: the moment is in the future.$"),
        (["--to", "2020-01-01T00:00"], "30 days"),
        (["--before-migration"], "No bookmark from before"),
    ],
)
def test_what_cannot_be_meant_is_refused_on_a_stand_in(slug, arguments, text):
    with pytest.raises(CommandError, match=text):
        run("tenant_restore", slug, *arguments, "--noinput")
    assert titles(slug) == ["before"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--before-migration"], "Name one tenant, or use --all"),
        (["--all", "--to", "2026-01-01", "--since", "2026-01-01"], "Use it with --before-migration"),
        (["--all", "--before-migration"], "Add --since TIME"),
        (["--all", "--before-migration", "--since", "2026-01-01", "--jobs", "0"], "1 or more"),
    ],
)
def test_each_mistake_about_all_has_a_message_of_its_own(db, arguments, text):
    run_refused(text, "tenant_restore", *arguments, "--noinput")


def test_bookmarks_that_are_switched_off_are_named_as_the_reason(slug, settings):
    since = ["--all", "--before-migration", "--since", now().isoformat(), "--noinput"]
    run_refused("No tenant with data was migrated since .* UTC. Check the time", "tenant_restore", *since)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "BOOKMARKS": False}
    for arguments in (since, [slug, "--before-migration", "--noinput"]):
        run_refused(
            r"is kept. DO_BRIDGE\['BOOKMARKS'\] is False, so .* (Use|Take)",
            "tenant_restore",
            *arguments,
        )


def test_a_list_without_bookmarks_says_so(slug):
    assert run("tenant_bookmark", slug, "--list") == (
        f"No bookmark of tenant '{slug}' is kept. `manage.py tenant_bookmark {slug}` keeps one.\n"
    )
    assert run("tenant_bookmark", slug, "--list", "--verbosity", "0") == ""
    taken = bookmark(slug)
    assert run("tenant_bookmark", slug, "--list").startswith(taken)


def test_the_local_runtime_refuses_a_restore_and_the_tenant_goes_on(author):
    slug = unique_slug("local")
    create_tenant(slug)
    Membership.objects.create(user=author, tenant=Tenant.objects.get(slug=slug))
    lookup.get(slug)
    write(slug, author, "before")
    present = bookmark(slug)
    for target in (["--bookmark", present], ["--to", now().isoformat()]):
        text = run_refused("keeps no history of objects", "tenant_restore", slug, *target, "--noinput")
        assert "To undo this" not in text
    assert [one.reason for one in bookmarks.listed(slug)] == [bookmarks.REQUEST]
    assert leases.look(slug).operation == ""
    write(slug, author, "after")
    assert titles(slug) == ["before", "after"]
    empty_object(tenant_alias(slug))
