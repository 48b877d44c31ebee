"""Writes of one tenant: what was written is found there, once, and nothing lands anywhere else."""

from __future__ import annotations

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.forms import modelform_factory

from accounts.models import User
from blog.models import Post
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.context import OpenTransaction, TenantMismatch
from tests.leak.actor import Actor
from tests.leak.crossing import refused
from tests.leak.marks import check, mark, require


class Undo(Exception):
    """Raised to roll a transaction back."""


def create(actor: Actor, slug: str) -> int:
    token = actor.token()
    post = Post.objects.create(**actor.fields(slug, token))
    require(slug, post._state.db == tenant_alias(slug), "a new row says that it is elsewhere")
    check(slug, Post.objects.get(title__endswith=f" {token}", pk=post.pk).title)
    return 2


def update(actor: Actor, slug: str) -> int:
    key = actor.key()
    changed = Post.objects.filter(pk=key, content=mark(slug)).update(title=f"{mark(slug)} {actor.token()}")
    require(slug, changed == 1, "an update did not find the tenant's row")
    return 1


def save(actor: Actor, slug: str) -> int:
    post = Post.objects.get(pk=actor.key())
    check(slug, post.title, post.content)
    post.title = f"{mark(slug)} {actor.token()}"
    post.save(update_fields=["title", "updated"])
    return 2


def delete(actor: Actor, slug: str) -> int:
    post = Post.objects.create(**actor.fields(slug))
    found = Post.objects.filter(pk=post.pk, title=post.title)
    with tenant_context(actor.other(slug)):
        refused(slug, "delete() of a queryset in another tenant", found.delete, TenantMismatch)
    gone, _ = found.delete()
    require(slug, gone == 1, "a delete did not find the tenant's row")
    return 2


def committed(actor: Actor, slug: str) -> int:
    """A transaction with a savepoint that is rolled back, other tenants read and written meanwhile."""
    alias, other, token = tenant_alias(slug), actor.other(slug), actor.token()
    with transaction.atomic(using=alias):
        Post.objects.create(**actor.fields(slug, token))
        try:
            with transaction.atomic(using=alias):
                Post.objects.create(**actor.fields(slug, token))
                raise Undo
        except Undo:
            pass
        check(other, Post.objects.using(tenant_alias(other)).get(pk=actor.key()).title)
        check(slug, *Post.objects.filter(title__endswith=token).values_list("title", flat=True))
    gone, _ = Post.objects.filter(title=f"{mark(slug)} {token}").delete()
    require(slug, gone == 1, f"a transaction left {gone} rows and not 1")
    return 5


def rolled_back(actor: Actor, slug: str) -> int:
    alias, token = tenant_alias(slug), actor.token()
    try:
        with transaction.atomic(using=alias):
            Post.objects.create(**actor.fields(slug, token))
            check(slug, Post.objects.get(pk=actor.key()).title)
            raise Undo
    except Undo:
        pass
    require(slug, not Post.objects.filter(title__endswith=token).exists(), "a rollback left a row")
    return 3


def two_transactions(actor: Actor, slug: str) -> int:
    """Two tenants' transactions inside each other; the inner one stays when the outer one goes.

    Always in the order of their names: two clients in opposite order would wait for each other's lease.
    """
    slug, other = sorted((slug, actor.other(slug)))
    one, two, token = tenant_alias(slug), tenant_alias(other), actor.token()
    try:
        with transaction.atomic(using=one):
            Post.objects.using(one).create(**actor.fields(slug, token))
            with transaction.atomic(using=two):
                Post.objects.using(two).create(**actor.fields(other, token))
            raise Undo
    except Undo:
        pass
    require(slug, not Post.objects.using(one).filter(title__endswith=token).exists(), "a row stayed")
    gone, _ = Post.objects.using(two).filter(title=f"{mark(other)} {token}").delete()
    require(other, gone == 1, "the inner transaction's row is not there")
    return 4


def entered_in_transaction(actor: Actor, slug: str) -> int:
    with transaction.atomic(using=tenant_alias(slug)):
        check(slug, Post.objects.get(pk=actor.key()).title)
        try:
            with tenant_context(actor.other(slug)):
                require(slug, False, "another tenant was entered inside its transaction")
        except OpenTransaction:
            pass
        check(slug, Post.objects.get(pk=actor.key()).title)
    return 2


