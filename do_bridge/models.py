"""The ledger in D1: the tenants' states, and the known schemas."""

from django.db import models


class TenantState(models.Model):
    """The state of one tenant's Durable Object, and the lease of the operation on it.

    `fingerprint` mirrors the object's own schema fingerprint, so that one query can list many tenants.
    Template objects have rows too, with their alias "scratch/<name>" as the slug. See `tenancy.lifecycle`.
    """

    class State(models.TextChoices):
        UNUSED = "unused", "Not used yet"
        READY = "ready", "Ready"
        DELETED = "deleted", "Deleted"

    slug = models.CharField(max_length=63, primary_key=True)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="The schema fingerprint, as last read from the object."
    )
    state = models.CharField(max_length=10, choices=State, db_index=True)
    since = models.DateTimeField(help_text="When the object reached this state.")
    operation = models.CharField(
        max_length=10,
        blank=True,
        default="",
        help_text="The operation that holds the lease, or was interrupted.",
    )
    owner = models.CharField(max_length=32, blank=True, default="")
    expires = models.DateTimeField(null=True, blank=True, help_text="When the lease ends, by D1's clock.")
    fence = models.BigIntegerField(default=0, help_text="The fencing token of the latest lease.")
    emptied = models.BigIntegerField(default=0, help_text="The fencing token of the last deletion.")
    jurisdiction = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="The object's jurisdiction; empty for none.",
    )
    location = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text="The hint with which the object was made.",
    )
    left_behind = models.CharField(
        max_length=16,
        null=True,
        blank=True,
        help_text="The jurisdiction of another object of the tenant, which a move has not erased yet.",
    )
    version = models.CharField(
        max_length=100, blank=True, help_text="The version of the code that reached this state."
    )
    error = models.TextField(blank=True)
    checked = models.DateTimeField(null=True, blank=True, help_text="When the object was last checked.")

    class Meta:
        ordering = ["slug"]
        verbose_name = "tenant's state"
        verbose_name_plural = "tenants' states"
        permissions = [("run_sql", "Can read any database by SQL")]

    def __str__(self):
        return f"{self.slug}: {self.status}"

    @property
    def place(self):
        """The jurisdiction and the location hint for display."""
        text = self.jurisdiction or "none"
        return f"{text} ({self.location})" if self.location else text

    @property
    def other_place(self):
        """The jurisdiction of the object that a move has left behind, for display."""
        return "" if self.left_behind is None else self.left_behind or "none"

    @property
    def status(self):
        """The state for display, or the operation that failed or has not finished."""
        # A finished creation leaves its lease behind.
        if not self.operation or (self.operation == "create" and not self.error):
            return self.get_state_display()
        return f"{self.operation} failed" if self.error else f"{self.operation} not finished"


class KnownSchema(models.Model):
    """The applied migrations behind a schema fingerprint of other code.

    With it, `migrate --database tenant` finds tenants that are up to date without calling their objects.
    """

    fingerprint = models.CharField(max_length=64, primary_key=True)
    migrations = models.TextField(
        help_text="The migrations, one app.name in each line. The fingerprint is the hash of this text."
    )
    noted = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.fingerprint[:16]


class TenantBookmark(models.Model):
    """A moment in the history of a tenant's Durable Object.

    `tenant_restore` goes back to it. The platform keeps 30 days of history, so older rows are deleted. See
    `tenancy.lifecycle.history.bookmarks`.
    """

    class Reason(models.TextChoices):
        MIGRATION = "migration", "Before a migration"
        RESTORE = "restore", "Before a restore"
        REQUEST = "request", "By tenant_bookmark"

    id = models.BigAutoField(primary_key=True)
    slug = models.CharField(max_length=63)
    jurisdiction = models.CharField(
        max_length=16, blank=True, default="", help_text="Where the object is whose history this is."
    )
    bookmark = models.CharField(max_length=200)
    taken = models.DateTimeField(help_text="When the bookmark was taken, or the moment that it stands for.")
    reason = models.CharField(max_length=10, choices=Reason)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="The schema fingerprint that the ledger had at that time."
    )
    fence = models.BigIntegerField(default=0, help_text="The fencing token of the operation that took it.")
    used = models.DateTimeField(
        null=True, blank=True, help_text="When the restore to it, or from it, had finished."
    )

    class Meta:
        ordering = ["-taken", "-pk"]
        indexes = [models.Index(fields=["slug", "taken"], name="do_bridge_bookmark_slug")]
        default_permissions = ()

    def __str__(self):
        return f"{self.slug}: {self.bookmark}"
