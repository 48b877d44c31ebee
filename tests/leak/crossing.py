"""What must be refused: rows of one tenant written, related or hung on rows while another is current."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Prefetch, prefetch_related_objects

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.context import NoTenant, TenantMismatch, unset_context
from tests.leak.actor import SEEDS, Actor
from tests.leak.marks import MixUp, check, mark, owners, require


def refused(slug: str, what: str, call: Callable[[], object], *errors: type[Exception]) -> None:
    """Raise MixUp unless the call raises one of the errors."""
    try:
        call()
    except errors:
        return
    require(slug, False, f"{what} was not refused")


def check_one(slugs: tuple[str, ...], read: Callable[[], list[str]]) -> None:
    """Raise MixUp unless all texts are of one of the tenants; a TenantMismatch is an answer, too."""
    try:
        texts = read()
    except TenantMismatch:
        return
    found = set().union(*map(owners, texts))
    if not texts or not (len(found) == 1 and found <= set(slugs)):
        raise MixUp(f"{' or '.join(slugs)} was asked and {sorted(found) or 'nobody'} answered")


def written(actor: Actor, slug: str) -> int:
    post = Post.objects.get(pk=actor.key())
    with tenant_context(actor.other(slug)):
        post.title = mark(slug)
        refused(slug, "save() in another tenant", post.save, TenantMismatch)
        refused(slug, "delete() in another tenant", post.delete, TenantMismatch)
        copies = [post]
        refused(slug, "bulk_create()", lambda: Post.objects.bulk_create(copies), TenantMismatch)
        refused(slug, "bulk_update()", lambda: Post.objects.bulk_update(copies, ["title"]), TenantMismatch)
        posts, author = Post.objects.filter(pk=post.pk), post.user
        refused(slug, "a queryset's", lambda: posts.bulk_update(copies, ["title"]), TenantMismatch)
        refused(slug, "a filter()", lambda: Post.objects.filter(user=author), TenantMismatch)
        refused(slug, "an update()", lambda: posts.update(user=author), TenantMismatch)
        refused(slug, "a related row", lambda: post.user.posts.create(title="x"), TenantMismatch)
    return 2


def related(actor: Actor, slug: str) -> int:
    other = actor.other(slug)
    stranger = User.objects.using(tenant_alias(other)).get(pk=actor.cast.several)
    post = Post.objects.get(pk=actor.key())
    refused(slug, "another tenant's author", lambda: setattr(post, "user", stranger), ValueError)
    by_others = Post.objects.using(tenant_alias(other)).filter(pk__lte=SEEDS)
    refused(slug, "a subquery", lambda: list(Post.objects.filter(pk__in=by_others)), ValueError)
    return 2


def hung(actor: Actor, slug: str) -> int:
    """A prefetch joins rows by their keys, which are the same in many tenants."""
    one, two = tenant_alias(slug), tenant_alias(actor.other(slug))
    foreign = Prefetch("posts", Post.objects.using(two).filter(pk__lte=SEEDS))
    authors = User.objects.using(one).filter(pk=actor.cast.several)
    refused(slug, "another's prefetch", lambda: list(authors.prefetch_related(foreign)), TenantMismatch)
    mixed = [User.objects.using(alias).get(pk=actor.cast.several) for alias in (one, two)]
    own = Prefetch("posts", Post.objects.filter(pk__lte=SEEDS))
    for lookup in ("posts", own):
        refused(
            slug,
            "a prefetch for rows of two tenants",
            lambda lookup=lookup: prefetch_related_objects(mixed, lookup),
            TenantMismatch,
        )
    return 4


def nobodys(actor: Actor, slug: str) -> int:
    """Without a tenant nothing is asked; the tenant around it is still current afterwards."""
    with unset_context():
        refused(slug, "a read without a tenant", lambda: Post.objects.get(pk=1), NoTenant)
        refused(slug, "a write without a tenant", lambda: Post.objects.create(title="x"), NoTenant)
    check(slug, Post.objects.get(pk=actor.key()).title)
    return 1


OPERATIONS = {written: 1, related: 1, hung: 1, nobodys: 1}
