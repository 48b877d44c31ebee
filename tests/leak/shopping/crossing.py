"""Rows of another tenant in conditions, in every shape that Django takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import Case, Count, Exists, FilteredRelation, OuterRef, Q, Value, When

from do_bridge.tenancy import tenant_context
from do_bridge.tenancy.context import TenantMismatch
from tests.leak.actor import Actor
from tests.leak.crossing import refused
from tests.leak.marks import check, require
from tests.leak.shop import catalogue
from tests.leak.shop.models import Category, Item
from tests.leak.shopping.common import category_key

#: What `fk__in=` may be given.
SEVERAL: dict[str, Callable[[Category], Iterable[Any]]] = {
    "list": lambda row: [row],
    "tuple": lambda row: (row,),
    "set": lambda row: {row},
    "frozenset": lambda row: frozenset({row}),
    "deque": lambda row: deque([row]),
    "dict": lambda row: {row: 1},
    "keys": lambda row: {row: 1}.keys(),
    "values": lambda row: {1: row}.values(),
}
#: What names one row.
SINGLE: dict[str, Callable[[Any, Category], Any]] = {
    "filter": lambda rows, row: rows.filter(category=row),
    "exclude": lambda rows, row: rows.exclude(category=row),
    "Q": lambda rows, row: rows.filter(Q(category=row) | Q(pk=0)),
    "not Q": lambda rows, row: rows.filter(~Q(category=row)),
    "complex_filter": lambda rows, row: rows.complex_filter(Q(category=row)),
    "complex_filter of a dict": lambda rows, row: rows.complex_filter({"category": row}),
    "get": lambda rows, row: [rows.get(category=row, pk=row.pk + 3)],
    "exact": lambda rows, row: rows.filter(category__exact=row),
}


def _stranger(actor: Actor, slug: str) -> Category:
    with tenant_context(actor.other(slug)):
        return Category.objects.get(pk=category_key(actor))


def several(actor: Actor, slug: str) -> int:
    row = _stranger(actor, slug)
    kinds = {
        f"in a {name}": lambda rows, made=made: rows.filter(category__in=made(row))
        for name, made in SEVERAL.items()
    }
    return _refuse_all(slug, kinds)


def single(actor: Actor, slug: str) -> int:
    row = _stranger(actor, slug)
    kinds = {f"in {name}": lambda rows, asked=asked: asked(rows, row) for name, asked in SINGLE.items()}
    return _refuse_all(slug, kinds)


def _refuse_all(slug: str, kinds: dict[str, Callable[[Any], Iterable[Any]]]) -> int:
    """Raise MixUp with the kinds that are not refused, of a queryset made here and of a module's."""
    taken = []
    for whose, rows in (("", Item.objects.all()), (" of a module's queryset", catalogue.ITEMS)):
        for name, asked in kinds.items():
            try:
                list(asked(rows))
            except TenantMismatch:
                continue
            taken.append(name + whose)
    require(slug, not taken, f"another tenant's row is taken {', '.join(taken)}")
    return len(kinds)


def inside(actor: Actor, slug: str) -> int:
    """A row deep in a query."""
    row = _stranger(actor, slug)
    with_row = Q(category=row)
    kinds: dict[str, Callable[[Any], Iterable[Any]]] = {
        "in When": lambda rows: rows.annotate(chosen=Case(When(with_row, then="name"), default=Value(""))),
        "in order_by": lambda rows: rows.order_by(Case(When(with_row, then=0), default=1)),
        "in an aggregate": lambda rows: [rows.aggregate(n=Count("pk", filter=with_row))],
        "in an annotation": lambda rows: rows.annotate(n=Count("labels", filter=with_row)),
        "in Exists": lambda rows: rows.filter(Exists(Item.objects.filter(with_row, pk=OuterRef("pk")))),
        "in FilteredRelation": lambda rows: rows.annotate(
            tag=FilteredRelation("labels", condition=with_row)
        ).filter(tag__pk__gt=0),
        "in a generator": lambda rows: rows.filter(category__in=(one for one in [row])),
        "over a relation": lambda rows: rows.filter(labels__items__category=row),
    }
    return _refuse_all(slug, kinds)


def keys(actor: Actor, slug: str) -> int:
    """Keys alone are nobody's; a queryset of another tenant is refused."""
    with tenant_context(actor.other(slug)):
        numbers = list(Category.objects.values_list("pk", flat=True))
        strangers = Category.objects.values_list("pk", flat=True)
    check(slug, *(item.name for item in catalogue.ITEMS.filter(category__in=numbers)))
    for rows in (Item.objects.all(), catalogue.ITEMS):
        refused(
            slug,
            "another tenant's values_list()",
            lambda rows=rows: list(rows.filter(category__in=strangers)),
            TenantMismatch,
            ValueError,
        )
    return 3


OPERATIONS = {several: 1, single: 1, inside: 1, keys: 1}
