"""The shop's rows that every tenant has under the same keys, and a last look at all of its rows."""

from __future__ import annotations

from django.contrib.contenttypes.models import ContentType

from do_bridge.tenancy import tenant_alias, tenant_context
from tests.leak.actor import Cast
from tests.leak.marks import check, mark, require
from tests.leak.shop.models import Category, Comment, Item, Label

# Rows with the keys 1 to so many: changed by everybody, never deleted.
CATEGORIES, LABELS, ITEMS, COMMENTS = 4, 3, 8, 6
# An item's category and labels are by its key, so that a page can be compared to the letter.
CATEGORY_OF = {key: 1 + key % CATEGORIES for key in range(1, ITEMS + 1)}


def seed(cast: Cast) -> None:
    """Give each tenant its rows."""
    targets = [ContentType.objects.get_for_model(model).pk for model in (Category, Item)]
    for slug in cast.slugs:
        with tenant_context(slug):
            _seed_one(cast, slug, targets)


def _seed_one(cast: Cast, slug: str, targets: list[int]) -> None:
    def name(kind: str, key: int) -> str:
        return f"{mark(slug)} {kind}{key}"

    owners = (cast.own[slug], cast.several)
    Category.objects.bulk_create(
        Category(pk=key, name=name("category", key), notes=mark(slug)) for key in range(1, CATEGORIES + 1)
    )
    Label.objects.bulk_create(Label(pk=key, name=name("label", key)) for key in range(1, LABELS + 1))
    Item.objects.bulk_create(
        Item(pk=key, name=name("item", key), category_id=CATEGORY_OF[key], owner_id=owners[key % 2])
        for key in range(1, ITEMS + 1)
    )
    through = Item.labels.through
    through.objects.bulk_create(
        through(item_id=key, label_id=label)
        for key in range(1, ITEMS + 1)
        for label in {1 + key % LABELS, 1 + (key + 1) % LABELS}
    )
    Comment.objects.bulk_create(
        Comment(
            pk=key,
            text=name("comment", key),
            author_id=owners[key % 2],
            content_type_id=targets[key % 2],
            object_id=1 + key % CATEGORIES,
        )
        for key in range(1, COMMENTS + 1)
    )


def in_tenant(cast: Cast, slug: str) -> int:
    """Return how many rows of the shop the tenant has; raise MixUp for one that is not its own."""
    alias, rows = tenant_alias(slug), 0
    people = {cast.several, cast.own[slug]}
    for model, seeds, owner in (
        (Category, CATEGORIES, ""),
        (Label, LABELS, ""),
        (Item, ITEMS, "owner_id"),
        (Comment, COMMENTS, "author_id"),
    ):
        column = "text" if model is Comment else "name"
        names = list(model.objects.using(alias).order_by("pk").values_list("pk", column))
        check(slug, *(name for _, name in names))
        require(slug, [pk for pk, _ in names[:seeds]] == list(range(1, seeds + 1)), "first rows are missing")
        if owner:
            found = set(model.objects.using(alias).values_list(owner, flat=True))
            require(slug, found <= people, "a stranger has a row of the shop")
        rows += len(names)
    return rows


def in_directory() -> None:
    """Raise MixUp where D1 has a row of the shop."""
    for model in (Category, Label, Item, Comment):
        require("D1", not model.objects.using("default").exists(), "has a tenant's row of the shop")
