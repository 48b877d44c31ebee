"""What do_bridge and the site do by themselves while a block that covers a tenant is open."""

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

from accounts.models import Membership, User
from do_bridge.members.models import DirtyFlag
from do_bridge.members.syncing import add_member, remove_member, sync_members
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug
from tests.tenancy import newer_code
from tests.tenancy.newer_code import RATING


def alias(tenant):
    return tenant_alias(tenant.slug)


def copies(tenant):
    users = User.objects.using(alias(tenant)).filter(is_active=True)
    return list(users.order_by("username").values_list("username", flat=True))


def marked(tenant):
    keys = DirtyFlag.objects.filter(slug=tenant.slug).values_list("user_key", flat=True)
    return [int(key) for key in keys]


@pytest.fixture
def member(acme, author):
    """A member of acme whose copy is still to be written."""
    Membership.objects.bulk_create([Membership(user=author, tenant=acme)])
    assert (copies(acme), marked(acme)) == ([], [author.pk])
    return author


def test_a_copy_that_is_undone_with_the_block_keeps_its_mark(acme, member):
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), transaction.atomic():
        sync_members(acme)
        assert copies(acme) == ["ada"]
        raise KeyError("undo")
    assert (copies(acme), marked(acme)) == ([], [member.pk])
    lookup.forget()
    lookup.get(acme.slug)
    assert (copies(acme), marked(acme)) == (["ada"], [])


def test_a_copy_that_is_kept_with_the_block_loses_its_mark(acme, member):
    with tenant_context(acme), transaction.atomic():
        sync_members(acme)
    assert (copies(acme), marked(acme)) == (["ada"], [])


def test_a_mark_that_came_behind_the_copy_stays(acme, member):
    with tenant_context(acme), transaction.atomic():
        sync_members(acme)
        User.objects.filter(pk=member.pk).update(username="eva")
    assert (copies(acme), marked(acme)) == (["ada"], [member.pk])
    sync_members(acme)
    assert (copies(acme), marked(acme)) == (["eva"], [])


def test_a_repair_on_use_inside_a_block_is_undone_with_its_marks(acme, member):
    lookup.forget()
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), transaction.atomic():
        assert lookup.get(acme.slug).is_out_of_sync
        raise KeyError("undo")
    assert (copies(acme), marked(acme)) == ([], [member.pk])


def test_a_member_who_is_added_in_a_block_is_copied_once_both_have_committed(acme, author):
    with tenant_context(acme):
        with transaction.atomic():
            add_member(author, acme)
            assert copies(acme) == []
        assert (copies(acme), marked(acme)) == (["ada"], [])
        with transaction.atomic():
            User.objects.using(alias(acme)).update(name="Ada")
            remove_member(author, acme)
    assert (copies(acme), marked(acme)) == ([], [])


def test_what_d1_has_kept_of_a_block_that_failed_is_marked(acme, author):
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), transaction.atomic():
        add_member(author, acme)
        raise KeyError("undo")
    assert (copies(acme), marked(acme)) == ([], [author.pk])


def test_a_tenant_that_is_created_inside_a_block_stays(acme, write, titles):
    slug = unique_slug("made")
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), transaction.atomic():
        write("undone")
        create_tenant(slug)
        raise KeyError("undo")
    try:
        assert lookup.get(slug) is not None
        assert User.objects.using(tenant_alias(slug)).count() == 0
    finally:
        empty_object(tenant_alias(slug))
    assert titles(acme) == []


def test_a_tenant_that_is_behind_is_migrated_before_its_part_begins(acme, write, titles, tmp_path):
    with newer_code.newer_code(tmp_path, RATING), tenant_context(acme):
        with pytest.raises(KeyError, match="undo"), transaction.atomic():
            write("undone")
            raise KeyError("undo")
        with transaction.atomic():
            write("kept")
        with connections[alias(acme)].cursor() as cursor:
            cursor.execute("SELECT rating FROM blog_post")
            assert len(cursor.fetchall()) == 1
        assert titles(acme) == ["kept"]


@override_settings(DO_BRIDGE={**settings.DO_BRIDGE, "MAX_TENANT_CONNECTIONS": 1})
def test_connections_with_an_open_part_are_not_given_up(make_tenant, author, titles):
    from blog.models import Post

    tenants = [make_tenant() for _ in range(3)]
    with pytest.raises(KeyError, match="undo"), transaction.atomic():
        for tenant in tenants:
            with tenant_context(tenant):
                User.objects.using(alias(tenant)).create(pk=author.pk, username="ada")
                Post.objects.create(title="undone", content="-", user_id=author.pk)
        raise KeyError("undo")
    assert [titles(tenant) for tenant in tenants] == [[], [], []]
