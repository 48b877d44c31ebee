"""Marks of members whose copies a tenant's object may lack: written by D1 itself, taken away by the copy."""

import logging
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connections

import do_bridge
from accounts.models import Membership, User
from do_bridge.management.commands import create_tenants
from do_bridge.members import syncing, triggers
from do_bridge.members.models import DirtyFlag
from do_bridge.members.syncing import CopyFailed, add_member, follow, out_of_sync, remove_member, sync_members
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import creation, keeping
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.signals import tenant_filled
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object
from tests.tenancy.lost_rows import lose_row


@pytest.fixture
def unready(acme):
    """A tenant whose object has no table of users, so that no copy can be written."""
    rename(acme, "accounts_user", "away")
    return acme


def rename(tenant, old, new):
    with connections[tenant_alias(tenant.slug)].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def mend(tenant):
    rename(tenant, "away", "accounts_user")
    lookup.forget()


def flagged(tenant):
    keys = DirtyFlag.objects.filter(slug=tenant.slug).values_list("user_key", flat=True)
    return [int(key) for key in keys]


def copy_of(user, tenant):
    return User.objects.using(tenant_alias(tenant.slug)).filter(pk=user.pk).first()


def test_a_change_that_was_copied_leaves_no_mark(acme, author):
    add_member(author, acme)
    author.name = "Countess"
    author.save()
    assert copy_of(author, acme).name == "Countess"
    remove_member(author, acme)
    assert copy_of(author, acme).is_active is False
    assert not DirtyFlag.objects.exists()


def test_a_change_that_could_not_be_copied_is_marked_and_repaired_by_the_next_use(unready, author):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    author.name = "Countess"
    with pytest.raises(CopyFailed):
        author.save()
    assert set(flagged(unready)) == {author.pk}
    (behind,) = out_of_sync()
    assert (behind, behind.behind_since is not None) == (unready, True)
    mend(unready)
    assert lookup.get(unready.slug).is_out_of_sync
    assert copy_of(author, unready).name == "Countess"
    assert flagged(unready) == []
    assert not out_of_sync().exists()


def test_a_removal_that_could_not_be_copied_is_repaired_by_the_next_use(unready, author):
    mend(unready)
    add_member(author, unready)
    rename(unready, "accounts_user", "away")
    with pytest.raises(CopyFailed):
        remove_member(author, unready)
    mend(unready)
    assert copy_of(author, unready).is_active is True
    lookup.get(unready.slug)
    assert copy_of(author, unready).is_active is False
    assert flagged(unready) == []


def test_a_use_of_a_tenant_that_cannot_be_repaired_goes_on_and_is_logged(unready, author, caplog):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    with caplog.at_level(logging.WARNING, "do_bridge.members"):
        assert lookup.get(unready.slug).slug == unready.slug
    assert f"tenant {unready.slug} stay out of sync" in caplog.text
    assert flagged(unready) == [author.pk]


def test_looking_for_marks_costs_a_look_up_no_trip_more(acme, trips):
    lookup.forget()
    before = trips.count
    assert not lookup.get(acme.slug).is_out_of_sync
    assert trips.count - before == 1


def test_changes_that_no_signal_tells_of_are_marked_too(acme, author):
    Membership.objects.bulk_create([Membership(user=author, tenant=acme)])
    assert flagged(acme) == [author.pk]
    assert copy_of(author, acme) is None
    lookup.forget()
    lookup.get(acme.slug)
    assert copy_of(author, acme).username == "ada"
    User.objects.filter(pk=author.pk).update(name="Countess")
    Membership.objects.filter(user=author).update(role="owner")
    assert flagged(acme) == [author.pk]
    follow(acme, [author.pk], "")
    assert (copy_of(author, acme).name, flagged(acme)) == ("Countess", [])


def test_a_sign_in_or_a_save_that_changes_nothing_copied_marks_nothing(unready, author):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    DirtyFlag.objects.all().delete()
    User.objects.filter(pk=author.pk).update(email="ada@example.com", name=author.name)
    assert flagged(unready) == []


def test_a_change_that_d1_refused_is_not_flagged(unready, author):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    with pytest.raises(IntegrityError):
        add_member(author, unready)
    with pytest.raises(IntegrityError), do_bridge.batch():
        User.objects.filter(pk=author.pk).update(name="Countess")
        Membership.objects.bulk_create([Membership(user=author, tenant=unready)])
    assert flagged(unready) == [author.pk]


def test_a_change_that_comes_while_copies_are_written_keeps_its_mark(acme, author, monkeypatch):
    write = syncing.write_copies

    def late(users, alias):
        write(users, alias)
        User.objects.filter(pk=author.pk).update(name="Changed meanwhile")

    monkeypatch.setattr(syncing, "write_copies", late)
    add_member(author, acme)
    assert copy_of(author, acme).name == "Ada"
    assert flagged(acme) == [author.pk]


