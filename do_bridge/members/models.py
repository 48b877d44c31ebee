"""Dirty flags: which copies of users in tenants' objects may lack a change in D1."""

from django.db import models


class DirtyFlag(models.Model):
    """A change of a member that a tenant's Durable Object may lack.

    D1's triggers insert it. The row is deleted when the copy has been written. It has no foreign keys,
    because it may outlive its user.
    """

    slug = models.CharField(max_length=63, db_index=True, help_text="The slug of the tenant.")
    user_key = models.CharField(
        max_length=255, blank=True, help_text="The primary key of the user, or empty for all members."
    )
    since = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        verbose_name = "change not yet copied"
        verbose_name_plural = "changes not yet copied"

    def __str__(self):
        return f"{f'user {self.user_key}' if self.user_key else 'all users'} in tenant {self.slug}"