def on_commit(actor: Actor, slug: str) -> int:
    """What waits for a commit runs in the tenant of that commit."""
    seen: list[str] = []
    with transaction.atomic(using=tenant_alias(slug)):
        Post.objects.filter(pk=actor.key()).update(content=mark(slug))
        key = actor.key()
        transaction.on_commit(lambda: seen.append(Post.objects.get(pk=key).title), using=tenant_alias(slug))
    check(slug, *seen)
    require(slug, len(seen) == 1, "what waited for the commit did not run")
    return 2


def bulk(actor: Actor, slug: str) -> int:
    token = actor.token()
    posts = Post.objects.bulk_create([Post(**actor.fields(slug, token)) for _ in range(5)])
    for post in posts:
        post.content = f"{mark(slug)} again"
    changed = Post.objects.bulk_update(posts, ["content"])
    found = Post.objects.in_bulk([post.pk for post in posts])
    check(slug, *(post.content for post in found.values()))
    gone, _ = Post.objects.filter(title=f"{mark(slug)} {token}").delete()
    require(slug, (changed, len(found), gone) == (5, 5, 5), "bulk operations lost rows")
    return 4


def get_or_create(actor: Actor, slug: str) -> int:
    token = actor.token()
    fields = actor.fields(slug, token)
    for expected in (True, False):
        post, created = Post.objects.get_or_create(title=fields["title"], defaults=fields)
        require(slug, created is expected, "get_or_create looked elsewhere")
    check(slug, post.title)
    post.delete()
    return 3


def by_cursor(actor: Actor, slug: str) -> int:
    with connections[tenant_alias(slug)].cursor() as opened:
        opened.execute(
            "UPDATE blog_post SET title = %s WHERE id = %s AND content LIKE %s",
            [f"{mark(slug)} {actor.token()}", actor.key(), f"{mark(slug)}%"],
        )
        require(slug, opened.rowcount == 1, "a raw update did not find the tenant's row")
    return 1


def logged(actor: Actor, slug: str) -> int:
    """The admin's log, whose content types are remembered for each alias."""
    content_type = ContentType.objects.db_manager(tenant_alias(slug)).get_for_model(Post)
    entry = LogEntry.objects.create(
        user_id=actor.cast.several,
        content_type_id=content_type.pk,
        object_id="1",
        object_repr=mark(slug),
        action_flag=ADDITION,
        change_message=mark(slug),
    )
    require(slug, entry._state.db == tenant_alias(slug), "an entry of the log is elsewhere")
    check(slug, *LogEntry.objects.order_by("-pk").values_list("object_repr", flat=True)[:5])
    return 2


PostForm = modelform_factory(Post, fields=["title", "content", "user"])


def form(actor: Actor, slug: str) -> int:
    """A form offers the tenant's people alone, and takes nobody else."""
    other = actor.other(slug)
    data = {"title": mark(slug), "content": mark(slug), "user": actor.cast.own[other]}
    require(slug, not PostForm(data).is_valid(), "a form took another tenant's member")
    bound = PostForm({**data, "user": actor.cast.own[slug]})
    require(slug, bound.is_valid(), "a form refused the tenant's member")
    check(slug, *(str(user) for user in bound.fields["user"].queryset.filter(name__startswith="mark(")))
    return 3


def member_row(actor: Actor, slug: str) -> int:
    user = User.objects.using(tenant_alias(slug)).get(pk=actor.cast.own[slug])
    check(slug, user.name)
    post = user.posts.create(title=f"{mark(slug)} {actor.token()}", content=mark(slug))
    require(slug, post._state.db == tenant_alias(slug), "a related row strayed")
    check(slug, user.posts.get(pk=post.pk).title)
    return 3


OPERATIONS = {
    create: 6,
    update: 8,
    save: 6,
    delete: 4,
    committed: 2,
    rolled_back: 2,
    two_transactions: 1,
    entered_in_transaction: 1,
    on_commit: 1,
    bulk: 1,
    get_or_create: 1,
    by_cursor: 6,
    logged: 2,
    form: 1,
    member_row: 1,
}
