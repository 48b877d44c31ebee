"""Models of every field type, outside the site's registry: tests make and drop their tables themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import connections, models
from django.db.migrations.state import AppConfigStub
from django.test import override_settings

registry = Apps()


class Author(models.Model):
    name = models.CharField(max_length=200, db_index=True)

    class Meta:
        apps = registry
        app_label = "shelf"


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    number = models.BigIntegerField(null=True)
    rank = models.IntegerField(default=0)
    weight = models.FloatField(null=True)
    price = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    text = models.TextField(null=True)
    data = models.BinaryField(null=True)
    lent = models.BooleanField(null=True)
    moment = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    clock = models.TimeField(null=True)
    span = models.DurationField(null=True)
    token = models.UUIDField(null=True)
    extra = models.JSONField(null=True)

    class Meta:
        apps = registry
        app_label = "shelf"


class Ticket(models.Model):
    id = models.BigIntegerField(primary_key=True, db_default=2**53 + 1)
    code = models.IntegerField(db_default=models.Value(7))

    class Meta:
        apps = registry
        app_label = "shelf"


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "place")
    row = models.IntegerField()
    place = models.TextField()
    taken = models.BooleanField(default=False)

    class Meta:
        apps = registry
        app_label = "shelf"


ALL = (Author, Book, Ticket, Seat)

# A registry finds relations by its apps.
registry.app_configs["shelf"] = app = AppConfigStub("shelf")
app.apps, app.models = registry, registry.all_models["shelf"]
registry.clear_cache()


@contextlib.contextmanager
def tables(connection: Any) -> Iterator[str]:
    """The tables of these models in the database of `connection`; gives its alias for `using`."""
    with connection.schema_editor() as editor:
        for model in ALL:
            editor.create_model(model)
    # The site's routers would send these models elsewhere.
    with override_settings(DATABASE_ROUTERS=[]):
        yield connection.alias


@contextlib.contextmanager
def stock_tables() -> Iterator[str]:
    """The same tables in Django's own sqlite3 backend, in memory: it says what is right."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connections.configure_settings({"default": {}, "stock": settings})
    connections.settings["stock"] = settings
    try:
        with tables(connections["stock"]) as alias:
            yield alias
    finally:
        # close() of a wrapper does nothing to a database in memory.
        connections["stock"].connection.close()
        del connections["stock"]
        del connections.settings["stock"]
