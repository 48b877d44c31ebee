"""gather() and prefetches keep tenants apart, and ask D1 and tenants in one round trip."""

import pytest
from django.db import transaction
from django.db.models import Prefetch

from accounts.models import Membership, User
from blog.models import Post
from do_bridge import driver, gather, tenant_context
from do_bridge.tenancy import NoTenant, TenantMismatch, tenant_alias

SHARED = Post.objects.order_by("pk")


@pytest.fixture
def posts(acme, zeta, in_both):
    """One post of the same author in each tenant; returns the author's key."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return in_both


def titles(rows):
    return [post.title for post in rows]


def test_d1_and_the_current_tenant_are_asked_in_one_trip(acme, posts, author):
    Membership.objects.create(user=author, tenant=acme)
    with tenant_context(acme), driver.count_trips() as trips:
        found, membership = gather(
            Post.objects.all(), Membership.objects.filter(tenant__slug=acme.slug).first
        )
    assert (titles(found), membership.user_id, trips.count) == ([f"Of {acme.slug}"], author.pk, 1)


def test_two_tenants_are_asked_in_one_trip(acme, zeta, posts):
    reads = [Post.objects.using(tenant_alias(tenant.slug)) for tenant in (acme, zeta)]
    with driver.count_trips() as trips:
        found = gather(*reads)
    assert trips.count == 1
    assert [(rows[0].title, rows[0]._state.db) for rows in found] == [
        (f"Of {tenant.slug}", tenant_alias(tenant.slug)) for tenant in (acme, zeta)
    ]


def test_a_queryset_of_another_tenant_is_refused_and_named(acme, zeta, posts):
    with tenant_context(acme):
        of_acme = Post.objects.all()
    with tenant_context(zeta), pytest.raises(TenantMismatch, match=f"tenant/{acme.slug}") as caught:
        gather(Post.objects.count, of_acme)
    assert "argument 2 of gather()" in caught.value.__notes__[-1]


def test_without_a_tenant_it_is_refused_and_named(posts):
    with pytest.raises(NoTenant, match=r"blog\.Post") as caught:
        gather(User.objects.count, Post.objects.all().count)
    assert "argument 2 of gather()" in caught.value.__notes__[-1]


def test_a_shared_queryset_gives_each_tenant_its_own_rows(acme, zeta, posts):
    for tenant in (acme, zeta, acme):
        with tenant_context(tenant):
            found, count = gather(SHARED, SHARED.count)
            assert (titles(found), count, titles(SHARED)) == ([f"Of {tenant.slug}"], 1, titles(found))


def test_a_tenants_relations_of_one_level_take_one_trip_unasked(acme, posts):
    others = Post.objects.using(tenant_alias(acme.slug)).filter(title="no such title")
    authors = User.objects.using(tenant_alias(acme.slug)).prefetch_related(
        "posts", Prefetch("posts", others, to_attr="others"), "groups", "user_permissions", "logentry_set"
    )
    with driver.count_trips() as trips:
        (found,) = [user for user in authors if user.pk == posts]
    assert trips.count == 2
    with driver.count_trips() as trips:
        assert (titles(found.posts.all()), found.others, list(found.groups.all())) == (
            [f"Of {acme.slug}"],
            [],
            [],
        )
    assert trips.count == 0


def test_a_block_on_both_databases_reads_in_both(acme, posts, author):
    with tenant_context(acme), transaction.atomic():
        Post.objects.create(title="In the block", content="…", user_id=posts)
        found, count = gather(Post.objects.order_by("pk"), Membership.objects.count)
    assert (titles(found), count) == ([f"Of {acme.slug}", "In the block"], 0)


def test_a_row_of_a_user_goes_ahead_of_the_tenants_reads(acme, author, rf):
    from do_bridge.tenancy.context import request_context
    from do_bridge.tenancy.replicated.users import need_copy

    alias, request = tenant_alias(acme.slug), rf.get("/")
    request.user = author
    with request_context(acme, False, "/", request):
        need_copy(author, alias)
        users, count = gather(User.objects.using(alias).filter(pk=author.pk), User.objects.count)
    assert ([user.username for user in users], count) == ([author.username], 1)
