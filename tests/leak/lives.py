"""Work in tenants that are moved, restored, deleted and made again meanwhile, by who keeps what there was.

Each operation notes in a journal what it wrote or found; `journals.judge` compares it with what became of the
tenant.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from django.db import connections, transaction
from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts.models import User
from blog.models import Post
from do_bridge import driver
from do_bridge.contrib.replicas import ReplicaMiddleware
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.tenants import lookup
from tests.leak import driving
from tests.leak.actor import LIVES, Actor
from tests.leak.journals import Journal
from tests.leak.marks import check, mark, require

#: The tenants with several lives.
SLUGS = tuple(f"{LIVES}{number}" for number in range(4))
_TITLES = "SELECT title FROM blog_post"
_PUT = "INSERT INTO blog_post (title, content, created, updated, user_id) VALUES (%s, '-', %s, %s, %s)"
_THEN = "2026-01-01 00:00:00"


class Keeper:
    """One thread in the tenants, with what it keeps of each for as long as chance lets it."""

    def __init__(self, actor: Actor, journal: Journal) -> None:
        self.actor = actor
        self.journal = journal
        self._kept: dict[tuple[str, str], Any] = {}

    def keep(self, what: str, slug: str, make: Callable[[], Any]) -> Any:
        """Return what is kept of a tenant; one time in eight it is made anew."""
        if (what, slug) not in self._kept or self.actor.random.random() < 1 / 8:
            self._kept[what, slug] = make()
        return self._kept[what, slug]

    def title(self, slug: str) -> tuple[str, str]:
        """Return the word of an operation, and the title of its rows."""
        op = self.actor.token()
        return op, f"{mark(slug)} {op}"

    def pause(self) -> None:
        """Wait while something may become of the tenant."""
        time.sleep(self.actor.random.random() / 25)


def created(keeper: Keeper, slug: str) -> int:
    """A request: its tenant is looked up, as the middleware does."""
    if lookup.get(slug) is None:
        return 0
    op, title = keeper.title(slug)
    with tenant_context(slug), keeper.journal.writing(slug, op, 1):
        Post.objects.create(title=title, content="-", user_id=keeper.actor.cast.several)
    return 1


def visited(keeper: Keeper, slug: str) -> int:
    """A page whose reads of D1 are a replica's, for a visitor with the bookmark of the last one."""
    cookies = keeper.keep("cookies", slug, dict)
    request = RequestFactory().get("/")
    request.COOKIES.update(cookies)

    def page(request: HttpRequest) -> HttpResponse:
        lookup.forget(slug)
        list(User.objects.filter(pk=keeper.actor.cast.several))
        return HttpResponse(str(created(keeper, slug) and seen(keeper, slug)))

    response = ReplicaMiddleware(page)(request)
    cookies.update((name, morsel.value) for name, morsel in response.cookies.items())
    return 2 * int(response.content)


def in_block(keeper: Keeper, slug: str) -> int:
    """A transaction that is open for a while, and sees what is there and its own row."""
    op, title = keeper.title(slug)
    posts = Post.objects.using(tenant_alias(slug))
    fields = {"title": title, "content": "-", "user_id": keeper.actor.cast.several}
    with keeper.journal.writing(slug, op, 2), transaction.atomic(using=tenant_alias(slug)):
        posts.create(**fields)
        keeper.pause()
        found = list(posts.values_list("title", flat=True))
        check(slug, *found)
        require(slug, found.count(title) == 1, "a transaction does not see its own row")
        keeper.pause()
        posts.create(**fields)
    return 3


def in_bulk(keeper: Keeper, slug: str) -> int:
    op, title = keeper.title(slug)
    posts = [Post(title=title, content="-", user_id=keeper.actor.cast.several) for _ in range(3)]
    with tenant_context(slug), keeper.journal.writing(slug, op, 3):
        Post.objects.bulk_create(posts)
    return 1


def _connection(keeper: Keeper, slug: str) -> driver.Connection:
    return keeper.keep("connection", slug, lambda: driving.connect(slug))


