"""The rows of a test database, read once and restored if something changed them."""

import json
from typing import NamedTuple

from do_bridge.driver.internal import NOT_INTERNAL
from do_bridge.driver.limits import ARGUMENTS, COMPOUND_TERMS, SQL_BYTES, chunks, chunks_by_weight

from . import rebuild
from .statements import send

# It holds AUTOINCREMENT's counters.
SEQUENCES = "sqlite_sequence"
_TABLES = f"""
SELECT name,
(SELECT json_group_array(name) FROM pragma_table_info(t.name)),
(SELECT count(*) FROM pragma_foreign_key_list(t.name) WHERE on_delete <> 'NO ACTION'),
(SELECT count(*) FROM sqlite_master AS m WHERE m.type = 'trigger' AND m.tbl_name = t.name COLLATE NOCASE)
FROM pragma_table_list AS t WHERE "schema" = 'main' AND type = 'table' AND name <> 'django_migrations'
AND (name = '{SEQUENCES}' OR {NOT_INTERNAL})
"""  # noqa: S608
# The rest of a statement is for its names.
ROWS_BYTES = SQL_BYTES * 8 // 10
# This package's own triggers protect rows, and a test run has to empty those tables, too.
GUARDS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'do_bridge_*'"
#: The tables with such triggers; code that makes one adds its table.
guarded_tables = set()
# How often rows are restored that triggers have changed in the meantime.
ROUNDS = 3
# quote() would end a text at a NUL.
_LITERAL = (
    "iif(typeof({c}) = 'text' AND instr({c}, char(0)), 'CAST(X''' || hex({c}) || ''' AS TEXT)', quote({c}))"
)


class Table(NamedTuple):
    """How the rows of a table are read and written."""

    name: str
    quoted: str
    columns: str
    """Names for SELECT and INSERT."""
    literal: str
    """The expression that gives a row as SQL: `1,'text',X'00'`."""
    cascades: bool
    ("Whether its rows are deleted or changed with those that they point at, by an ON DELETE clause in SQL.")
    triggers: bool
    "Whether writing its rows may write others."


class Snapshot:
    """The rows that a connection's database holds.

    An earlier snapshot can lend its `tables`.
    """

    def __init__(self, connection, tables=None):
        self.tables = _tables(connection) if tables is None else tables
        self.rows, _ = _read(connection, self.tables)
        #: As values: the rows of tables with a row that does not fit into a statement's text.
        self.values = {}
        for table in self.tables:
            if any(len(row.encode()) > ROWS_BYTES for row in self.rows[table.name]):
                (result,) = send(connection, [(f"SELECT {table.columns} FROM {table.quoted}", None)])  # noqa: S608
                self.values[table.name] = result.rows

    def restore(self, connection, counters=True):
        """Restore the rows of changed tables, in one batch.

        With `counters`, the counters of their keys are restored, too. Returns the names of the tables.
        """
        names = set()
        for _ in range(ROUNDS):
            changed = self._restore(connection, counters)
            names |= {table.name for table in changed}
            if not any(table.triggers for table in changed):
                break
        return names

    def _restore(self, connection, counters):
        now, guards = _read(connection, self.tables)
        changed = [table for table in self.tables if now[table.name] != self.rows[table.name]]
        if changed and any(table.cascades for table in self.tables):
            changed = list(self.tables)
        # The counters come last, because inserting rows moves them.
        changed.sort(key=lambda table: table.name == SEQUENCES)
        if not counters:
            changed = [table for table in changed if table.name != SEQUENCES]
        if changed:
            # All are emptied before the first is filled, because a row may delete others.
            statements = [(f"DELETE FROM {table.quoted}", None) for table in changed]  # noqa: S608
            statements.insert(0, (rebuild.DEFER_FOREIGN_KEYS, None))
            for table in changed:
                if any(other.triggers for other in changed):
                    # A row that was added since is among them.
                    statements.append((f"DELETE FROM {table.quoted}", None))  # noqa: S608
                statements += self._inserts(table)
            statements.append((rebuild.refuse_dangling_rows(), None))
            with rebuild.guarded():
                send(connection, without_guards(connection, statements, guards))
        return changed

    def _inserts(self, table):
        insert = f"INSERT INTO {table.quoted} ({table.columns}) VALUES "  # noqa: S608
        if table.name in self.values:
            for row in self.values[table.name]:
                yield f"{insert}({', '.join(['%s'] * len(row))})", row
            return
        for rows in chunks_by_weight(self.rows[table.name], lambda row: len(row.encode()) + 3, ROWS_BYTES):
            yield insert + ",".join(f"({row})" for row in rows), None


def without_guards(connection, statements, guards):
    """Return `statements` between those that drop and remake this package's triggers.

    `guards` are the rows of GUARDS.
    """
    drops = [(f"DROP TRIGGER {connection.ops.quote_name(name)}", None) for name, _ in guards]
    return [*drops, *statements, *((sql, None) for _, sql in guards)]


def _tables(connection):
    (result,) = send(connection, [(_TABLES, None)])
    quote = connection.ops.quote_name
    tables = []
    for name, columns, cascades, triggers in result.rows:
        quoted = list(map(quote, json.loads(columns)))
        literal = joined([_LITERAL.format(c=column) for column in quoted])
        tables.append(Table(name, quote(name), ", ".join(quoted), literal, bool(cascades), bool(triggers)))
    return tables


def joined(parts):
    """Return the expression that joins texts with commas.

    It keeps to the runtime's number of arguments.
    """
    # One argument is the comma.
    while len(parts) > ARGUMENTS - 1:
        parts = [joined(part) for part in chunks(parts, ARGUMENTS - 1)]
    return f"concat_ws(',', {', '.join(parts)})"


def _read(connection, tables):
    """Return {table's name: [row as SQL, …]} and the rows of GUARDS.

    One round trip.
    """
    numbered = [
        f"SELECT {number} AS n, {table.literal} AS literal FROM {table.quoted}"  # noqa: S608
        for number, table in enumerate(tables)
    ]
    rows = {table.name: [] for table in tables}
    statements = [
        (_union(selects), None)
        for selects in chunks_by_weight(numbered, lambda sql: len(sql.encode()) + 40, ROWS_BYTES)
    ]
    *results, guards = send(connection, [*statements, (GUARDS, None)])
    for result in results:
        for number, literal in result.rows:
            rows[tables[number].name].append(literal)
    return rows, guards.rows


def _union(selects):
    while len(selects) > COMPOUND_TERMS:
        parts = chunks(selects, COMPOUND_TERMS)
        selects = [f"SELECT * FROM ({' UNION ALL '.join(part)})" for part in parts]  # noqa: S608
    return " UNION ALL ".join(selects)
