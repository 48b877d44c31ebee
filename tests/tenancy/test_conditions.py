"""A condition that names a row: another tenant's row of the same key is refused wherever it stands."""

from collections import deque

import pytest
from django.db.models import Case, Count, Exists, F, FilteredRelation, OuterRef, Q, Sum, Value, When
from django.shortcuts import get_object_or_404

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import TenantMismatch, tenant_alias, tenant_context

POSTS = Post.objects.order_by("pk")
REFUSED = r"Post\.user(__\w+)?: the given row was loaded from"


@pytest.fixture
def people(acme, zeta, in_both):
    """The copies of one user in both tenants, under the same key: (own, another tenant's)."""
    for tenant in (acme, zeta):
        with tenant_context(tenant):
            Post.objects.create(pk=1, title=f"Of {tenant.slug}", content="…", user_id=in_both)
    return [User.objects.using(tenant_alias(tenant.slug)).get(pk=in_both) for tenant in (acme, zeta)]


class Anything:
    """A collection of rows that is neither a list nor a set."""

    def __init__(self, *rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


CONDITIONS = {
    "complex_filter": lambda posts, row: posts.complex_filter(Q(user=row)),
    "complex_filter of a dict": lambda posts, row: posts.complex_filter({"user": row}),
    "nested Q": lambda posts, row: posts.filter(Q(title="x") | ~Q(Q(user=row) & Q(pk=1))),
    "list": lambda posts, row: posts.filter(user__in=[row]),
    "tuple": lambda posts, row: posts.filter(user__in=(row,)),
    "set": lambda posts, row: posts.filter(user__in={row}),
    "deque": lambda posts, row: posts.filter(user__in=deque([row])),
    "dict": lambda posts, row: posts.filter(user__in={row: 1}),
    "any iterable": lambda posts, row: posts.filter(user__in=Anything(row)),
    "exact": lambda posts, row: posts.filter(user__exact=row),
    "greater": lambda posts, row: posts.exclude(user__gte=row),
    "get": lambda posts, row: [posts.get(user=row)],
    "get_or_create": lambda posts, row: [posts.get_or_create(user=row, title="x")[0]],
    "get_object_or_404": lambda posts, row: [get_object_or_404(posts, user=row)],
    "When": lambda posts, row: posts.annotate(own=Case(When(user=row, then=1), default=0)),
    "order by": lambda posts, row: posts.order_by(Case(When(Q(user=row), then=1), default=0)),
    "annotation": lambda posts, row: posts.annotate(count=Count("pk", filter=Q(user=row))),
    "aggregate": lambda posts, row: [posts.aggregate(count=Count("pk", filter=Q(user__in=[row])))["count"]],
    "aggregate of an annotation": lambda posts, row: [
        posts.annotate(own=Case(When(user=row, then=1), default=0)).aggregate(sum=Sum("own"))["sum"]
    ],
    "Exists": lambda posts, row: posts.filter(Exists(POSTS.filter(pk=OuterRef("pk"), user=row))),
    "filtered relation": lambda posts, row: posts.annotate(
        who=FilteredRelation("user", condition=Q(user=row))
    ).filter(who__pk=F("user_id")),
    "update": lambda posts, row: [posts.order_by().update(title=Case(When(user=row, then=Value("x"))))],
    "count": lambda posts, row: [posts.filter(user=row).count()],
    "exists": lambda posts, row: [posts.filter(user=row).exists()],
    "delete": lambda posts, row: [posts.order_by().filter(user=row).delete()],
}


@pytest.mark.parametrize("shape", CONDITIONS)
@pytest.mark.parametrize("shared", [False, True], ids=["bound", "module level"])
def test_a_condition_with_another_tenants_row_is_refused_and_nothing_is_sent(
    acme, people, trips, shape, shared
):
    own, other = people
    condition = CONDITIONS[shape]
    with tenant_context(acme):
        posts = POSTS if shared else Post.objects.order_by("pk")
        before = trips.count
        with pytest.raises(TenantMismatch, match=REFUSED):
            list(condition(posts, other))
        assert trips.count == before
        list(condition(posts, own))


def test_an_iterator_of_rows_in_a_condition_is_read_once_and_checked(acme, people):
    own, other = people
    with tenant_context(acme):
        assert Post.objects.filter(user__in=iter([own])).count() == 1
        with pytest.raises(TenantMismatch, match=REFUSED):
            Post.objects.filter(user__in=iter([own, other])).count()


def test_using_says_that_keys_are_compared(acme, people):
    own, other = people
    alias = own._state.db
    with tenant_context(acme):
        for queryset in (
            Post.objects.using(alias),
            Post.objects.db_manager(alias),
            POSTS.using(alias),
            Post.objects.order_by("title").using(alias),
        ):
            for row in (own, other):
                assert queryset.filter(user=row).count() == 1
                assert queryset.complex_filter(Q(user__in=deque([row]))).count() == 1
                found = queryset.annotate(own=Case(When(user=row, then=1), default=0)).get()
                assert found.own == 1
        with pytest.raises(TenantMismatch, match=REFUSED):
            Post.objects.using(alias).using(None).filter(user=other).count()


def test_a_person_of_d1_stands_for_their_copy(acme, people, author):
    with tenant_context(acme):
        assert Post.objects.filter(user=author).count() == POSTS.filter(Q(user=author)).count() == 1
