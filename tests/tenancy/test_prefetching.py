"""A prefetch stays in the tenant of the rows that it is for."""

import pytest
from django.db.models import Prefetch, prefetch_related_objects

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import TenantMismatch, tenant_alias, tenant_context


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author in each tenant."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return in_both


def authors(tenant):
    return User.objects.using(tenant_alias(tenant.slug))


def test_another_tenants_queryset_is_refused(acme, zeta, posts):
    with tenant_context(acme):
        prefetch = Prefetch("posts", queryset=Post.objects.all())
    with tenant_context(zeta), pytest.raises(TenantMismatch, match=f"tenant/{zeta.slug}"):
        list(authors(zeta).prefetch_related(prefetch))


def test_another_tenants_queryset_is_refused_one_level_down(acme, zeta, posts):
    with tenant_context(acme):
        prefetch = Prefetch("user__posts", queryset=Post.objects.all())
    with tenant_context(zeta), pytest.raises(TenantMismatch, match=r"blog\.Post"):
        list(Post.objects.prefetch_related(prefetch))


@pytest.mark.parametrize("lookup", ["posts", "posts__user"])
def test_rows_of_two_tenants_at_once_are_refused(acme, zeta, posts, lookup):
    mixed = [authors(tenant).get(pk=posts) for tenant in (acme, zeta)]
    with pytest.raises(TenantMismatch, match="several databases"):
        prefetch_related_objects(mixed, lookup)


def test_the_tenants_own_queryset_is_followed(acme, zeta, posts):
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            prefetch = Prefetch("posts", queryset=Post.objects.all())
        author = authors(tenant).get(pk=posts)
        prefetch_related_objects([author], prefetch)
        assert [post.title for post in author.posts.all()] == [f"Of {tenant.slug}"]
