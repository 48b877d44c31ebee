"""What rows fetch later (Django 6.1's fetch modes) stays in the tenant that the rows came from."""

import pytest
from django.db import models

from accounts.models import User
from blog.models import Post
from do_bridge import django_compat, driver
from do_bridge.tenancy import TenantMismatch, tenant_alias, tenant_context

if django_compat.INSTALLED >= (6, 1):
    from django.core.exceptions import FieldFetchBlocked

    SHARED = Post.objects.order_by("pk").defer("content").fetch_mode(models.FETCH_RAISE)

pytestmark = pytest.mark.skipif(django_compat.INSTALLED < (6, 1), reason="Django has them since 6.1.")


@pytest.fixture
def posts(acme, zeta, in_both):
    """Two posts of the same author in each tenant, with the same keys."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            for number in (1, 2):
                Post.objects.create(
                    pk=number,
                    title=f"{number} of {tenant.slug}",
                    content=f"in {tenant.slug}",
                    user_id=in_both,
                )
    return in_both


def peers(tenant, queryset=None):
    with tenant_context(tenant):
        rows = Post.objects.all() if queryset is None else queryset
        return list(rows.order_by("pk").fetch_mode(models.FETCH_PEERS))


def test_peers_fetch_a_deferred_field_from_their_own_tenant(acme, zeta, posts):
    with tenant_context(acme):
        rows = list(Post.objects.defer("content").order_by("pk").fetch_mode(models.FETCH_PEERS))
    with tenant_context(zeta), driver.count_trips() as trips:
        assert [row.content for row in rows] == [f"in {acme.slug}"] * 2
    assert trips.count == 1


def test_peers_fetch_a_relation_from_their_own_tenant(acme, zeta, posts):
    rows = peers(acme)
    with tenant_context(zeta), driver.count_trips() as trips:
        assert {row.user._state.db for row in rows} == {tenant_alias(acme.slug)}
    assert trips.count == 1
    assert {row.user.pk for row in rows} == {posts}


def test_peers_fetch_what_points_at_them_from_their_own_tenant(acme, zeta, posts):
    with tenant_context(acme):
        authors = list(User.objects.using(tenant_alias(acme.slug)).fetch_mode(models.FETCH_PEERS))
    with tenant_context(zeta):
        for author in authors:
            assert {post._state.db for post in author.posts.all()} <= {tenant_alias(acme.slug)}


def test_a_mode_is_kept_by_raw_querysets_and_shared_ones(acme, zeta, posts):
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            raw = Post.objects.fetch_mode(models.FETCH_RAISE).raw(
                "SELECT id, title FROM blog_post ORDER BY id"
            )
            for row in (raw[0], SHARED[0]):
                assert row.title == f"1 of {tenant.slug}"
                with pytest.raises(FieldFetchBlocked, match=r"Post\.content"):
                    row.content  # noqa: B018


def test_a_blocked_relation_is_an_error_and_a_loaded_one_is_not(acme, posts):
    with tenant_context(acme):
        row = Post.objects.fetch_mode(models.FETCH_RAISE).get(pk=1)
        with pytest.raises(FieldFetchBlocked, match=r"Post\.user"):
            row.user  # noqa: B018
        row = Post.objects.fetch_mode(models.FETCH_RAISE).select_related("user").get(pk=1)
        assert row.user.pk == posts


def test_rows_of_two_tenants_that_became_peers_are_refused(acme, zeta, posts):
    one, other = peers(acme), peers(zeta)
    one[0]._state.peers = other[0]._state.peers = [*one[0]._state.peers, *other[0]._state.peers]
    with tenant_context(acme), pytest.raises(TenantMismatch, match="several databases"):
        one[0].user  # noqa: B018
