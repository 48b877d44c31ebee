"""Jobs and their state in D1."""

from django.db import models


class Job(models.Model):
    """An action on many databases.

    The worker `owner` has the job until `expires`, by D1's clock, unless it renews its lease.
    """

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        STOPPED = "stopped", "Stopped"

    action = models.CharField(max_length=20)
    author = models.CharField(max_length=150, help_text="The name of the user who started it.")
    created = models.DateTimeField()
    ended = models.DateTimeField(null=True)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField()
    owner = models.CharField(max_length=32, blank=True, default="")
    expires = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self):
        return f"{self.action} of {self.total} databases"


class Item(models.Model):
    """One database of a job, and what became of it."""

    class Outcome(models.TextChoices):
        WAITING = "", "Waiting"
        OK = "ok", "Done"
        FAILED = "failed", "Failed"

    job = models.ForeignKey(Job, models.CASCADE, related_name="items")
    database = models.CharField(max_length=80)
    outcome = models.CharField(max_length=10, blank=True, default="", choices=Outcome)
    text = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["job", "outcome", "database"], name="do_bridge_inspection_item_job")]

    def __str__(self):
        return self.database
