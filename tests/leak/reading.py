"""Reads of one tenant, each compared with whose they are; the tenant is current when they are called."""

from __future__ import annotations

from django.core.cache import cache
from django.db import connections
from django.db.models import Count, Prefetch, Q

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from tests.leak.actor import SEEDS, Actor
from tests.leak.crossing import check_one
from tests.leak.marks import check, mark, require


def get(actor: Actor, slug: str) -> int:
    check(slug, Post.objects.get(pk=actor.key()).title)
    return 1


def filtered(actor: Actor, slug: str) -> int:
    first = actor.key()
    posts = list(Post.objects.filter(pk__gte=first, pk__lte=SEEDS)[:5])
    check(slug, *(post.title for post in posts), *(post.content for post in posts))
    return 1


def values(actor: Actor, slug: str) -> int:
    check(slug, *Post.objects.filter(pk__in=[actor.key(), actor.key()]).values_list("title", flat=True))
    return 1


def newest(actor: Actor, slug: str) -> int:
    """What others have just written here is this tenant's, too."""
    check(slug, *Post.objects.order_by("-pk").values_list("title", flat=True)[:10])
    return 1


def aggregate(actor: Actor, slug: str) -> int:
    counted = Post.objects.filter(pk__lte=SEEDS).aggregate(
        n=Count("pk"), own=Count("pk", filter=Q(content=mark(slug)))
    )
    require(slug, counted["n"] == counted["own"] == SEEDS, "an aggregate counts others' rows")
    return 1


def exists(actor: Actor, slug: str) -> int:
    foreign = Post.objects.exclude(content=mark(slug)).filter(pk__lte=SEEDS)
    require(slug, not foreign.exists(), "there is somebody else's row")
    return 1


def raw(actor: Actor, slug: str) -> int:
    posts = Post.objects.raw("SELECT id, title FROM blog_post WHERE id <= %s", [3])
    check(slug, *(post.title for post in posts))
    return 1


def cursor(actor: Actor, slug: str) -> int:
    with connections[tenant_alias(slug)].cursor() as opened:
        opened.execute("SELECT title FROM blog_post WHERE id = %s", [actor.key()])
        with tenant_context(actor.other(slug)):
            check(slug, opened.fetchone()[0])
    return 1


def related(actor: Actor, slug: str) -> int:
    post = Post.objects.select_related("user").get(pk=actor.key())
    check(slug, post.title)
    _check_author(actor, slug, post.user)
    return 1


def related_later(actor: Actor, slug: str) -> int:
    """A relation is followed into the row's own tenant, whichever is current by then."""
    post = Post.objects.get(pk=actor.key())
    with tenant_context(other := actor.other(slug)):
        _check_author(actor, slug, post.user)
        check(slug, post.user.posts.filter(pk__lte=SEEDS)[0].title)
        check(other, Post.objects.get(pk=actor.key()).title)
    post.refresh_from_db()
    check(slug, post.title)
    return 5


def prefetched(actor: Actor, slug: str) -> int:
    posts = Prefetch("posts", Post.objects.filter(pk__lte=SEEDS))
    # Staff who acted here have a copy, too, which is no active one.
    authors = User.objects.using(tenant_alias(slug)).filter(is_active=True).prefetch_related(posts)
    for author in authors.order_by("pk")[:5]:
        _check_author(actor, slug, author)
        check(slug, *(post.title for post in author.posts.all()))
    return 2


def iterated(actor: Actor, slug: str) -> int:
    """Another tenant is read while this one's rows come in pieces."""
    other = actor.other(slug)
    done = 1
    for post in Post.objects.filter(pk__lte=6).iterator(chunk_size=3):
        check(slug, post.title)
        with tenant_context(other):
            check(other, Post.objects.get(pk=actor.key()).title)
        done += 1
    return done


def lazy(actor: Actor, slug: str) -> int:
    """A queryset answers for the tenant in which it was made, and its copies do, or not at all."""
    posts = Post.objects.filter(pk__lte=SEEDS)
    copy = posts.filter(pk=actor.key()).values_list("title", flat=True)
    with tenant_context(other := actor.other(slug)):
        check_one((slug,), lambda: [posts[0].title])
        check_one((slug,), lambda: list(copy))
        check(other, Post.objects.get(pk=actor.key()).title)
    check(slug, posts[0].title, *copy)
    return 3


def generated(actor: Actor, slug: str) -> int:
    """Two generators, each in its own tenant, take turns."""

    def titles(of: str) -> object:
        posts = Post.objects.using(tenant_alias(of)).filter(pk__lte=4)
        for post in posts.iterator(chunk_size=2):
            yield of, post.title

    one, two = titles(slug), titles(actor.other(slug))
    for pair in zip(one, two, strict=True):
        for whose, title in pair:
            check(whose, title)
    return 2


def using(actor: Actor, slug: str) -> int:
    other = actor.other(slug)
    check(other, Post.objects.using(tenant_alias(other)).get(pk=actor.key()).title)
    check(slug, Post.objects.get(pk=actor.key()).title)
    return 2


def members(actor: Actor, slug: str) -> int:
    """Of the tenants' own members only this one's is here."""
    for user in User.objects.using(tenant_alias(slug)).filter(pk__in=list(actor.cast.own.values())):
        _check_author(actor, slug, user)
    return 1


def cached(actor: Actor, slug: str) -> int:
    """One key in all tenants; what is cached keeps its own tenant."""
    cache.set("title", Post.objects.get(pk=actor.key()).title)
    with tenant_context(other := actor.other(slug)):
        found = cache.get_or_set("posts", lambda: list(Post.objects.filter(pk__lte=3)))
        check(other, *(post.title for post in found), cache.get("title", mark(other)))
    for post in cache.get("posts", ()):
        check(slug, post.title)
        require(slug, post._state.db == tenant_alias(slug), "a cached row has another tenant")
    check(slug, cache.get("title", mark(slug)))
    return 2


def _check_author(actor: Actor, slug: str, user: User) -> None:
    require(slug, user.pk in (actor.cast.several, actor.cast.own[slug]), "a stranger is the author")
    if user.pk != actor.cast.several:
        check(slug, user.name)


OPERATIONS = {
    get: 30,
    filtered: 10,
    values: 12,
    newest: 4,
    aggregate: 4,
    exists: 6,
    raw: 4,
    cursor: 8,
    related: 8,
    related_later: 3,
    prefetched: 2,
    iterated: 3,
    lazy: 5,
    generated: 2,
    using: 6,
    members: 2,
    cached: 2,
}
