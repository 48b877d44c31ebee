"""The ledger's tables in D1: the state of each tenant's object, and the schemas behind fingerprints."""

from django.db import models


class TenantState(models.Model):
    """One tenant's row in the ledger: its state at rest, and the lease of the operation on it.

    It mirrors the object's own schema fingerprint, for lists of many. See `tenancy.lifecycle`.

    Template objects, from which tenants are made, have rows too, under their aliases: "scratch/<name>".
    """

    class State(models.TextChoices):
        UNUSED = "unused", "Not used yet"
        READY = "ready", "Ready"
        DELETED = "deleted", "Deleted"

    slug = models.CharField(max_length=63, primary_key=True)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Of the applied migrations, as last seen."
    )
    state = models.CharField(max_length=10, choices=State, db_index=True)
    since = models.DateTimeField(help_text="When that state was reached.")
    operation = models.CharField(
        max_length=10, blank=True, default="", help_text="What holds the lease, or was cut off."
    )
    owner = models.CharField(max_length=32, blank=True, default="")
    expires = models.DateTimeField(null=True, blank=True, help_text="When the lease ends, by D1's clock.")
    fence = models.BigIntegerField(default=0, help_text="Grows with each lease.")
    emptied = models.BigIntegerField(default=0, help_text="The fence of the last deletion.")
    version = models.CharField(max_length=100, blank=True, help_text="Of the code that brought it there.")
    error = models.TextField(blank=True)
    checked = models.DateTimeField(null=True, blank=True, help_text="When the object was last looked at.")

    class Meta:
        ordering = ["slug"]
        verbose_name = "tenant's state"
        verbose_name_plural = "tenants' states"
        permissions = [("run_sql", "Can read any database by SQL")]

    def __str__(self):
        return f"{self.slug}: {self.status}"

    @property
    def status(self):
        """What people read: the state at rest, or the operation that has not ended well so far."""
        # A creation leaves its lease behind when it has come to its end.
        if not self.operation or (self.operation == "create" and not self.error):
            return self.get_state_display()
        return f"{self.operation} failed" if self.error else f"{self.operation} not finished"


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
