"""Statements that users of the SQL page have saved."""

from django.db import models

# Django finds models by this module.
from .jobs.models import Item, Job  # noqa: F401
from .usage.models import Look, Usage  # noqa: F401


class SavedQuery(models.Model):
    """A statement with a name, for one database or for all.

    The rows are in D1. They have no foreign keys, because a query may outlive its tenant and its author.
    """

    name = models.CharField(max_length=100)
    database = models.CharField(
        max_length=80, blank=True, help_text='"shared", "tenant/<slug>", or empty for all databases.'
    )
    sql = models.TextField()
    author = models.CharField(max_length=150, help_text="The name of the user who saved it.")
    saved = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        default_permissions = ()
        verbose_name_plural = "saved queries"
        constraints = [
            models.UniqueConstraint(fields=["database", "name"], name="do_bridge_inspection_query_name")
        ]

    def __str__(self):
        return self.name
