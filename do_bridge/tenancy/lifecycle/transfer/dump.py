"""Write a tenant's whole object to a SQLite file, page by page.

Every value keeps its own type.
"""

import contextlib
import os
import sqlite3
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db import connections

from do_bridge import driver
from do_bridge.backends.sqlite_file import virtual
from do_bridge.backends.sqlite_file.schema import MASTER, TABLES, connect, read_schema
from do_bridge.driver.internal import INTERNAL, is_among
from do_bridge.driver.limits import LIST_BYTES, LONGEST_LEASE, chunks
from do_bridge.driver.sql import quote
from do_bridge.tenancy.lifecycle.lost import lost_row
from do_bridge.tenancy.schema.errors import TenantLost
from do_bridge.tenancy.slugs import tenant_alias

# Bytes of one answer: far below the limit of 30 MB, and enough for few round trips.
PAGE_BYTES = LIST_BYTES
_HAS_COUNTERS = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
FIRST_PAGE = 10
LARGEST_PAGE = 20_000
# A result has at most 100 columns. One holds the types, some hold the key where the next page starts.
COLUMNS_IN_A_RESULT = 80


@dataclass(slots=True)
class DumpReport:
    """What a dump wrote.

    `consistent` is False if the rows were not read in one transaction.
    """

    tables: int = 0
    rows: int = 0
    pages: int = 0
    consistent: bool = True
    dangling: int = 0


def dump_tenant(slug, path, *, lease=LONGEST_LEASE, page_bytes=PAGE_BYTES, on_page=None, then=None):
    """Write the object of tenant `slug` to a new SQLite file; return a DumpReport.

    Everything is read in one transaction, which holds the object for at most `lease` seconds (0.1 to 25). If
    that is too short, the rest is read without one, and the report's `consistent` is False. `on_page(table,
    rows)` is called after each page. The file at `path` appears when it is complete, readable by its owner
    alone. `then(connection)` is called afterwards in the same transaction, unless that had ended.

    Raises Django's database errors (TenantLost for an empty object that should have data),
    NotSupportedError for a virtual table of a kind that can't be read (see `virtual`), and FileExistsError if
    `path` exists.
    """
    wrapper = connections[tenant_alias(slug)]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper, lease=lease)) as source:
        make_reader = partial(_TenantReader, slug)
        return dump_connection(source, path, make_reader, page_bytes=page_bytes, on_page=on_page, then=then)


def dump_connection(source, path, make_reader, *, page_bytes=PAGE_BYTES, on_page=None, then=None):
    """Write the database behind a driver connection into a new SQLite file.

    See `dump_tenant`. `make_reader(connection, page_bytes)` returns the Reader that chooses how rows are
    read.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} already exists. Choose another file.")
    with _temporary(path) as target:
        reader = make_reader(source, page_bytes)
        report = _write(reader, target, on_page, is_held=then is not None)
        report.consistent = reader.consistent
        report.dangling = len(target.execute("PRAGMA foreign_key_check").fetchall())
    if then is not None and report.consistent:
        then(source)
    return report


@contextlib.contextmanager
def _temporary(path):
    """Yield a SQLite connection to a new file, renamed to `path` at the end.

    On failure the file is removed.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as target:
            # The file is removed on failure, so nothing has to be undone in it.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            yield target
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        _give_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary, path):
    """Rename the file; raise FileExistsError if the new name is taken."""
    try:
        # A rename would replace what is there.
        os.link(temporary, path)
    except OSError:
        if path.exists():
            raise FileExistsError(f"{path} already exists. Choose another file.") from None
        # The file system has no links.
        temporary.replace(path)


def _write(reader, target, on_page, *, is_held=False):
    report = DumpReport()
    schema = reader.schema()
    for sql in schema.table_sql:
        target.execute(sql)
    for table in schema.tables:
        report.tables += 1
        names = table.stored
        marks = ", ".join("?" * len(names))
        insert = f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) VALUES ({marks})"  # noqa: S608
        target.execute("BEGIN")
        for rows in reader.pages(table):
            target.executemany(insert, rows)
            report.rows += len(rows)
            report.pages += 1
            if on_page:
                on_page(table.name, len(rows))
        target.execute("COMMIT")
    # One that was emptied keeps its counters, whose table a file has by such tables alone.
    if schema.has_sequence and target.execute(_HAS_COUNTERS).fetchone():
        rows = reader.run([("SELECT name, seq FROM sqlite_sequence", None)])[0].rows
        target.execute("DELETE FROM sqlite_sequence")
        target.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", rows)
    settings = _settings(reader, schema)
    # A transaction that was read to its end has held until now; only then are the rows of one moment.
    if not is_held:
        reader.end()
    for sql in schema.index_sql + schema.other_sql:
        target.execute(sql)
    for item in schema.derived:
        for sql in item.statements():
            target.execute(sql)
    for name, pairs in settings:
        target.executemany(f"{virtual.configure(name)} (?, ?)", pairs)
    return report


