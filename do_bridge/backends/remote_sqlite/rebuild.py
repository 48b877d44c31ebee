"""Rebuild a table so that the rows that reference it are kept.

It gives the order of the statements, and the guards around them.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import DatabaseError, IntegrityError, NotSupportedError

from do_bridge.driver.internal import UNREADABLE, outside

from . import kept_rows
from .refusals import failing, told

# Violations are counted instead of raised at the DROP, until the end of the transaction or batch.
DEFER_FOREIGN_KEYS = "PRAGMA defer_foreign_keys=on"

_CASCADE, _DANGLING = "on_delete", "foreign_key"

# Dropping a table deletes its rows, and ON DELETE clauses in SQL pass that on to the rows that point at them.
_CHILDREN = (
    "SELECT DISTINCT child.name || ' (' || link.on_delete || ')' AS child FROM "  # noqa: S608
    f"(SELECT name FROM sqlite_master WHERE type = 'table' AND {outside(UNREADABLE)} "
    "AND sql LIKE '%REFERENCES%') AS child JOIN pragma_foreign_key_list(child.name) AS link "
    'WHERE link."table" = {table} COLLATE NOCASE AND child.name <> {table} COLLATE NOCASE '
    "AND link.on_delete <> 'NO ACTION' AND child.name COLLATE NOCASE NOT IN ({kept})"
)
_VIOLATIONS = (
    "SELECT \"table\" || ' row ' || coalesce(rowid, '?') || ' to ' || parent AS violation "
    "FROM pragma_foreign_key_check LIMIT 5"
)


def refuse_on_delete_children(table_literal, kept_literals=()):
    """Return the statement that fails if a table references this one with ON DELETE.

    The tables in `kept_literals` are allowed.
    """
    return _refuse(_CASCADE, "child", _CHILDREN.format(table=table_literal, kept=", ".join(kept_literals)))


def refuse_dangling_rows():
    """Return the statement that fails if a row's foreign key points at a missing row."""
    return _refuse(_DANGLING, "violation", _VIOLATIONS)


def _refuse(kind, name, rows):
    listed = f"group_concat({name}, ', ')"
    return f"SELECT {failing(kind, listed)} FROM ({rows}) HAVING count(*) > 0"  # noqa: S608


def is_dangling(error):
    """Return whether the error is that of `refuse_dangling_rows()`."""
    return told(error, _DANGLING) is not None


def raise_for_guard(error):
    """Raise the error for a guard's failure; return if `error` is not a guard's."""
    if (triggers := told(error, kept_rows.TRIGGERS)) is not None:
        raise NotSupportedError(
            "The table cannot be rebuilt, and nothing was changed. Rows that are deleted or changed with its "
            f"rows would make triggers run ({triggers}). Drop these triggers in the migration before this "
            "operation, and create them again after it."
        ) from error
    if (children := told(error, _CASCADE)) is not None:
        raise NotSupportedError(
            "The table cannot be rebuilt or dropped, and nothing was changed. Rows of "
            f"{children} point at it with an ON DELETE clause in SQL, which would "
            "delete or change them. Rebuild those tables without the clause first (Django's own "
            "on_delete does not need it)."
        ) from error
    if (violations := told(error, _DANGLING)) is not None:
        raise IntegrityError(
            f"Rows would point at rows that do not exist ({violations}). Nothing was "
            "changed. Add the missing rows, or correct those that point at them."
        ) from error


@dataclass
class Rebuild:
    """One table's rebuild: Django's statements in the order that works here.

    With foreign keys on, a renamed table does not take over the rows that referenced the dropped one: only
    inserting rows settles the violations that the DROP counted. So the old rows wait in a copy until the
    new table has its name.
    """

    table: str
    quote: object
    literal: object
    autoincrement: bool
    #: Tables whose rows the database deletes or changes with this table's.
    kept: list = field(default_factory=list)
    statements: list = field(default_factory=list)

    @property
    def new_table(self):
        return f"new__{self.table}"

    @property
    def copy_table(self):
        return f"copy__{self.table}"

    @property
    def is_complete(self):
        """Whether there is a table to rebuild.

        There is none for a many-to-many field, which has a table of its own.
        """
        return len(self.statements) >= 4

    def take(self):
        """Return the statements up to the new, empty table; the old rows are in the copy."""
        create, _insert, drop, rename = self.statements[:4]
        kept = [self.literal(each.table) for each in self.kept]
        statements = [(refuse_on_delete_children(self.literal(self.table), kept), None), create]
        if self.autoincrement:
            # The last key used is kept under the table's name; without it keys of deleted rows would be used
            # again.
            sequence = "UPDATE sqlite_sequence SET name = {} WHERE name = {}"
            statements.append((sequence.format(self.literal(self.new_table), self.literal(self.table)), None))
        select = f"SELECT * FROM {self.quote(self.table)}"  # noqa: S608
        copy = f"CREATE TABLE {self.quote(self.copy_table)} AS {select}"
        return [*statements, (copy, None), drop, rename]

    def fill(self):
        """Return the statements that restore the rows."""
        sql, _ = self.statements[1]
        start = f"INSERT INTO {self.quote(self.new_table)} "
        end = f" FROM {self.quote(self.table)}"
        if not (sql.startswith(start) and sql.endswith(end)):
            raise NotSupportedError(
                "do_bridge does not support how this version of Django rebuilds tables. "
                "Install a version of Django that do_bridge supports."
            )
        table, copy = self.quote(self.table), self.quote(self.copy_table)
        moved = f"INSERT INTO {table} {sql[len(start) : -len(end)]} FROM {copy}"
        return [(moved, None), (f"DROP TABLE {copy}", None)]

    def finish(self):
        """Return the indexes and the other statements that waited for the table."""
        return self.statements[4:]


def in_order(rebuilds):
    """Return the statements of rebuilds that belong together.

    The altered table comes first, then its children.

    All tables are emptied before the first is filled: while one side has its new key and the other its old
    one, every write to them is a "foreign key mismatch".
    """
    complete = [rebuild for rebuild in rebuilds if rebuild.is_complete]
    if not complete:
        return []
    kept = [each for rebuild in complete for each in rebuild.kept]
    before, after = kept_rows.statements_around(
        kept, complete[0].quote, complete[0].literal, {rebuild.table for rebuild in complete}
    )
    statements = before + [pair for rebuild in reversed(complete) for pair in rebuild.take()]
    statements += [pair for rebuild in complete for pair in rebuild.fill()] + after
    return statements + [pair for rebuild in complete for pair in rebuild.finish()]


@contextmanager
def guarded():
    """Raise the error that a guard's failure inside the block stands for."""
    try:
        yield
    except DatabaseError as error:
        raise_for_guard(error)
        raise
