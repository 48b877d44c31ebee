"""Fill an empty database from a SQLite file, in units that can be resumed.

The database is usable after the last unit.
"""

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import dataclass, field

from do_bridge import driver
from do_bridge.driver.limits import LIST_BYTES, chunks
from do_bridge.driver.sql import quote

from . import virtual
from .checking import APPLIED
from .fitness import UnfitFile
from .order import in_order
from .rows import LARGE_ROW, ROWS_AT_ONCE, insert, pieces
from .units import Units

STAGING = "_do_bridge_load_rows_"
# Begins the digest of what a load does: a change of this module's order of units needs another one.
_FORMAT = "3"
# Indexes are created together until their tables have this number of rows.
ROWS_A_UNIT = 50_000
INDEXES_A_UNIT = 50
COUNTS_A_TRIP = 50


class CountsDiffer(Exception):
    """The database holds another number of rows than the file; it was not made usable."""


@dataclass(slots=True)
class Choice:
    """Which rows of a table are sent, and SQL for each column that is replaced."""

    where: str = ""
    instead: dict[str, str] = field(default_factory=dict)

    def expressions(self, columns):
        """Return the SQL of the columns to read."""
        return [self.instead.get(name) or quote(name) for name in columns]

    def condition(self):
        """Return the WHERE clause, or an empty text."""
        return f" WHERE {self.where}" if self.where else ""


NOTHING = Choice("0")


