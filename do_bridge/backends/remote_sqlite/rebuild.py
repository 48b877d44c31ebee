"""The order of a table's rebuild that keeps the rows which point at the table, and the guards around it."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import DatabaseError, IntegrityError, NotSupportedError, OperationalError

# A deferred count of violations, instead of an error at the DROP; it ends with the transaction or batch.
DEFER_FOREIGN_KEYS = "PRAGMA defer_foreign_keys=on"

# json_extract() puts a path that it cannot read into its error's text: the one way, without a trigger, to
# make a statement fail with words of one's own, and with it the batch that it stands in.
_REFUSE = (
    "SELECT json_extract('{{}}', '{mark}' || group_concat({what}, ', ')) FROM ({rows}) HAVING count(*) > 0"
)
_CASCADE = "do_bridge:on_delete:"
_DANGLING = "do_bridge:foreign_key:"
#: Begins the text by which a migration's piece fails that another process has run meanwhile.
OVERTAKEN = "do_bridge:overtaken:"

# Dropping a table deletes its rows, which an ON DELETE clause of SQL's own hands on to the rows that point at
# them. The runtime's own tables may not be looked into.
_CHILDREN = (
    "SELECT DISTINCT child.name || ' (' || link.on_delete || ')' AS child FROM "
    "(SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' "
    "AND sql LIKE '%REFERENCES%') AS child JOIN pragma_foreign_key_list(child.name) AS link "
    'WHERE link."table" = {table} COLLATE NOCASE AND child.name <> {table} COLLATE NOCASE '
    "AND link.on_delete <> 'NO ACTION'"
)
_VIOLATIONS = (
    "SELECT \"table\" || ' row ' || coalesce(rowid, '?') || ' to ' || parent AS violation "
    "FROM pragma_foreign_key_check LIMIT 5"
)


class Overtaken(OperationalError):
    """Another process runs the same migration of the same database; the piece that failed did nothing."""


def refuse_on_delete_children(table_literal):
    """Return the statement that fails where a table points at this one, a literal, with ON DELETE."""
    return _REFUSE.format(mark=_CASCADE, what="child", rows=_CHILDREN.format(table=table_literal))


def refuse_dangling_rows():
    """Return the statement that fails where a row's foreign key points nowhere."""
    return _REFUSE.format(mark=_DANGLING, what="violation", rows=_VIOLATIONS)


def is_dangling(error):
    """Whether the error is that of `refuse_dangling_rows()`."""
    return _DANGLING in str(error)


def raise_for_guard(error):
    """Raise what a guard's failure means; return where `error` is no guard's."""
    text = str(error)
    if OVERTAKEN in text:
        raise Overtaken(
            "Another process is running the same migration on this database; this one did nothing more."
        ) from error
    if _CASCADE in text:
        raise NotSupportedError(
            f"The table can't be rebuilt or dropped: the rows of {_words(text, _CASCADE)} point at it with "
            "an ON DELETE clause in SQL and would be deleted or changed. Nothing was changed. Rebuild those "
            "tables without the clause first (Django's own on_delete needs none)."
        ) from error
    if _DANGLING in text:
        raise IntegrityError(
            f"Rows would point at rows that are not there ({_words(text, _DANGLING)}). Nothing was changed."
        ) from error


def _words(text, mark):
    return text.partition(mark)[2].rpartition("'")[0]


@dataclass
class Rebuild:
    """One table's rebuild: the statements of Django's own rebuild, put into the order that works here.

    With foreign keys on, a renamed table does not take over the rows that pointed at the dropped one: the
    violations that the DROP counted are paid back only by inserting rows. So the old rows wait in a copy
    until the new table has its name.
    """

    table: str
    quote: object
    literal: object
    autoincrement: bool
    statements: list = field(default_factory=list)

    @property
    def new_table(self):
        return f"new__{self.table}"

    @property
    def copy_table(self):
        return f"copy__{self.table}"

    @property
    def is_complete(self):
        """False where Django found nothing to rebuild: a many-to-many field has a table of its own."""
        return len(self.statements) >= 4

    def take(self):
        """Return the statements up to the new, empty table; the old rows are in the copy."""
        create, _insert, drop, rename = self.statements[:4]
        statements = [(refuse_on_delete_children(self.literal(self.table)), None), create]
        if self.autoincrement:
            # The last key given out goes with the name, else keys of deleted rows would be given out again.
            sequence = "UPDATE sqlite_sequence SET name = {} WHERE name = {}"
            statements.append((sequence.format(self.literal(self.new_table), self.literal(self.table)), None))
        select = f"SELECT * FROM {self.quote(self.table)}"  # noqa: S608
        copy = f"CREATE TABLE {self.quote(self.copy_table)} AS {select}"
        return [*statements, (copy, None), drop, rename]

    def fill(self):
        """Return the statements that bring the rows back."""
        sql, _ = self.statements[1]
        start = f"INSERT INTO {self.quote(self.new_table)} "
        end = f" FROM {self.quote(self.table)}"
        if not (sql.startswith(start) and sql.endswith(end)):
            raise NotSupportedError(
                "This version of Django rebuilds tables in a way that do_bridge does not know."
            )
        table, copy = self.quote(self.table), self.quote(self.copy_table)
        moved = f"INSERT INTO {table} {sql[len(start) : -len(end)]} FROM {copy}"
        return [(moved, None), (f"DROP TABLE {copy}", None)]

    def finish(self):
        """Return the indexes and whatever else waited for the table."""
        return self.statements[4:]


def in_order(rebuilds):
    """Return the statements of rebuilds that belong together: first the altered table, then its children.

    All tables are taken before the first is filled: while one side has its new key and the other its old one,
    every write to them is a "foreign key mismatch".
    """
    complete = [rebuild for rebuild in rebuilds if rebuild.is_complete]
    statements = [pair for rebuild in reversed(complete) for pair in rebuild.take()]
    statements += [pair for rebuild in complete for pair in rebuild.fill()]
    return statements + [pair for rebuild in complete for pair in rebuild.finish()]


@contextmanager
def guarded():
    """Raise inside the block what a guard's failure means."""
    try:
        yield
    except DatabaseError as error:
        raise_for_guard(error)
        raise