def test_sync_members_lists_and_repairs_what_is_out_of_sync(unready, author):
    out = StringIO()
    call_command("sync_members", check=True, stdout=out)
    assert "All are in sync" in out.getvalue()
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    with pytest.raises(CommandError, match="1 out of sync"):
        call_command("sync_members", check=True, stdout=out)
    assert f"{unready.slug}: out of sync since" in out.getvalue()
    mend(unready)
    repaired = StringIO()
    call_command("sync_members", out_of_sync=True, stdout=repaired)
    assert repaired.getvalue() == f"{unready.slug}: 1 members\n"
    assert flagged(unready) == []


def test_an_interrupted_migrate_that_left_no_triggers_is_reported_and_the_next_one_flags_all(acme, author):
    triggers.drop_triggers()
    try:
        add_member(author, acme)
        for option in ("check", "out_of_sync"):
            with pytest.raises(CommandError, match="Run migrate, which flags all members"):
                call_command("sync_members", **{option: True}, stdout=StringIO())
        author.name = "Countess"
        User.objects.bulk_update([author], ["name"])
        call_command("migrate", database="default", verbosity=0)
        # Nothing told of the change, so everybody is flagged.
        lookup.forget()
        lookup.get(acme.slug)
        assert copy_of(author, acme).name == "Countess"
        call_command("sync_members", check=True, stdout=StringIO())
    finally:
        triggers.make_triggers()


def test_a_tenants_row_takes_its_marks_along(unready, author):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    call_command("tenant_delete", unready.slug, yes=True, verbosity=0)
    assert not DirtyFlag.objects.exists()


def test_a_change_of_the_tables_finds_no_trigger_in_its_way_and_leaves_them_in_place(db):
    def names():
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
            return [name for (name,) in cursor.fetchall()]

    before = names()
    assert before == sorted([*triggers.NAMES, *keeping.TRIGGERS])
    triggers.drop_triggers()
    keeping.drop_triggers("default")
    assert names() == []
    call_command("migrate", database="default", verbosity=0)
    assert names() == before
    triggers.make_triggers()
    assert names() == before


@pytest.mark.parametrize("everybody", [False, True])
def test_a_copy_that_came_through_late_and_unheard_is_repaired_by_the_next_use(
    acme, author, monkeypatch, everybody
):
    add_member(author, acme)
    copy = syncing._copy

    def late(row, keys):
        monkeypatch.setattr(syncing, "_copy", copy)
        # Another process is quicker with something newer, and takes the marks away.
        User.objects.filter(pk=author.pk).update(name="Newer")
        sync_members(acme)
        assert copy_of(author, acme).name == "Newer"
        assert not DirtyFlag.objects.exists()
        User.objects.using(tenant_alias(acme.slug)).filter(pk=author.pk).update(name="Old")
        raise OperationalError("the answer was lost")

    monkeypatch.setattr(syncing, "_copy", late)
    User.objects.filter(pk=author.pk).update(name="Old")
    with pytest.raises(CopyFailed):
        follow(acme, None if everybody else [author.pk], "The copy is")
    assert copy_of(author, acme).name == "Old"
    lookup.forget()
    assert lookup.get(acme.slug).is_out_of_sync
    assert copy_of(author, acme).name == "Newer"
    assert not DirtyFlag.objects.exists()


def test_a_writer_that_is_killed_leaves_no_older_copy_without_a_mark(acme, author, monkeypatch):
    add_member(author, acme)
    write, take, changed = syncing._write, syncing._remove_flags, threading.Event()
    own = threading.current_thread()

    def rename():
        User.objects.filter(pk=author.pk).update(name="Newer")
        changed.set()
        try:
            follow(acme, [author.pk], "The copy is")
        finally:
            connections.close_all()

    other = threading.Thread(target=rename)

    def slow(users, keys, alias):
        if threading.current_thread() is own:
            other.start()
            assert changed.wait(30)
            other.join(1)  # where nothing makes it wait
        write(users, keys, alias)

    def killed(row, keys):
        if threading.current_thread() is own:
            raise SystemExit
        take(row, keys)

    monkeypatch.setattr(syncing, "_write", slow)
    monkeypatch.setattr(syncing, "_remove_flags", killed)
    User.objects.filter(pk=author.pk).update(name="Older")
    with pytest.raises(SystemExit):
        follow(acme, [author.pk], "The copy is")
    other.join(30)
    assert copy_of(author, acme).name == "Newer" or flagged(acme)


def test_failing_again_and_again_piles_up_no_marks_and_keeps_their_time(unready, author):
    with pytest.raises(CopyFailed):
        add_member(author, unready)
    (first,) = DirtyFlag.objects.all()
    for keys in ([author.pk], [author.pk], None, None):
        with pytest.raises(CopyFailed):
            follow(unready, keys, "The copy is")
    (last,) = DirtyFlag.objects.all()
    assert last.since == first.since
    mend(unready)
    lookup.get(unready.slug)
    assert copy_of(author, unready) is not None
    assert not DirtyFlag.objects.exists()