def _settings(reader, schema):
    """Return [(FTS5 table, pairs that were set on it)]."""
    names = schema.configured
    asked = [(virtual.configuration(name), None) for name in names]
    return list(zip(names, (result.rows for result in reader.run(asked)), strict=True)) if names else []


class Reader:
    """Read a database page by page, in one transaction for as long as its lease lasts."""

    def __init__(self, connection, page_bytes=PAGE_BYTES):
        self.connection = connection
        self.page_bytes = page_bytes
        self.consistent = True
        connection.begin()

    def run(self, statements):
        """Run [(sql, params), …] in one round trip.

        If the transaction has ended, continue without it.
        """
        try:
            return self.connection.execute_batch(statements)
        except driver.Error as error:
            if error.effect != "ended" or not self.connection.in_transaction:
                raise
        self.connection.rollback()
        self.consistent = False
        return self.connection.execute_batch(statements)

    def end(self):
        """End the transaction, which has written nothing."""
        self.connection.rollback()

    def schema(self):
        """Return the Schema; raise NotSupportedError for an unreadable virtual table."""
        master, tables = self.run([(MASTER, None), (TABLES, None)])
        return read_schema(master.rows, tables.rows)

    def pages(self, table):
        """Yield the table's rows in lists, in the order of its key.

        A rowid without a column of its own comes first in each row.
        """
        size, after = FIRST_PAGE, None
        while True:
            try:
                rows, last, weight = self._page(table, after, size)
            except driver.DataError as error:
                if error.kind != "too_large" or size == 1:
                    raise
                size = max(1, size // 8)
                continue
            if rows:
                yield rows
            if len(rows) < size:
                return
            after = last
            fitting = size * self.page_bytes // max(weight, 1)
            size = max(1, min(fitting, size * 4, LARGEST_PAGE))

    def _page(self, table, after, size):
        """Return (rows, the last one's key, about how many bytes they had on the wire)."""
        statements = [
            page_statement(table, part, after, size)
            for part in chunks(table.columns, COLUMNS_IN_A_RESULT - len(table.key))
        ]
        return self._joined(table, self.run(statements))

    @staticmethod
    def _joined(table, results):
        """Return what `_page` returns, from the results of its statements.

        Each result has some of the columns.
        """
        keys = len(table.key)
        rows, last, weight = [], None, 0
        for pieces in zip(*(result.rows for result in results), strict=True):
            last = pieces[0][:keys]
            values = list(last) if table.carries_rowid else []
            for piece in pieces:
                values += [_typed(*pair) for pair in zip(piece[keys], piece[keys + 1 :], strict=True)]
            weight += sum(_weight(value) for value in values)
            rows.append(values)
        return rows, last, weight


class _TenantReader(Reader):
    """Read a tenant's object, unless it is empty and should not be."""

    def __init__(self, slug, connection, page_bytes):
        super().__init__(connection, page_bytes)
        self.slug = slug

    def schema(self):
        """Return the Schema; raise TenantLost for an object that should have tables."""
        found = super().schema()
        # A backup without rows would take the place of one with them.
        if all(is_among(table.name, INTERNAL) for table in found.tables) and lost_row(self.slug) is not None:
            raise TenantLost(self.slug)
        return found


def page_statement(table, columns, after, size):
    """Return (sql, params) of the page of `size` rows after the key `after`.

    Each row is the key, a text with one letter for each value's type, and the values.
    """
    key = ", ".join(map(quote, table.key))
    letters = "||".join(f"substr(typeof({quote(name)}), 1, 1)" for name in columns)
    selected = ", ".join([key, letters, *map(quote, columns)])
    where, params = "", []
    if after is not None:
        where = f"WHERE ({key}) > ({', '.join(['%s'] * len(after))}) "
        params = list(after)
    sql = f"SELECT {selected} FROM {quote(table.name)} {where}ORDER BY {key} LIMIT %s"  # noqa: S608
    # A percent sign in a name does not begin a placeholder.
    return _keep_percent(sql, [table.name, *table.key, *columns]), [*params, size]


def _keep_percent(sql, names):
    for name in {name for name in names if "%" in name}:
        sql = sql.replace(quote(name), quote(name).replace("%", "%%"))
    return sql


def _typed(letter, value):
    """Return the value as SQLite held it: the wire prints a whole REAL as an integer."""
    return float(value) if letter == "r" else value


def _weight(value):
    if isinstance(value, bytes):
        return len(value) * 4 // 3
    return len(value) + 3 if isinstance(value, str) else 8