def by_kept_connection(keeper: Keeper, slug: str) -> int:
    connection = _connection(keeper, slug)
    op, title = keeper.title(slug)
    with keeper.journal.writing(slug, op, 1):
        connection.execute(_PUT, [title, _THEN, _THEN, keeper.actor.cast.several])
    return 1


def seen_by_kept_connection(keeper: Keeper, slug: str) -> int:
    connection = _connection(keeper, slug)
    with keeper.journal.looking(slug, "kept connection") as titles:
        titles += [title for (title,) in connection.execute(_TITLES).fetchall()]
    return 1


def by_kept_author(keeper: Keeper, slug: str) -> int:
    """An author who was loaded with posts, perhaps in an earlier life, writes another one."""
    author = keeper.keep("author", slug, lambda: _author(keeper, slug))
    check(slug, *(post.title for post in author.posts.all()))
    op, title = keeper.title(slug)
    with keeper.journal.writing(slug, op, 1):
        author.posts.create(title=title, content="-")
    return 1


def _author(keeper: Keeper, slug: str) -> User:
    authors = User.objects.using(tenant_alias(slug)).prefetch_related("posts")
    return authors.get(pk=keeper.actor.cast.several)


def prefetched(keeper: Keeper, slug: str) -> int:
    """Posts of authors who were loaded before."""
    authors = keeper.keep("authors", slug, lambda: list(User.objects.using(tenant_alias(slug))))
    with keeper.journal.looking(slug, "prefetch onto kept rows") as titles:
        prefetch_related_objects(authors, Prefetch("posts", Post.objects.order_by("pk"), to_attr="found"))
        titles += [post.title for author in authors for post in author.found]
    for author in authors:
        del author.found
    return 1


def refreshed(keeper: Keeper, slug: str) -> int:
    """A kept row is whatever has its key by now."""
    post = keeper.keep("post", slug, lambda: Post.objects.using(tenant_alias(slug)).order_by("?")[:1].get())
    with keeper.journal.looking(slug, "refreshed row", is_whole=False) as titles:
        post.refresh_from_db()
        titles.append(post.title)
    return 1


def seen(keeper: Keeper, slug: str) -> int:
    with tenant_context(slug), keeper.journal.looking(slug, "look") as titles:
        titles += Post.objects.values_list("title", flat=True)
    return 1


def seen_by_kept_queryset(keeper: Keeper, slug: str) -> int:
    posts = keeper.keep("posts", slug, lambda: Post.objects.using(tenant_alias(slug)).order_by("pk"))
    with keeper.journal.looking(slug, "kept queryset") as titles:
        titles += [post.title for post in posts.all()]
    return 1


def seen_in_block(keeper: Keeper, slug: str) -> int:
    """In a transaction the same rows are there twice, whatever becomes of the tenant."""
    with (
        keeper.journal.looking(slug, "transaction") as titles,
        transaction.atomic(using=tenant_alias(slug)),
        connections[tenant_alias(slug)].cursor() as cursor,
    ):
        first = cursor.execute(_TITLES).fetchall()
        keeper.pause()
        require(slug, cursor.execute(_TITLES).fetchall() == first, "the rows of a transaction changed")
        titles += [title for (title,) in first]
    return 2


def cached(keeper: Keeper, slug: str) -> int:
    """What is cached may be of an earlier life, but not another tenant's."""
    with tenant_context(slug):
        check(
            slug, *cache.get_or_set("titles", lambda: list(Post.objects.values_list("title", flat=True)), 1)
        )
    return 1


OPERATIONS = {
    created: 6,
    visited: 4,
    in_block: 4,
    in_bulk: 3,
    by_kept_connection: 4,
    seen_by_kept_connection: 4,
    by_kept_author: 3,
    prefetched: 3,
    refreshed: 3,
    seen: 5,
    seen_by_kept_queryset: 3,
    seen_in_block: 2,
    cached: 2,
}
# What must work whatever has become of a tenant, with what was kept.
AFTERWARDS = (created, by_kept_connection, seen_by_kept_connection, seen)
