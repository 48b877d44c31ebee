"""The shop in an event loop: the same querysets and prefetches in many tasks at once."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from django.db.models import aprefetch_related_objects
from django.shortcuts import aget_list_or_404, aget_object_or_404

from do_bridge.tenancy import tenant_alias, tenant_context
from tests.leak.actor import Actor
from tests.leak.marks import check, require
from tests.leak.shop import catalogue
from tests.leak.shop.models import Item
from tests.leak.shopping.common import check_items, check_owner, item_fields, item_key
from tests.leak.shopping.views import LIST, page


async def shown(actor: Actor, slug: str) -> int:
    check_items(actor, slug, [item async for item in catalogue.SHOWN.filter(pk__lte=4)])
    async with tenant_context(other := actor.other(slug)):
        check(other, *[category.name async for category in catalogue.CATEGORIES.all()])
    return 5


async def side_by_side(actor: Actor, slug: str) -> int:
    """Tasks of several tenants read by the same prefetches."""
    slugs = [slug, *(actor.slug() for _ in range(3))]

    async def one(of: str) -> None:
        async with tenant_context(of):
            rows = catalogue.SHOWN.filter(pk__lte=2)
            check_items(actor, of, [item async for item in rows.aiterator(chunk_size=2)])
            check(of, (await catalogue.CATEGORIES.aget(pk=1)).name)

    await asyncio.gather(*map(one, slugs))
    return 4 * len(slugs)


async def onto_rows(actor: Actor, slug: str) -> int:
    items = [item async for item in Item.objects.filter(pk__lte=3)]
    async with tenant_context(actor.other(slug)):
        lookups = (catalogue.WITH_CATEGORY, catalogue.WITH_LABELS, catalogue.WITH_OWNER)
        await aprefetch_related_objects(items, *lookups)
    check_items(actor, slug, items)
    for item in items:
        check_owner(actor, slug, item.owner)
    return 4


async def shortcuts(actor: Actor, slug: str) -> int:
    item = await aget_object_or_404(catalogue.ITEMS, pk=item_key(actor))
    check(slug, item.name, *[one.name for one in await aget_list_or_404(catalogue.SHOWN, pk__lte=2)])
    comments = [comment async for comment in catalogue.DISCUSSED.filter(pk__lte=2)]
    # In a thread: a content type may have to be read again.
    check(slug, *await sync_to_async(lambda: [comment.target.name for comment in comments])())
    return 6


async def in_threads(actor: Actor, slug: str) -> int:
    """A list view runs in threads, each with the context of its task."""
    slugs = [slug, actor.other(slug)]

    async def one(of: str) -> str:
        async with tenant_context(of):
            return await sync_to_async(page)(LIST)

    for of, text in zip(slugs, await asyncio.gather(*map(one, slugs)), strict=True):
        check(of, text)
    return 2


async def written(actor: Actor, slug: str) -> int:
    item = await catalogue.ITEMS.acreate(**item_fields(actor, slug))
    require(slug, item._state.db == tenant_alias(slug), "a new item says that it is elsewhere")
    await item.labels.aset([label async for label in catalogue.LABELS.filter(pk__lte=2)])
    async with tenant_context(actor.other(slug)):
        check(slug, *[label.name async for label in item.labels.all()])
    await item.adelete()
    return 6


OPERATIONS = {shown: 6, side_by_side: 4, onto_rows: 3, shortcuts: 3, in_threads: 3, written: 1}
