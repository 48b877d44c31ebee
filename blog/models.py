"""The blog's models, whose rows are in the tenants' Durable Objects."""

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone


class Post(models.Model):
    title = models.CharField(max_length=200)
    content = models.TextField()
    # PROTECT, because posts need the copy of an author who has left.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="posts", verbose_name="author"
    )
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    published_at = models.DateTimeField(
        "published", default=timezone.now, null=True, blank=True, help_text="Empty if the date is unknown."
    )

    class Meta:
        # SQLite sorts NULL last in a descending order: undated posts come at the end.
        ordering = ["-published_at", "-id"]
        indexes = [models.Index(fields=["-published_at", "-id"], name="blog_post_newest")]

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("post", args=[self.pk])
