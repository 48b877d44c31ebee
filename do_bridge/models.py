"""The ledger's tables in D1: the state of each tenant's object, and the schemas behind fingerprints."""

from django.db import models


class TenantState(models.Model):
    """One tenant's row in the ledger; it mirrors the object's own schema fingerprint, for lists of many.

    Template objects, from which tenants are made, have rows too, under their aliases: "scratch/<name>".
    """

    class State(models.TextChoices):
        READY = "ready", "Ready"
        MIGRATING = "migrating", "Migrating"
        FAILED = "failed", "Failed"
        DELETED = "deleted", "Deleted"

    slug = models.CharField(max_length=63, primary_key=True)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Of the applied migrations, as last seen."
    )
    state = models.CharField(max_length=10, choices=State, db_index=True)
    since = models.DateTimeField(help_text="When that state was reached.")
    doing = models.CharField(max_length=200, blank=True, help_text="What was begun last.")
    version = models.CharField(max_length=100, blank=True, help_text="Of the code that brought it there.")
    error = models.TextField(blank=True)
    checked = models.DateTimeField(null=True, blank=True, help_text="When the object was last looked at.")

    class Meta:
        ordering = ["slug"]
        verbose_name = "tenant's state"
        verbose_name_plural = "tenants' states"
        permissions = [("run_sql", "Can read any database by SQL")]

    def __str__(self):
        return f"{self.slug}: {self.state}"


class KnownSchema(models.Model):
    """The migrations behind a schema fingerprint in the ledger that is not, or was not, the code's own.

    With it `migrate --database tenant` finds out without a call to the object that such a tenant has all
    migrations.
    """

    fingerprint = models.CharField(max_length=64, primary_key=True)
    migrations = models.TextField(help_text="The text that is hashed, with one app.name in a line.")
    noted = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.fingerprint[:16]