def names_in(tenant):
    return dict(User.objects.using(tenant_alias(tenant.slug)).values_list("pk", "username"))


@pytest.mark.parametrize("names", [("bob", "ada"), ("eve", "ada"), ("bob", "eve")])
def test_members_who_took_each_others_names_are_copied(acme, author, names):
    bob = User.objects.create_user("bob")
    for user in (author, bob):
        add_member(user, acme)
    keys = (author.pk, bob.pk)
    for key, name in [(author.pk, "aside"), (bob.pk, names[1]), (author.pk, names[0])]:
        User.objects.filter(pk=key).update(username=name)
    call_command("sync_members", acme.slug, stdout=StringIO())
    assert names_in(acme) == dict(zip(keys, names, strict=True))
    assert not DirtyFlag.objects.exists()


def test_a_first_member_whose_name_the_copy_of_somebody_else_still_has_is_copied(acme, author):
    add_member(author, acme)
    remove_member(author, acme)
    author.username = "lovelace"
    author.save()
    other = User.objects.create_user("ada")
    call_command("create_tenant", acme.slug, "--member", "ada", stdout=StringIO())
    assert names_in(acme) == {author.pk: f"former-{author.pk}", other.pk: "ada"}
    assert not DirtyFlag.objects.exists()


def test_a_member_who_changes_while_their_tenant_is_created_again_is_in_step(acme, author, monkeypatch):
    add_member(author, acme)
    fill = creation.fill

    def slow(*args, **kwargs):
        author.name = "Countess"
        author.save()
        assert copy_of(author, acme).name == "Countess"
        return fill(*args, **kwargs)

    monkeypatch.setattr(creation, "fill", slow)
    create_tenant(acme.slug, "", [User.objects.get(pk=author.pk)])
    assert copy_of(author, acme).name == "Countess"


def test_a_copy_that_fails_because_its_tenant_is_deleted_leaves_no_mark(acme, author, monkeypatch):
    def deleted(row, keys):
        lose_row(acme.slug)
        raise OperationalError("the tenant is gone")

    monkeypatch.setattr(syncing, "_copy", deleted)
    with pytest.raises(CopyFailed):
        follow(acme, None, "The copies are")
    assert not DirtyFlag.objects.exists()


@pytest.mark.parametrize("is_repeated", [False, True])
def test_former_members_of_an_object_that_a_new_tenant_took_over_are_inactive(
    acme, author, monkeypatch, is_repeated
):
    add_member(author, acme)
    lose_row(acme.slug)
    bob = User.objects.create_user("bob")
    if is_repeated:
        # Cut off behind the directory's rows.
        with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
            patched.setattr(tenant_filled, "send", lambda **named: 1 / 0)
            create_tenant(acme.slug, "", [bob], adopt=True)
    call_command("create_tenant", acme.slug, "--adopt", "--member", "bob", stdout=StringIO())
    copies = User.objects.using(tenant_alias(acme.slug)).values_list("username", "is_active")
    assert sorted(copies) == [("ada", False), ("bob", True)]


@pytest.mark.parametrize("made", ["before", "by hand"])
def test_a_membership_that_ends_while_their_tenant_is_created_again_is_in_step(
    acme, author, monkeypatch, made
):
    if made == "before":
        add_member(author, acme)
    else:
        # Only its row is there, and the object is still to be made.
        empty_object(tenant_alias(acme.slug))
        Membership.objects.bulk_create([Membership(user=author, tenant=acme)])
    fill = creation.fill

    def slow(*args, **kwargs):
        how = fill(*args, **kwargs)
        remove_member(author, acme)
        return how

    monkeypatch.setattr(creation, "fill", slow)
    create_tenant(acme.slug, "", [author])
    assert not Membership.objects.filter(user=author, tenant=acme).exists()
    assert not User.objects.using(tenant_alias(acme.slug)).filter(is_active=True).exists()
    assert not DirtyFlag.objects.exists()


def test_a_membership_that_ends_while_many_tenants_are_created_is_flagged(
    acme, author, monkeypatch, tmp_path
):
    add_member(author, acme)
    write_rows = creation.write_rows

    def late(made):
        remove_member(author, acme)
        return write_rows(made)

    monkeypatch.setattr(create_tenants, "write_rows", late)
    (tmp_path / "tenants.csv").write_text(f"{acme.slug},,ada\n")
    call_command("create_tenants", tmp_path / "tenants.csv", stdout=StringIO())
    assert copy_of(author, acme).is_active is False
    assert {*flagged(acme)} == {author.pk}
    lookup.forget()
    lookup.get(acme.slug)
    assert copy_of(author, acme).is_active
    assert flagged(acme) == []
