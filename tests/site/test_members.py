"""Members' copies in a tenant's object, and how they follow D1."""

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from accounts.models import Membership, Tenant, User
from blog.models import Post
from do_bridge.members import syncing
from do_bridge.members.models import DirtyFlag
from do_bridge.members.syncing import CopyFailed, add_member, remove_member, sync_members
from do_bridge.tenancy.lifecycle import creation

ACME = "tenant/acme"


def copy_of(user, alias=ACME):
    return User.objects.using(alias).filter(pk=user.pk).first()


def test_a_member_has_a_copy_with_the_same_key_and_no_password(site):
    copy = copy_of(site.bo)
    assert (copy.username, copy.name, copy.is_active) == ("bo", "Bo", True)
    assert not copy.check_password("a-pass-word")
    assert (copy.is_staff, copy.is_superuser, copy.email) == (False, False, "")
    assert copy_of(site.gil) is None


def test_a_second_membership_of_the_same_tenant_is_refused(site):
    with pytest.raises(IntegrityError):
        add_member(site.bo, site.tenants["acme"])


def test_making_a_member_again_by_command_renews_the_copy(site):
    User.objects.using(ACME).filter(pk=site.bo.pk).delete()
    call_command("create_tenant", "acme", "--member", "bo", verbosity=0)
    assert copy_of(site.bo).is_active


def test_two_commands_may_make_one_member_at_once(site, monkeypatch):
    def quicker(user, tenant):
        add_member(user, tenant)
        return add_member(user, tenant)

    monkeypatch.setattr("do_bridge.members.syncing.add_member", quicker)
    call_command("create_tenant", "globex", "--member", "bo", verbosity=0)
    assert copy_of(site.bo, "tenant/globex").is_active


def test_a_member_who_could_not_be_copied_is_told_by_the_command(site, monkeypatch, settings):
    # As in a project without the app, with a function of its own.
    monkeypatch.setattr(creation, "default_first_members", None)
    added = "do_bridge.members.syncing.add_member_by_name"
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "ADD_MEMBER": added}

    def fail(user, tenant):
        raise CopyFailed("The membership is", tenant.slug)

    monkeypatch.setattr("do_bridge.members.syncing.add_member", fail)
    with pytest.raises(CommandError, match="'bo' is no member yet: .*sync_members globex"):
        call_command("create_tenant", "globex", "--member", "bo", verbosity=0)


def test_renaming_a_member_reaches_the_copies(site):
    site.bo.name = "Bo the Second"
    site.bo.save()
    assert copy_of(site.bo).name == "Bo the Second"


def test_a_removed_member_keeps_an_inactive_copy_for_their_posts(site, write_post):
    pk = write_post(author="bo")
    remove_member(site.bo, site.tenants["acme"])
    assert copy_of(site.bo).is_active is False
    assert Post.objects.using(ACME).get(pk=pk).user.name == "Bo"


def test_deleting_a_user_in_d1_keeps_an_inactive_copy_for_their_posts(site, write_post):
    pk, key = write_post(author="bo"), site.bo.pk
    site.bo.delete()
    copy = User.objects.using(ACME).get(pk=key)
    assert copy.is_active is False
    assert Post.objects.using(ACME).get(pk=pk).user_id == key


def test_a_tenant_out_of_reach_does_not_keep_the_others_from_hearing_of_it(site, settings):
    # Else the first use would provision them.
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    unready = Tenant.objects.create(slug="a-unready", name="No database yet")
    with pytest.raises(CopyFailed):
        add_member(site.bo, unready)
    add_member(site.bo, site.tenants["globex"])
    ordered = Membership.objects.filter(user=site.bo).order_by("tenant__slug")
    assert ordered.first().tenant == unready
    with pytest.raises(CopyFailed, match="tenant a-unready"):
        ordered.delete()
    assert copy_of(site.bo).is_active is False
    assert copy_of(site.bo, "tenant/globex").is_active is False


def test_all_tenants_out_of_reach_are_named(site, settings):
    # Else the first use would provision them.
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    for slug in ("unready-1", "unready-2"):
        with pytest.raises(CopyFailed):
            add_member(site.bo, Tenant.objects.create(slug=slug, name=slug))
    site.bo.name = "Bo the Second"
    with pytest.raises(CopyFailed, match="sync_members unready-1 unready-2"):
        site.bo.save()
    assert copy_of(site.bo).name == "Bo the Second"


def test_a_new_member_may_have_the_name_that_a_former_one_gave_up(site):
    remove_member(site.bo, site.tenants["acme"])
    site.bo.username = "bo-elsewhere"
    site.bo.save()
    namesake = User.objects.create_user("bo")
    add_member(namesake, site.tenants["acme"])
    assert copy_of(namesake).username == "bo"
    assert copy_of(site.bo).username == f"former-{site.bo.pk}"


