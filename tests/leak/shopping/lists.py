"""Querysets, managers and conditions of a module, read in one tenant after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Count, Q

from do_bridge.tenancy import tenant_alias, tenant_context
from tests.leak.actor import Actor
from tests.leak.crossing import check_one
from tests.leak.marks import check, mark, require
from tests.leak.shop import catalogue
from tests.leak.shop.models import Category, Item
from tests.leak.shopping import seeds
from tests.leak.shopping.common import (
    category_key,
    check_items,
    in_both,
    item_fields,
    item_key,
)


def _names(rows: Any) -> list[str]:
    return [row.name for row in rows]


def module_level(actor: Actor, slug: str) -> int:
    name = actor.random.choice(list(catalogue.ROWS))

    def work(of: str) -> None:
        rows = catalogue.ROWS[name]
        check(of, *_names(rows.all()), rows.get(pk=1).name, *rows.values_list("name", flat=True)[:3])
        foreign = rows.exclude(name__startswith=mark(of))
        require(of, not foreign.exists(), f"{name} has somebody else's rows")

    in_both(actor, slug, work)
    return 8


def managers(actor: Actor, slug: str) -> int:
    """A manager, its methods, a bound method, a partial and a default argument, kept by a module."""

    def work(of: str) -> None:
        check(of, *_names(catalogue.BY_NAME.all()), *_names(catalogue.BY_NAME.with_items()))
        check(of, *_names(catalogue.IN_STOCK()[:3]), catalogue.first_category().name)
        check(of, *_names(catalogue.items_of(pk__lte=3)), catalogue.named(item_key(actor)))

    in_both(actor, slug, work)
    return 12


#: How people read a queryset that remembers its rows.
READERS: dict[str, Callable[[Any], list[str]]] = {
    "for": lambda rows: [row.name for row in rows],
    "if": lambda rows: [rows[0].name] if rows else [],
    "len": lambda rows: [rows[len(rows) - 1].name],
    "in": lambda rows: [row.name for row in rows if row in rows],
    "index": lambda rows: [rows[1].name, *(row.name for row in rows)],
    "list": lambda rows: [row.name for row in list(rows)],
}


def remembered(actor: Actor, slug: str) -> int:
    """A queryset without `.all()`: what it remembers is one tenant's, and no other gets it."""
    how = actor.random.choice(list(READERS))
    read = READERS[how]

    def work(of: str) -> None:
        check_one((of,), lambda: read(catalogue.REMEMBERED[how]))

    in_both(actor, slug, work)
    return 2


def kept(actor: Actor, slug: str) -> int:
    """A function remembers the queryset of its first caller; no other tenant's gets its rows."""
    in_both(actor, slug, lambda of: check_one((of,), lambda: _names(catalogue.popular())))
    in_both(actor, slug, lambda of: check_one((of,), lambda: _names(catalogue.popular().filter(pk__lte=2))))
    return 4


def conditions(actor: Actor, slug: str) -> int:
    """`Exists`, `Subquery`, `Case`, `Q` and an aggregate that a module has made."""

    def work(of: str) -> None:
        told = catalogue.ITEMS.filter(catalogue.HAS_COMMENT, catalogue.IS_SOLD).annotate(
            last=catalogue.LAST_COMMENT, kind=catalogue.CATEGORY_NAME, shown=catalogue.SHOWN_AS
        )
        for row in told.values_list("name", "last", "kind", "shown"):
            check(of, *row)
        own = Count("items", filter=Q(items__name__startswith=mark(of)))
        for category in catalogue.CATEGORIES.annotate(n=catalogue.COUNTED, own=own):
            check(of, category.name)
            require(of, category.n == category.own, "a count has other tenants' items")

    in_both(actor, slug, work)
    return 4


