"""Migrations made on the spot, for tests and for the process that a test kills in the middle of one."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

APP = "ship"


def migration(name: str, *operations: Any, atomic: bool = True, **attributes: Any) -> migrations.Migration:
    """A migration of the app "ship"."""
    attributes |= {"operations": list(operations), "atomic": atomic}
    return type("Migration", (migrations.Migration,), attributes)(name, APP)


def executor(connection: Any, *steps: migrations.Migration, callback: Any = None) -> Any:
    """An executor that knows the migrations, each one standing on the one before it."""
    from do_bridge.backends.remote_sqlite.migrate.executor import MigrationExecutor

    made = MigrationExecutor(connection, callback)
    before = None
    for step in steps:
        made.loader.graph.add_node((APP, step.name), step)
        if before is not None:
            made.loader.graph.add_dependency(step, (APP, step.name), (APP, before.name))
        before = step
        if step.replaces:
            made.loader.replacements[(APP, step.name)] = step
    return made


def create_boat() -> migrations.CreateModel:
    """A table with an index and a unique pair."""
    return migrations.CreateModel(
        "Boat",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=20, db_index=True)),
            ("home", models.CharField(max_length=20)),
        ],
        {"unique_together": {("name", "home")}},
    )


def create_sailor() -> migrations.CreateModel:
    """A table that points at boats."""
    return migrations.CreateModel(
        "Sailor",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("boat", models.ForeignKey("ship.Boat", models.CASCADE)),
        ],
    )


def add_length() -> migrations.AddField:
    """A column that needs a rebuild of the table."""
    return migrations.AddField("Boat", "length", models.IntegerField(default=7))


def python(code: Any, reverse: Any = migrations.RunPython.noop, **options: Any) -> migrations.RunPython:
    """A Python operation."""
    return migrations.RunPython(code, reverse, **options)
