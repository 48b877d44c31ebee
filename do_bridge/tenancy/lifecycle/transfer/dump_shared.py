"""Dumps of any database of this package into a SQLite file.

This includes D1, which has no transaction to read in.
"""

import contextlib

from django.db import connections

from do_bridge import driver
from do_bridge.backends.sqlite_file.schema import MASTER, TABLES, connect, read_schema
from do_bridge.driver.limits import LONGEST_LEASE, chunks
from do_bridge.tenancy.slugs import alias_slug

from .dump import COLUMNS_IN_A_RESULT, PAGE_BYTES, Reader, dump_connection, dump_tenant, page_statement

#: Up to this size on disk a database is read in one batch, whose answer is below the limit of 30 MB.
WHOLE_BYTES = 8_000_000
# More than any database has of one table.
_ALL = 2**53


def dump_database(alias, path, *, lease=LONGEST_LEASE, on_page=None):
    """Write the database of `alias` into a new SQLite file at `path`.

    Return a DumpReport. A tenant's and any other object is read in one transaction, as by `dump_tenant`. D1
    has none: a small database is read in one batch, which is one moment; of a large one the report's
    `consistent` is False. Raises what `dump_tenant` raises.
    """
    if (slug := alias_slug(alias)) is not None:
        return dump_tenant(slug, path, lease=lease, on_page=on_page)
    wrapper = connections[alias]
    is_d1 = wrapper.settings_dict["ENGINE"] == "do_bridge.backends.d1"
    options = {} if is_d1 else {"lease": lease}
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper, **options)) as source:
        return dump_connection(source, path, BatchReader if is_d1 else Reader, on_page=on_page)


class BatchReader(Reader):
    """Read a whole database in one batch if it is small, else page by page."""

    def __init__(self, connection, page_bytes=PAGE_BYTES):
        self.connection = connection
        self.page_bytes = page_bytes
        self.consistent = False
        self._rows = {}

    def run(self, statements):
        """Run [(sql, params), …] in one round trip, and return the results.

        If the one batch has read all of them, return its results instead.
        """
        if all(sql in self._rows for sql, _ in statements):
            return [self._rows[sql] for sql, _ in statements]
        return self.connection.execute_batch(statements)

    def end(self):
        """Do nothing, because there is no transaction."""

    def schema(self):
        """Return the Schema, and read all rows with it if they fit into one answer."""
        master, tables = self.connection.execute_batch([(MASTER, None), (TABLES, None)])
        schema = read_schema(master.rows, tables.rows)
        if self._is_small():
            self._read_all(schema, master.rows)
        return schema

    def _is_small(self):
        try:
            return self.connection.size() <= WHOLE_BYTES
        except driver.NotSupportedError:
            return False

    def _read_all(self, schema, known):
        """Read all tables in one batch.

        Keep the rows if the schema is still the known one.
        """
        asked = [(MASTER, None)]
        for table in schema.tables:
            asked += _whole(table)
        sequence = "SELECT name, seq FROM sqlite_sequence"
        asked += [(sequence, None)] if schema.has_sequence else []
        try:
            results = self.connection.execute_batch(asked)
        except driver.DataError as error:
            if error.kind != "too_large":
                raise
            return
        if results[0].rows != known:
            return
        self.consistent = True
        self._rows = {sql: result for (sql, _), result in zip(asked, results, strict=True)}

    def pages(self, table):
        """Yield the table's rows in lists, in the order of its key.

        A rowid comes first.
        """
        if not self._rows:
            yield from super().pages(table)
            return
        if rows := self._joined(table, self.run(_whole(table)))[0]:
            yield rows


def _whole(table):
    """Return the statements that read all rows of a table."""
    return [
        page_statement(table, part, None, _ALL)
        for part in chunks(table.columns, COLUMNS_IN_A_RESULT - len(table.key))
    ]
