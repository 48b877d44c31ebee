"""The sums of requests and rows in D1."""

from django.db import models


class Usage(models.Model):
    """The usage of one database in an hour or in a day.

    Hours older than `writing.HOURS_FOR` are summed up by day. The database is an alias: "default" for D1,
    "tenant/<slug>", or "*" for all tenants together.
    """

    database = models.CharField(max_length=80)
    start = models.DateTimeField(db_index=True)
    hours = models.PositiveSmallIntegerField(default=1, help_text="1 for an hour, 24 for a day.")
    calls = models.BigIntegerField(default=0)
    writes = models.BigIntegerField(default=0, help_text="Those of the calls that wrote rows.")
    rows_read = models.BigIntegerField(default=0)
    rows_written = models.BigIntegerField(default=0)
    milliseconds = models.BigIntegerField(default=0, help_text="How long the calls took.")

    class Meta:
        default_permissions = ()
        verbose_name_plural = "usage"
        constraints = [
            models.UniqueConstraint(
                fields=["database", "start", "hours"], name="do_bridge_inspection_usage_once"
            )
        ]

    def __str__(self):
        return f"{self.database} {self.start:%Y-%m-%d %H:00}"


class Look(models.Model):
    """What a database's last look found; the list sorts by it."""

    database = models.CharField(max_length=80, primary_key=True)
    state = models.CharField(max_length=10)
    size = models.BigIntegerField(null=True)
    rows = models.BigIntegerField(null=True)
    is_more = models.BooleanField(default=False)
    activity = models.DateTimeField(null=True)
    seen = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.database