class Filling:
    """A load of one file into one database.

    `choices` has a Choice of rows for each table of which not all are sent.
    """

    def __init__(self, file, schema, choices=None, purpose=""):
        self._source = file.connection
        self._schema = schema
        self._choices = choices or {}
        self._staged = {}
        self._before, circles, self._after = in_order(self._source, schema.tables)
        for index, table in enumerate(circles):
            self._staged[table.name] = f"{STAGING}{index}"
        self._circles = circles
        self.units = Units(self._plan(file.digest, purpose))
        #: Rows to send, by table's name.
        self.expected = {table.name: self._count(table) for table in schema.tables}

    @property
    def rows(self):
        """How many rows are sent."""
        return sum(self.expected.values())

    def _plan(self, digest, purpose):
        choices = {name: [choice.where, choice.instead] for name, choice in self._choices.items()}
        order = [table.name for table in (*self._before, *self._circles, *self._after)]
        limits = [LIST_BYTES, ROWS_AT_ONCE, LARGE_ROW, ROWS_A_UNIT, INDEXES_A_UNIT]
        plan = [_FORMAT, digest, purpose, self._schema.made, order, choices, limits]
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()

    def choice(self, table):
        """Return the Choice of a table's rows."""
        return self._choices.get(table.name) or Choice()

    def _count(self, table):
        sql = f"SELECT count(*) FROM {quote(table.name)}{self.choice(table).condition()}"  # noqa: S608
        return self._source.execute(sql).fetchone()[0]

    # Units

    def fill(self, connection, found=None, on_piece=None):
        """Send all but the last unit, after the units that the load `found` has done.

        `found` is an Unfinished or None. `on_piece(table, rows)` is called for each unit of rows, also for
        those that were sent before. Raises UnfitFile, CountsDiffer, Overtaken and the driver's errors.
        """
        if found is None:
            self.units.begin(connection, self._first_statements())
        else:
            self.units.done = found.done
        self._number = 1
        for table, rows, make in self._units():
            self._number += 1
            if self._number > self.units.done:
                with _naming(table):
                    self.units.send(connection, self._number, make())
            if rows and on_piece:
                on_piece(table, rows)
        self._number += 1
        if self._number > self.units.done:
            self._compare(connection)
            self.units.send(connection, self._number, [])

    def finish(self, connection, statements=()):
        """Send the last unit, which makes the database usable.

        It holds django_migrations, counters, views, triggers and `statements`, and drops the table of the
        progress.
        """
        last = [*self._last_statements(), *statements]
        self.units.finish(connection, self._number + 1, last, lambda: self._is_whole(connection))

    def _first_statements(self):
        tables = zip(self._schema.tables, self._schema.table_sql, strict=True)
        staging = [
            # Without types, so that each value keeps its own until it reaches its column.
            f"CREATE TABLE {self._staged[table.name]} ({', '.join(_staged_names(table))})"
            for table in self._circles
        ]
        return [
            *((sql, None) for table, sql in tables if table.name != APPLIED),
            *((sql, None) for sql in staging),
        ]

    def _units(self):
        """Yield (table, rows, a function that returns statements) for each unit.

        The table is empty for a unit that has no rows of the file.
        """
        for table in (*self._before, *self._circles):
            yield from self._row_units(table)
        if self._circles:
            yield "", 0, self._unstage
        for table in self._after:
            yield from self._row_units(table)
        for group in self._index_groups():
            yield "", 0, lambda group=group: [(sql, None) for sql in group]

    def _row_units(self, table):
        if table.name == APPLIED:
            return  # It comes with the last unit, so that an unfinished database is not used.
        columns = table.stored_remotely
        target = self._staged.get(table.name)
        names = _staged_names(table) if target else columns
        into = f"INSERT INTO {quote(target or table.name)} ({', '.join(map(quote, names))}) "
        for rows in pieces(self._read(table, columns)):
            yield table.name, len(rows), lambda rows=rows: [insert(into, rows)]

    def _read(self, table, columns):
        """Yield rows in the order of the table's key, the same whenever it is read."""
        choice = self.choice(table)
        sql = (
            f"SELECT {', '.join(choice.expressions(columns))} FROM {quote(table.name)}{choice.condition()} "  # noqa: S608
            f"ORDER BY {', '.join(map(quote, table.key))}"
        )
        try:
            yield from self._source.execute(sql)
        except sqlite3.Error as error:
            # A text that is not UTF-8.
            raise UnfitFile(
                f"The table {table.name!r} can't be read: {error}. Correct its rows in the file."
            ) from error

    def _unstage(self):
        """Move the staged rows into their tables in one unit.

        Their foreign keys hold only when all rows are there.
        """
        statements = [("PRAGMA defer_foreign_keys = on", None)]
        for table in self._circles:
            columns = ", ".join(map(quote, table.stored_remotely))
            staged, names = self._staged[table.name], ", ".join(_staged_names(table))
            move = f"INSERT INTO {quote(table.name)} ({columns}) SELECT {names} FROM {staged}"  # noqa: S608
            statements += [(move, None), (f"DROP TABLE {staged}", None)]
        return statements

    def _index_groups(self):
        """Yield lists of statements that create indexes.

        The tables of one list have no more rows than one unit may take.
        """
        group, weight = [], 0
        for sql in self._schema.index_sql:
            table = self._schema.indexed[sql]
            if table == APPLIED:
                continue
            own = self.expected.get(table, 0)
            if group and (weight + own > ROWS_A_UNIT or len(group) == INDEXES_A_UNIT):
                yield group
                group, weight = [], 0
            group.append(sql)
            weight += own
        if group:
            yield group

    def _last_statements(self):
        """Return the statements that complete the database.

        They fill django_migrations and set counters, views, triggers and settings.
        """
        schema, source = self._schema, self._source
        ((table, sql),) = (
            pair for pair in zip(schema.tables, schema.table_sql, strict=True) if pair[0].name == APPLIED
        )
        indexes = [sql for sql in schema.index_sql if schema.indexed[sql] == APPLIED]
        columns = ", ".join(map(quote, table.columns))
        into = f"INSERT INTO {APPLIED} ({columns}) "
        statements = [(sql, None)]
        statements += [insert(into, piece) for piece in pieces(self._read(table, table.columns))]
        statements += [(sql, None) for sql in indexes]
        statements += self._counters()
        statements += [(sql, None) for sql in schema.other_sql]
        # Not before the tables and views that they are made of are whole.
        statements += [(sql, None) for item in schema.derived for sql in item.statements()]
        for name in schema.configured:
            into = virtual.configure(name).replace("%", "%%") + "(%s, %s)"
            statements += [(into, pair) for pair in source.execute(virtual.configuration(name))]
        return statements

    def _counters(self):
        """Return the statements that set the AUTOINCREMENT counters.

        Only tables whose rows were sent have one.
        """
        if not self._schema.has_sequence:
            return []
        statements = [("DELETE FROM sqlite_sequence", None)]
        for name, number in self._source.execute("SELECT name, seq FROM sqlite_sequence"):
            if name in self.expected and self._choices.get(name) is not NOTHING:
                statements.append(("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", (name, number)))
        return statements

    # Counts

    def _compare(self, connection):
        """Raise CountsDiffer if a table holds another number of rows than it was sent."""
        names = [name for name in self.expected if name != APPLIED]
        differ = []
        for part in chunks(names, COUNTS_A_TRIP):
            counted = [(f"SELECT count(*) FROM {quote(name)}", None) for name in part]  # noqa: S608
            for name, result in zip(part, connection.execute_batch(counted), strict=True):
                if (count := result.rows[0][0]) != self.expected[name]:
                    differ.append(f"{name} {count} instead of {self.expected[name]}")
        if differ:
            raise CountsDiffer(
                f"The numbers of rows in the database and in the file differ: {', '.join(differ)}. Run the "
                "command again."
            )

    def _is_whole(self, connection):
        try:
            rows = connection.execute(f"SELECT count(*) FROM {APPLIED}").fetchone()  # noqa: S608
        except driver.Error:
            return False
        return rows[0] == self.expected[APPLIED]


def _staged_names(table):
    return [f"c{index}" for index in range(len(table.stored_remotely))]


@contextlib.contextmanager
def _naming(table):
    """Put the table's name before the text of a database error about its rows."""
    try:
        yield
    except driver.Error as error:
        if table:
            error.args = (f"The table {table!r}: {error}",)
        raise


def is_resumable(error):
    """Return whether the same load may continue after `error`.

    It may after an interruption or a lost connection.
    """
    if isinstance(error, KeyboardInterrupt):
        return True
    error = error if isinstance(error, driver.Error) else error.__cause__
    is_ours = isinstance(error, driver.OperationalError | driver.InterfaceError | driver.InternalError)
    return is_ours and error.kind not in ("sql", "foreign_key")
