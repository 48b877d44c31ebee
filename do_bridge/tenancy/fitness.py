"""Finds out whether a tenant can be made of a SQLite file, before any of its rows travel."""

import contextlib
import sqlite3

from django.apps import apps

from do_bridge import driver
from do_bridge.driver.sql import tokens

from .quoting import quote

# https://developers.cloudflare.com/d1/platform/limits/ and the same for objects.
LARGEST_VALUE = 2_000_000
_DEFERRED = ["DEFERRABLE", "INITIALLY", "DEFERRED"]


class UnfitFile(Exception):
    """The file is no SQLite database, or none that a tenant can be made of."""


def refuse_damage(source):
    """Raise UnfitFile for a file that is not whole, or that needs what this process's SQLite lacks."""
    try:
        (verdict,) = source.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        lacking, _, name = str(error).partition(": ")
        if lacking not in ("no such collation sequence", "no such function", "unknown function"):
            raise UnfitFile(f"The file is damaged: {error}") from error
        word = name.strip("()").upper()
        rows = source.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        users = [row[0] for row in rows if word in (text.upper() for text, *_ in tokens(row[1]))]
        raise UnfitFile(
            f"{_listed(users) or 'The file'} needs what SQLite does not have: {error}. Another program added "
            "it. Drop the constraint, index or collation in the file."
        ) from error
    except sqlite3.DatabaseError as error:
        raise UnfitFile(f"The file is damaged: {error}") from error
    if verdict != "ok":
        raise UnfitFile(f"The file is damaged: {verdict}")


def deferred_clauses(sql):
    """Return the places (start, end) of the clauses DEFERRABLE INITIALLY DEFERRED in a table's SQL.

    Words in texts, comments and quoted names are not looked at; NOT DEFERRABLE INITIALLY DEFERRED is an
    immediate key. https://www.sqlite.org/foreignkeys.html#fk_deferred
    """
    words = [(text.upper(), stop - len(text), stop) for text, _, stop in tokens(sql)]
    return [
        (words[at][1], words[at + 2][2])
        for at in range(len(words) - 2)
        if [word for word, *_ in words[at : at + 3]] == _DEFERRED and (at == 0 or words[at - 1][0] != "NOT")
    ]


def refuse_deferred_keys(tables):
    """Raise UnfitFile if a table, of [(name, sql)], has a deferred foreign key."""
    if names := [name for name, sql in tables if deferred_clauses(sql)]:
        # One row that breaks such a key would reset the whole object instead of being refused.
        raise UnfitFile(
            f"The foreign keys of {_listed(names)} are INITIALLY DEFERRED, as Django's own sqlite3 engine "
            "makes them. Carry its data over with dumpdata, and tenant_command SLUG loaddata."
        )


def refuse_broken_views(source):
    """Raise UnfitFile for a view that cannot be read, by its name."""
    for (name,) in source.execute(
        "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY rowid"
    ).fetchall():
        try:
            columns = source.execute(f"SELECT * FROM {quote(name)} LIMIT 0").description  # noqa: S608
        except sqlite3.Error as error:
            raise UnfitFile(
                f"The view {name!r} cannot be read: {error}. Correct it in the file, or drop it there."
            ) from error
        if len(columns) > 100:
            raise UnfitFile(f"The view {name!r} has more than 100 columns.")


def refuse_large_values(source, tables):
    """Raise UnfitFile for a value that is larger than the platform takes, by its table and column."""
    for table in tables:
        # The functions of a scan that reads no value into Python.
        sizes = ", ".join(f"max(length(CAST({quote(name)} AS BLOB)))" for name in table.columns)
        if not sizes:
            continue
        found = source.execute(f"SELECT {sizes} FROM {quote(table.name)}").fetchone()  # noqa: S608
        for name, size in zip(table.columns, found, strict=True):
            if size is not None and size > LARGEST_VALUE:
                raise UnfitFile(
                    f"{table.name}.{name} holds a value of {size:,} bytes. An object takes "
                    f"{LARGEST_VALUE:,}: shorten it, or keep it outside of the database."
                )


def refuse_strangers(names):
    """Raise UnfitFile if the tables `names` are not a tenant's: each has the directory's content types."""
    if apps.is_installed("django.contrib.contenttypes"):
        table = apps.get_model("contenttypes", "ContentType")._meta.db_table
        if table not in names:
            raise UnfitFile(f"The file has no table {table}: it was not made of a tenant.")


def refuse_strange_schema(schema):
    """Make the whole schema in memory. Raises UnfitFile by the name of what fails."""
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        for what, sql in schema.made:
            try:
                memory.execute(sql)
            except sqlite3.Error as error:
                raise UnfitFile(
                    f"{what[0].upper()}{what[1:]} cannot be made again: {error}. Correct it in the file."
                ) from error


def refuse_schema(connection, schema):
    """Make the whole schema in an empty object, and undo it. Raises UnfitFile by the name of what fails."""
    made = schema.made
    probes = [(f"the view {name!r}", f"SELECT * FROM {quote(name)} LIMIT 0") for name in schema.view_names]  # noqa: S608
    steps = [*made, *probes]
    connection.begin()
    try:
        connection.execute_batch([(sql, None) for _, sql in steps])
    except driver.Error as error:
        # Somebody else's tables: the load itself finds that, too, and says whose.
        if error.step is None or "already exists" in str(error):
            return
        raise UnfitFile(f"An object cannot have {steps[error.step][0]}: {error}") from error
    finally:
        connection.rollback()


def _listed(names):
    return ", ".join(map(repr, sorted(names)))
