"""Async tasks over many tenants in one event loop: interleaved, gathered, cancelled, taken into threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from blog.models import Post
from do_bridge.tenancy import current_tenant, tenant_alias, tenant_context
from do_bridge.tenancy.context import NoTenant, TenantMismatch
from tests.leak.actor import Actor
from tests.leak.marks import check, mark, require


async def get(actor: Actor, slug: str) -> int:
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    require(slug, current_tenant() == slug, "another tenant is current after a wait")
    return 1


async def listed(actor: Actor, slug: str) -> int:
    titles = Post.objects.filter(pk__lte=5).values_list("title", flat=True)
    check(slug, *[title async for title in titles])
    return 1


async def written(actor: Actor, slug: str) -> int:
    post = await Post.objects.acreate(**actor.fields(slug))
    await asyncio.sleep(0)
    changed = await Post.objects.filter(pk=post.pk, title=post.title).aupdate(content=mark(slug))
    gone, _ = await Post.objects.filter(pk=post.pk, title=post.title).adelete()
    require(slug, (changed, gone) == (1, 1), "an async write did not find its row")
    return 3


async def saved(actor: Actor, slug: str) -> int:
    post = await Post.objects.select_related("user").aget(pk=actor.key())
    check(slug, post.title)
    post.title = f"{mark(slug)} {actor.token()}"
    await post.asave(update_fields=["title"])
    return 2


async def gathered(actor: Actor, slug: str) -> int:
    """Tasks of several tenants at once, made in the context of one."""
    slugs = [actor.slug() for _ in range(4)]

    async def one(of: str) -> None:
        async with tenant_context(of):
            await asyncio.sleep(actor.random.random() / 1000)
            check(of, (await Post.objects.aget(pk=actor.key())).title)
            await asyncio.sleep(0)
            check(of, *[title async for title in Post.objects.filter(pk=1).values_list("title", flat=True)])

    await asyncio.gather(*map(one, slugs))
    require(slug, current_tenant() == slug, "a gathered task left its tenant behind")
    return 2 * len(slugs)


async def inherited(actor: Actor, slug: str) -> int:
    """A task keeps the tenant in which it was made, also after its maker has left it."""

    async def later() -> str:
        await asyncio.sleep(0)
        return (await Post.objects.aget(pk=actor.key())).title

    task = asyncio.create_task(later())
    async with tenant_context(actor.other(slug)):
        check(slug, await task)
    return 1


async def cancelled(actor: Actor, slug: str) -> int:
    """A task that is cancelled at any point leaves nothing for the next: no tenant, no answer, no block."""
    other = actor.other(slug)

    def work() -> None:
        with transaction.atomic(using=tenant_alias(other)):
            row = Post.objects.create(**actor.fields(other))
            check(other, Post.objects.get(pk=row.pk).title)
            row.delete()

    async def victim() -> None:
        async with tenant_context(other):
            check(other, (await Post.objects.aget(pk=actor.key())).title)
            await sync_to_async(work)()

    task = asyncio.create_task(victim())
    await asyncio.sleep(actor.random.random() / 100)
    task.cancel()
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    return 2


async def timed_out(actor: Actor, slug: str) -> int:
    """The same by a deadline around the work."""
    try:
        async with asyncio.timeout(actor.random.random() / 200), tenant_context(actor.other(slug)):
            await Post.objects.aget(pk=actor.key())
            await Post.objects.acount()
    except TimeoutError:
        pass
    require(slug, current_tenant() == slug, "a deadline left another tenant current")
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    return 1


async def closed_late(actor: Actor, slug: str) -> int:
    """An async generator in another tenant's context is left in the middle and closed somewhere else."""
    other = actor.other(slug)

    async def titles() -> object:
        posts = Post.objects.using(tenant_alias(other)).filter(pk__lte=4)
        async for post in posts.aiterator(chunk_size=2):
            yield post.title

    generator = titles()
    check(other, await anext(generator))
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    await generator.aclose()
    check(slug, (await Post.objects.aget(pk=actor.key())).title)
    return 3


async def in_transaction(actor: Actor, slug: str) -> int:
    def work() -> int:
        with transaction.atomic(using=tenant_alias(slug)):
            post = Post.objects.create(**actor.fields(slug))
            check(slug, Post.objects.get(pk=post.pk).title)
            return post.delete()[0]

    require(slug, await sync_to_async(work)() == 1, "a transaction in a thread strayed")
    return 3


async def in_threads(actor: Actor, slug: str) -> int:
    """A thread that takes the context has the tenant, one that does not has none."""

    def read() -> str:
        try:
            return Post.objects.get(pk=actor.key()).title
        finally:
            connections.close_all()

    check(slug, await asyncio.to_thread(read))
    check(slug, await sync_to_async(read, thread_sensitive=False)())
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(None, contextvars.Context().run, read)
    except NoTenant:
        return 2
    require(slug, False, "a thread without a context had a tenant")
    return 0


async def lazy(actor: Actor, slug: str) -> int:
    """A row stays in its tenant; a queryset answers for the tenant in which it was made, or not at all."""
    titles = Post.objects.filter(pk__lte=4).values_list("title", flat=True)
    post = await Post.objects.aget(pk=actor.key())
    async with tenant_context(actor.other(slug)):
        with contextlib.suppress(TenantMismatch):
            check(slug, *[title async for title in titles.all()])
        await post.arefresh_from_db()
        check(slug, post.title)
    check(slug, *[title async for title in titles])
    return 3


async def bulk(actor: Actor, slug: str) -> int:
    token = actor.token()
    await Post.objects.abulk_create([Post(**actor.fields(slug, token)) for _ in range(3)])
    own = Post.objects.filter(title=f"{mark(slug)} {token}")
    require(slug, await own.acount() == 3, "an async bulk_create strayed")
    require(slug, (await own.adelete())[0] == 3, "an async delete strayed")
    return 3


OPERATIONS = {
    get: 60,
    listed: 20,
    written: 4,
    saved: 4,
    gathered: 6,
    inherited: 5,
    cancelled: 2,
    timed_out: 3,
    closed_late: 3,
    in_transaction: 2,
    in_threads: 1,
    lazy: 3,
    bulk: 2,
}
