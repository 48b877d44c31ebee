"""A model with tags, a history, revisions and an author."""

import reversion
from django.conf import settings
from django.db import models
from simple_history.models import HistoricalRecords
from taggit.managers import TaggableManager


@reversion.register()
class Note(models.Model):
    text = models.CharField(max_length=80)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="notes")
    tags = TaggableManager()
    history = HistoricalRecords()