def inner(actor: Actor, slug: str) -> int:
    """A module's queryset inside another one, or joined with it."""

    def work(of: str) -> None:
        categories = catalogue.CATEGORIES.filter(pk__lte=2)
        check(of, *_names(catalogue.ITEMS.filter(category__in=catalogue.CATEGORIES)[:4]))
        check(of, *_names(Item.objects.filter(category__in=categories)[:4]))
        both = catalogue.CATEGORIES.values_list("name").union(catalogue.LABELS.order_by().values_list("name"))
        check(of, *(name for (name,) in both))
        check(of, *_names((catalogue.ITEMS.filter(pk=1) | catalogue.ITEMS.filter(pk=2)).select_related()))

    in_both(actor, slug, work)
    return 8


def iterated(actor: Actor, slug: str) -> int:
    """Another tenant reads the same querysets while this one's rows come in pieces."""
    other, done = actor.other(slug), 1
    for item in catalogue.SHOWN.filter(pk__lte=6).iterator(chunk_size=3):
        check(slug, item.name, item.category.name)
        with tenant_context(other):
            check_items(actor, other, catalogue.SHOWN.filter(pk=item_key(actor)))
        done += 2
    return done


def followed(actor: Actor, slug: str) -> int:
    """Relations of a row lead into its own tenant, whichever is current."""
    item = catalogue.ITEMS.select_related("category").get(pk=item_key(actor))
    with tenant_context(actor.other(slug)):
        check(slug, item.category.name, *_names(item.labels.all()))
        check(slug, *_names(item.category.items.filter(pk__lte=seeds.ITEMS)))
        check(slug, *(comment.text for comment in item.comments.all()))
        check(slug, *_names(Category.objects.using(tenant_alias(slug)).filter(items=item)))
    return 5


def late(actor: Actor, slug: str) -> int:
    """A queryset is made in one tenant and read in another: all its rows are one tenant's."""
    other = actor.other(slug)
    bound = Item.objects.order_by("pk").prefetch_related(catalogue.WITH_CATEGORY)[:3]
    derived = catalogue.SHOWN.filter(pk__lte=3)
    joined = Item.objects.filter(category__in=catalogue.CATEGORIES.filter(pk__lte=3))
    with tenant_context(other):
        check_one((slug,), lambda: [text for item in bound for text in (item.name, item.category.name)])
        check_one(
            (slug, other), lambda: [text for item in derived for text in (item.name, item.category.name)]
        )
        check_one((slug,), lambda: _names(joined))
    return 3


def written(actor: Actor, slug: str) -> int:
    """Writes by a module's querysets."""

    def work(of: str) -> None:
        changed = catalogue.ITEMS.filter(pk=item_key(actor)).update(stock=actor.random.randint(1, 9))
        require(of, changed == 1, "an update did not find the tenant's row")
        item = catalogue.ITEMS.create(**item_fields(actor, of))
        require(of, item._state.db == tenant_alias(of), "a new item says that it is elsewhere")
        item.labels.set(catalogue.LABELS.filter(pk__lte=2))
        check(of, *_names(item.labels.all()), Item.objects.get(name=item.name).category.name)
        gone, _ = catalogue.ITEMS.filter(pk=item.pk, name=item.name).delete()
        require(of, gone >= 1, "a delete did not find the tenant's row")

    in_both(actor, slug, work)
    return 10


def through_relations(actor: Actor, slug: str) -> int:
    """Rows are made by the managers of relations that start from a module's queryset."""
    category = catalogue.CATEGORIES.get(pk=category_key(actor))
    fields = item_fields(actor, slug) | {"category_id": category.pk}
    del fields["category_id"]
    item, made = category.items.get_or_create(name=fields.pop("name"), defaults=fields)
    require(slug, made, "get_or_create looked elsewhere")
    comment = item.comments.create(text=item.name, author_id=actor.cast.several)
    check(slug, comment.target.name, *(row.text for row in item.comments.all()))
    item.delete()
    return 4


OPERATIONS = {
    module_level: 4,
    managers: 2,
    remembered: 3,
    kept: 1,
    conditions: 2,
    inner: 1,
    iterated: 1,
    followed: 2,
    late: 2,
    written: 1,
    through_relations: 1,
}