@pytest.fixture
def namesakes(site):
    """bo has left and is called otherwise, gil is called as bo's copy would be, and a third person bo."""
    acme = site.tenants["acme"]
    remove_member(site.bo, acme)
    site.bo.username = "bo-elsewhere"
    site.bo.save()
    site.gil.username = f"former-{site.bo.pk}"
    site.gil.save()
    third = User.objects.create_user("bo")
    Membership.objects.bulk_create([Membership(user=user, tenant=acme) for user in (site.gil, third)])
    return acme, {site.gil.pk: site.gil.username, third.pk: "bo"}


def names_in(tenant, keys):
    copies = User.objects.using(f"tenant/{tenant.slug}")
    return dict(copies.filter(pk__in=keys).values_list("pk", "username"))


def test_a_user_who_is_called_as_a_former_members_copy_keeps_nobody_out_of_sync(site, namesakes):
    acme, names = namesakes
    assert sync_members(acme) == 3
    assert names_in(acme, names) == names
    assert copy_of(site.bo).username.startswith(f"former-{site.bo.pk}-")
    assert not DirtyFlag.objects.exists()
    assert sync_members(acme) == 3


def test_such_a_user_can_come_before_the_one_who_takes_the_name(site, namesakes):
    acme, names = namesakes
    for key in names:
        syncing.follow(acme, [key], "The copy is")
    assert names_in(acme, names) == names
    assert not DirtyFlag.objects.exists()


def test_such_users_can_be_made_members_by_the_command(site, namesakes):
    acme, names = namesakes
    call_command("create_tenant", "acme", member=list(names.values()), verbosity=0)
    assert names_in(acme, names) == names


def test_a_member_who_takes_the_name_of_their_own_kind_and_is_followed_by_another(site):
    acme, own = site.tenants["acme"], f"former-{site.bo.pk}"
    # The copy has the name that it would get for being in the way of the next one.
    User.objects.filter(pk=site.bo.pk).update(username=own)
    sync_members(acme)
    User.objects.filter(pk=site.bo.pk).update(username="bo-elsewhere")
    namesake = User.objects.create_user(own)
    add_member(namesake, acme)
    assert copy_of(namesake).username == own
    sync_members(acme)
    assert copy_of(site.bo).username == "bo-elsewhere"


def test_a_copy_that_cannot_be_written_is_told_and_repaired_later(site, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "CATCH_UP": False}
    unready = Tenant.objects.create(slug="unready", name="No database yet")
    with pytest.raises(CopyFailed, match="manage.py sync_members unready"):
        add_member(site.bo, unready)
    assert Membership.objects.filter(user=site.bo, tenant=unready).exists()
    with pytest.raises(CommandError, match="Not repaired: unready"):
        call_command("sync_members", "unready")
    call_command("create_tenant", "unready", verbosity=0)
    call_command("sync_members", "unready")
    assert copy_of(site.bo, "tenant/unready").username == "bo"


def test_syncing_brings_back_what_somebody_changed_in_the_object(site):
    User.objects.using(ACME).filter(pk=site.bo.pk).update(name="Somebody", is_active=False)
    User.objects.using(ACME).create(pk=site.gil.pk, username="gil", name="Gil")
    call_command("sync_members", "acme")
    assert (copy_of(site.bo).name, copy_of(site.bo).is_active) == ("Bo", True)
    assert copy_of(site.gil).is_active is False


def test_syncing_an_unknown_tenant_says_so(site):
    with pytest.raises(CommandError, match="No such tenant: nobody"):
        call_command("sync_members", "nobody")


def rename(user, name):
    """As another process does it that has read the user a moment ago."""
    other = User.objects.get(pk=user.pk)
    other.name = name
    other.save()


@pytest.mark.parametrize("by_hand", [False, True], ids=["a rename", "sync_members"])
def test_a_slow_writer_does_not_bring_back_an_older_name(site, monkeypatch, by_hand):
    original, slow = syncing._copy, []

    def copy(*args):
        if not slow:
            slow.append(1)
            rename(site.bo, "Newer")
        return original(*args)

    monkeypatch.setattr(syncing, "_copy", copy)
    if by_hand:
        sync_members(site.tenants["acme"])
    else:
        rename(site.bo, "Older")
    assert User.objects.get(pk=site.bo.pk).name == "Newer"
    assert copy_of(site.bo).name == "Newer"
    assert not DirtyFlag.objects.exists()


def test_a_slow_writer_does_not_bring_back_who_was_removed(site, monkeypatch):
    original, slow = syncing._copy, []

    def copy(*args):
        if not slow:
            slow.append(1)
            remove_member(site.bo, site.tenants["acme"])
        return original(*args)

    monkeypatch.setattr(syncing, "_copy", copy)
    rename(site.bo, "Bo the Older")
    assert not copy_of(site.bo).is_active
