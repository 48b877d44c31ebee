"""A plugin with fields and relations of its own."""

from cms.models.fields import PageField
from cms.models.pluginmodel import CMSPlugin
from django.db import models
from filer.fields.image import FilerImageField


class Topic(models.Model):
    """What a card is about."""

    name = models.CharField(max_length=50, unique=True)

    def __str__(self):
        return self.name


class Card(CMSPlugin):
    """A card: text, number, picture, a page that it leads to, topics."""

    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    picture = FilerImageField(null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    leads_to = PageField(null=True, blank=True, related_name="+")
    topics = models.ManyToManyField(Topic, blank=True)

    def __str__(self):
        return self.title

    def copy_relations(self, old_instance):
        """Copy what a copy of the row does not bring."""
        self.topics.set(old_instance.topics.all())
