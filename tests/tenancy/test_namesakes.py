"""A query on D1 that joins a tenant's table: D1's table of that name is empty, and no answer."""

import pytest
from django.db.models import Count, Exists, Max, OuterRef, Q, Subquery

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import TenantMismatch, directory_context, tenant_alias, tenant_context

POSTS = Post.objects.order_by("pk")


@pytest.fixture
def alias(acme, in_both):
    with tenant_context(acme):
        Post.objects.create(title="Of acme", content="…", user_id=in_both)
    return tenant_alias(acme.slug)


QUERIES = {
    "filter": lambda users: list(users.filter(posts__title="Of acme")),
    "exclude": lambda users: list(users.exclude(Q(posts__title="x") | Q(posts__title="y"))),
    "annotate": lambda users: list(users.annotate(count=Count("posts"))),
    "aggregate": lambda users: users.aggregate(Max("posts__pk")),
    "values": lambda users: list(users.values_list("posts__title")),
    "order_by": lambda users: list(users.order_by("posts__title")),
    "count": lambda users: users.filter(posts__isnull=False).count(),
    "exists": lambda users: users.filter(posts__isnull=False).exists(),
    "update": lambda users: users.filter(posts__title="Of acme").update(name="x"),
    "in": lambda users: list(users.filter(pk__in=POSTS.values("user_id"))),
    "Exists": lambda users: list(users.filter(Exists(POSTS.filter(user=OuterRef("pk"))))),
    "Subquery": lambda users: list(users.annotate(title=Subquery(POSTS.values("title")[:1]))),
    "union": lambda users: list(users.filter(posts__pk=1).union(users.filter(pk=1))),
    "delete": lambda users: users.filter(posts__title="no such").delete(),
}


@pytest.mark.parametrize("shape", QUERIES)
def test_a_query_on_d1_that_joins_a_tenants_table_is_refused_inside_the_tenant(acme, alias, trips, shape):
    query = QUERIES[shape]
    with tenant_context(acme):
        before = trips.count
        with pytest.raises(TenantMismatch, match=rf"'blog_post', .*using\('{alias}'\)"):
            query(User.objects)
        assert trips.count == before
        for chosen in (alias, "default"):
            query(User.objects.using(chosen))
    with directory_context():
        query(User.objects)
    query(User.objects)


def test_d1s_users_are_read_and_deleted_inside_a_tenant(acme, alias, author):
    stranger = User.objects.create_user("stranger")
    with tenant_context(acme):
        assert User.objects.filter(username="stranger").count() == 1
        assert User.objects.filter(memberships__tenant=acme).count() == 0
        assert User.objects.prefetch_related("posts").get(pk=author.pk).posts.count() == 1
        stranger.delete()
    assert not User.objects.filter(username="stranger").exists()
