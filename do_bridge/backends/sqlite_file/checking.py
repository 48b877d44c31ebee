"""All that is looked at in a SQLite file before a database is filled from it."""

from django.db import DatabaseError

from do_bridge.driver.limits import COLUMNS

from . import fitness
from .fitness import UnfitFile
from .schema import MASTER, TABLES, read_schema
from .units import MARK

#: The table that makes a database usable for Django: it comes last.
APPLIED = "django_migrations"


def check_file(source):
    """Return the Schema of an open file, with immediate foreign keys.

    Raises UnfitFile; sends nothing.
    """
    fitness.refuse_damage(source)
    fitness.refuse_broken_views(source)
    try:
        schema = read_schema(source.execute(MASTER).fetchall(), source.execute(TABLES).fetchall())
    except DatabaseError as error:
        raise UnfitFile(str(error)) from error
    names = {table.name for table in schema.tables}
    if APPLIED not in names:
        raise UnfitFile(
            f"The file has no table {APPLIED}, so no Django project has migrated it. Check the file's name."
        )
    if MARK in names:
        raise UnfitFile(
            "The file is a dump of a database whose own load had not finished. Finish that load, and dump "
            "the database again."
        )
    for table in schema.tables:
        if len(table.columns) > COLUMNS:
            raise UnfitFile(
                f"The table {table.name!r} has more than {COLUMNS} columns, which Cloudflare does not allow. "
                "Split it into several tables."
            )
    schema.make_keys_immediate()
    fitness.refuse_long_statements(schema)
    fitness.refuse_strange_schema(schema)
    fitness.refuse_python_triggers(schema)
    fitness.refuse_dangling_rows(source, schema)
    fitness.refuse_large_values(source, schema.tables)
    return schema


def applied_migrations(source):
    """Return the (app, name) of the migrations that the file records as applied."""
    return source.execute(f"SELECT app, name FROM {APPLIED}").fetchall()  # noqa: S608
