"""`Prefetch` objects of a module at every level, shared by threads and tenants; what they leave behind."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Prefetch, prefetch_related_objects

from do_bridge.tenancy import directory_context, tenant_alias, tenant_context
from tests.leak.actor import Actor
from tests.leak.crossing import check_one
from tests.leak.marks import check, require
from tests.leak.shop import catalogue
from tests.leak.shop.models import Category, Comment, Item, Label
from tests.leak.shopping.common import check_items, check_owner, in_both, item_key


def shown(actor: Actor, slug: str) -> int:
    """Items with categories and labels, as a list view's class has them."""

    def work(of: str) -> None:
        check_items(actor, of, catalogue.SHOWN.filter(pk__lte=4))
        check_items(actor, of, Item.objects.with_category().filter(pk__lte=2))

    in_both(actor, slug, work)
    return 10


def left_behind(actor: Actor, slug: str) -> int:
    """A queryset that a prefetch has used in one tenant is read in another."""
    check_items(actor, slug, catalogue.SHOWN.all()[:2])
    with tenant_context(other := actor.other(slug)):
        check(other, *(category.name for category in catalogue.CATEGORIES.all()))
        check(other, *catalogue.LABELS.values_list("name", flat=True))
        require(other, catalogue.ITEMS.all()[0].name.startswith(f"mark({other})"), "items are another's")
    return 6


def owned(actor: Actor, slug: str) -> int:
    """A queryset of the shared database's users prefetches a tenant's copies, and means D1 afterwards."""
    for item in catalogue.OWNED.filter(pk__lte=4):
        check_owner(actor, slug, item.owner)
        require(slug, item.owner._state.db == tenant_alias(slug), "an owner is not the tenant's copy")
    with directory_context():
        users = list(catalogue.USERS.filter(username="root"))
        require("D1", len(users) == 1 and users[0]._state.db == "default", "its users are a tenant's copies")
    require("D1", catalogue.USERS.all()[0]._state.db == "default", "its users are a tenant's copies")
    return 4


def nested(actor: Actor, slug: str) -> int:
    """A prefetch whose queryset has prefetches of its own."""

    def work(of: str) -> None:
        for category in catalogue.NESTED.filter(pk__lte=2):
            check(of, category.name)
            check_items(actor, of, category.items.all())

    in_both(actor, slug, work)
    return 8


def by_path(actor: Actor, slug: str) -> int:
    """Prefetches over several levels, some into an attribute."""

    def work(of: str) -> None:
        lookups = ["items", Prefetch("items__labels", catalogue.LABELS, to_attr="tags"), "items__comments"]
        for category in Category.objects.prefetch_related(*lookups).filter(pk__lte=2):
            for item in category.items.all():
                check(of, category.name, item.name, *(label.name for label in item.tags))
                check(of, *(comment.text for comment in item.comments.all()))
        labels = Label.objects.prefetch_related(catalogue.WITH_ITEMS, "items__category__comments")
        for label in labels:
            check_items(actor, of, label.items.all())

    in_both(actor, slug, work)
    return 18


def to_attribute(actor: Actor, slug: str) -> int:
    def work(of: str) -> None:
        for category in catalogue.CATEGORIES.prefetch_related(catalogue.WITH_ITEMS_SHOWN):
            check(of, category.name, *(item.name for item in category.shown))

    in_both(actor, slug, work)
    return 4


def onto_rows(actor: Actor, slug: str) -> int:
    """`prefetch_related_objects` with a module's prefetches, for rows that somebody already has."""
    own, comments = list(Item.objects.filter(pk__lte=3)), list(catalogue.COMMENTS.filter(pk__lte=3))
    with tenant_context(other := actor.other(slug)):
        others = list(Item.objects.filter(pk__lte=3))
        prefetch_related_objects(own, catalogue.WITH_CATEGORY, catalogue.WITH_LABELS, catalogue.WITH_OWNER)
        prefetch_related_objects(others, catalogue.WITH_CATEGORY, catalogue.WITH_COMMENTS)
        # Its querysets have made rows, too: that does not make a write of each read.
        prefetch_related_objects(comments, catalogue.WITH_TARGET)
    for whose, items in ((slug, own), (other, others)):
        check_items(actor, whose, items)
    for item in own:
        check_owner(actor, slug, item.owner)
    check(slug, *(comment.target.name for comment in comments))
    return 9


def generic(actor: Actor, slug: str) -> int:
    """`GenericPrefetch` with the querysets of a module, and without."""

    def work(of: str) -> None:
        for comments in (catalogue.DISCUSSED, Comment.objects.prefetch_related("target__comments")):
            for comment in comments.filter(pk__lte=4):
                check(of, comment.text, comment.target.name)
        for item in catalogue.ITEMS.prefetch_related(catalogue.WITH_COMMENTS):
            check(of, item.name, *(comment.text for comment in item.comments.all()))

    in_both(actor, slug, work)
    return 16


def generic_late(actor: Actor, slug: str) -> int:
    """The query is made in one tenant and read in another; a copy of a module's is nobody's until then."""
    made = Comment.objects.order_by("pk").prefetch_related(catalogue.WITH_TARGET)[:4]
    copy = catalogue.DISCUSSED.filter(pk__lte=4)

    def texts(comments: Iterable[Comment]) -> list[str]:
        return [text for comment in comments for text in (comment.text, comment.target.name)]

    with tenant_context(other := actor.other(slug)):
        check_one((slug,), lambda: texts(made))
        check_one((slug, other), lambda: texts(copy))
        check(other, *(item.name for item in catalogue.ITEMS.filter(pk=item_key(actor))))
    return 5


OPERATIONS = {
    shown: 6,
    left_behind: 3,
    owned: 3,
    nested: 2,
    by_path: 1,
    to_attribute: 2,
    onto_rows: 3,
    generic: 2,
    generic_late: 2,
}
