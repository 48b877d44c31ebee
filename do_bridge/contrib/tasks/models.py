"""The table of queued tasks, in the shared database."""

from uuid import uuid4

from django.db import models


def new_id():
    """Return a random id of 32 characters."""
    return uuid4().hex


class QueuedTask(models.Model):
    """A task with its tenant, the lease of the worker that runs it, and its result.

    `due` and `leased_until` are milliseconds since 1970 by the database's clock, so that workers with
    different clocks agree.
    """

    class Status(models.TextChoices):
        READY = "READY", "Ready"
        RUNNING = "RUNNING", "Running"
        FAILED = "FAILED", "Failed"
        SUCCESSFUL = "SUCCESSFUL", "Successful"

    class Scope(models.TextChoices):
        UNSET = "", "No tenant"
        TENANT = "tenant", "A tenant"
        DIRECTORY = "directory", "The shared database"

    id = models.CharField(max_length=32, primary_key=True, default=new_id, editable=False)
    backend = models.CharField(max_length=64, help_text="The alias in TASKS.")
    queue = models.CharField(max_length=64)
    path = models.TextField(help_text="The dotted path of the task.")
    arguments = models.JSONField(help_text="The task's args and kwargs.")
    scope = models.CharField(max_length=9, choices=Scope, blank=True)
    tenant = models.CharField(max_length=63, blank=True)
    priority = models.SmallIntegerField(default=0)
    due = models.BigIntegerField(default=0, help_text="When the task may run; 0 means now.")
    status = models.CharField(max_length=10, choices=Status, default=Status.READY)
    claim = models.CharField(max_length=32, blank=True, help_text="Names the attempt that holds the lease.")
    leased_until = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    workers = models.JSONField(default=list, help_text="The worker of each attempt.")
    enqueued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    last_attempted_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    return_value = models.JSONField(null=True)
    errors = models.JSONField(default=list, help_text="[class, traceback] of each error.")

    class Meta:
        verbose_name = "task"
        indexes = [
            # A claim reads one row of each.
            models.Index(fields=["status", "-priority", "due", "enqueued_at"], name="do_bridge_tasks_ready"),
            models.Index(fields=["status", "leased_until"], name="do_bridge_tasks_leased"),
        ]

    def __str__(self):
        return f"{self.path} {self.id}"
