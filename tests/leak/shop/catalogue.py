"""Querysets and conditions at the level of a module: made once, used by every request."""

from functools import lru_cache, partial

from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import Case, Count, Exists, F, OuterRef, Prefetch, Q, Subquery, When
from django.shortcuts import get_list_or_404

from accounts.models import User
from tests.leak.shop.models import Category, Comment, Item, Label

CATEGORIES = Category.objects.all()
LABELS = Label.objects.order_by("pk")
ITEMS = Item.objects.order_by("pk")
COMMENTS = Comment.objects.order_by("pk")
# A model of the shared database, whose copies the tenants hold.
USERS = User.objects.filter(is_active=True)

# Read as they are, without .all(): Django remembers their rows.
REMEMBERED = {name: Category.objects.order_by("pk") for name in ("for", "if", "len", "in", "index", "list")}

ROWS = {"categories": CATEGORIES, "labels": LABELS, "items": ITEMS}
BY_NAME = Category.by_name
IN_STOCK = Item.objects.in_stock
items_of = partial(get_list_or_404, ITEMS)
first_category = Category.objects.order_by("pk").first


def named(pk, rows=ITEMS):
    """Return the name of one row."""
    return rows.get(pk=pk).name


@lru_cache
def popular():
    """Return a queryset that somebody's request makes, and all later ones get."""
    return Category.objects.order_by("pk")


WITH_CATEGORY = Prefetch("category", queryset=CATEGORIES)
WITH_LABELS = Prefetch("labels", queryset=LABELS)
WITH_OWNER = Prefetch("owner", queryset=USERS)
WITH_COMMENTS = Prefetch("comments", queryset=COMMENTS)
WITH_ITEMS = Prefetch("items", queryset=Item.objects.prefetch_related(WITH_LABELS, WITH_CATEGORY))
WITH_ITEMS_SHOWN = Prefetch("items", queryset=ITEMS.filter(stock__gt=0), to_attr="shown")
WITH_TARGET = GenericPrefetch("target", [ITEMS, CATEGORIES])

SHOWN = Item.objects.order_by("pk").prefetch_related(WITH_CATEGORY, WITH_LABELS)
OWNED = Item.objects.order_by("pk").prefetch_related(WITH_OWNER)
NESTED = Category.objects.order_by("pk").prefetch_related(WITH_ITEMS)
DISCUSSED = Comment.objects.order_by("pk").prefetch_related(WITH_TARGET)

OF_ITEMS = Q(content_type__app_label="shop", content_type__model="item")
HAS_COMMENT = Exists(Comment.objects.filter(OF_ITEMS, object_id=OuterRef("pk")))
LAST_COMMENT = Subquery(
    Comment.objects.filter(OF_ITEMS, object_id=OuterRef("pk")).order_by("-pk").values("text")[:1]
)
CATEGORY_NAME = Subquery(CATEGORIES.filter(pk=OuterRef("category_id")).values("name")[:1])
IS_SOLD = Q(stock__gt=0)
SHOWN_AS = Case(When(IS_SOLD, then=F("category__name")), default=F("name"))
COUNTED = Count("items", filter=Q(items__stock__gt=0))
