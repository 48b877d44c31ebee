"""Items with a category, labels, an owner and comments: each kind of relation that Django has."""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class CategoryManager(models.Manager):
    """Reads the categories by name, as many projects' default managers do."""

    def get_queryset(self):
        return super().get_queryset().order_by("name")

    def with_items(self):
        """Return the categories that have an item."""
        return self.filter(items__isnull=False).distinct()


class Category(models.Model):
    name = models.CharField(max_length=200)
    notes = models.TextField(blank=True)
    comments = GenericRelation("shop.Comment")

    objects = models.Manager()
    by_name = CategoryManager()

    class Meta:
        verbose_name_plural = "categories"

    def __str__(self):
        return self.name


class Label(models.Model):
    name = models.CharField(max_length=200)

    def __str__(self):
        return self.name


class ItemQuerySet(models.QuerySet):
    """The conditions that a shop asks for again and again."""

    def in_stock(self):
        """Return the items that can be sold."""
        return self.filter(stock__gt=0)

    def with_category(self):
        """Return the items with their categories, in one more query."""
        return self.prefetch_related(models.Prefetch("category", queryset=Category.objects.all()))


class Item(models.Model):
    name = models.CharField(max_length=200)
    stock = models.PositiveIntegerField(default=1)
    category = models.ForeignKey(
        Category, models.CASCADE, related_name="items", limit_choices_to={"name__gt": ""}
    )
    labels = models.ManyToManyField(Label, related_name="items", blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="items")
    comments = GenericRelation("shop.Comment")

    objects = ItemQuerySet.as_manager()

    def __str__(self):
        return self.name


class Comment(models.Model):
    text = models.CharField(max_length=200)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="comments")
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    target = GenericForeignKey()

    class Meta:
        indexes = [models.Index(fields=["content_type", "object_id"], name="shop_comment_target")]

    def __str__(self):
        return self.text
