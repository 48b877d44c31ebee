"""What the operations in the shop share: a second tenant, keys, and ways to compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from do_bridge.tenancy import tenant_context
from tests.leak.actor import Actor
from tests.leak.marks import check, mark, require
from tests.leak.shopping import seeds


def in_both(actor: Actor, slug: str, work: Callable[[str], None]) -> None:
    """Call `work` in the current tenant and then in another one."""
    work(slug)
    with tenant_context(other := actor.other(slug)):
        work(other)


def item_key(actor: Actor) -> int:
    """Return the key of an item that every tenant has."""
    return actor.random.randint(1, seeds.ITEMS)


def category_key(actor: Actor) -> int:
    """Return the key of a category that every tenant has."""
    return actor.random.randint(1, seeds.CATEGORIES)


def item_fields(actor: Actor, slug: str) -> dict[str, Any]:
    """Return the values of a new item of the tenant."""
    return {
        "name": f"{mark(slug)} {actor.token()}",
        "category_id": category_key(actor),
        "owner_id": actor.cast.own[slug],
    }


def check_items(actor: Actor, slug: str, items: Any) -> None:
    """Raise MixUp unless the items are there, and are the tenant's with all that hangs on them."""
    items = list(items)
    require(slug, bool(items), "there are no items")
    for item in items:
        check(slug, item.name, item.category.name, *(label.name for label in item.labels.all()))


def check_owner(actor: Actor, slug: str, user: Any) -> None:
    """Raise MixUp unless the user is one of the tenant's people."""
    require(slug, user.pk in (actor.cast.several, actor.cast.own[slug]), "a stranger is the owner")
    if user.pk != actor.cast.several:
        check(slug, user.name)
