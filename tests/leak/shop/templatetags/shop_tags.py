"""A tag library with querysets of its own; Django imports it when the first template is made."""

from django import template

from tests.leak.shop.models import Category, Item, Label

register = template.Library()

CATEGORIES = Category.objects.order_by("name")
LABELS = Label.objects.order_by("pk")
NEWEST = Item.objects.select_related("category").order_by("-pk")


@register.simple_tag
def categories():
    return ", ".join(category.name for category in CATEGORIES.all())


@register.simple_tag
def newest(count=3, items=NEWEST):
    return ", ".join(f"{item.name} {item.category.name}" for item in items[:count])


@register.inclusion_tag("shop/labels.html")
def label_list():
    return {"labels": LABELS.all()}
