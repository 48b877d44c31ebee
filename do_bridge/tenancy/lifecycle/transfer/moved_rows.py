"""Compare a tenant's two objects during a move, and copy the idempotency keys."""

import hashlib

from do_bridge.backends.sqlite_file.filling import CountsDiffer
from do_bridge.backends.sqlite_file.rows import insert, pieces
from do_bridge.backends.sqlite_file.schema import Table
from do_bridge.driver.internal import KEYS_TABLE

from .dump import Reader

_KEYS = Table(KEYS_TABLE, ("client", "n", "answer", "at"), ("client",), carries_rowid=False)
_KEYS_SQL = "SELECT sql FROM sqlite_master WHERE name = %s"
# The later key of a client stays: this process may have written to both objects.
_LATER = (
    " ON CONFLICT (client) DO UPDATE SET n = excluded.n, answer = excluded.answer, at = excluded.at "
    "WHERE excluded.n > n"
)


def copy_keys(source, target):
    """Copy the keys of the writes that the source has received, on driver connections.

    A write whose answer was lost is then recognized in the target, too, and does not run again.
    """
    found = source.execute(_KEYS_SQL, [KEYS_TABLE]).fetchone()
    if found is None:
        return
    made = found[0].replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
    target.execute(made)
    into = f"INSERT INTO {KEYS_TABLE} ({', '.join(_KEYS.columns)}) "
    for rows in pieces(_rows(source, _KEYS)):
        sql, params = insert(into, rows)
        # SQLite's parser needs a WHERE between a SELECT and ON CONFLICT: https://www.sqlite.org/lang_upsert.html
        where = "" if len(rows) == 1 else " WHERE true"
        target.execute(sql + where + _LATER, params)


def compare(source, target, tables):
    """Raise CountsDiffer unless each table has the same rows in both objects.

    Both are read whole, in the order of the tables' keys.
    """
    differ = []
    for table in tables:
        there, here = digest(source, table), digest(target, table)
        if there != here:
            differ.append(f"{table.name} (rows: {there[0]} and {here[0]})")
    if differ:
        raise CountsDiffer(
            f"The rows of the two databases differ: {', '.join(differ)}. The tenant stays where it was. Stop "
            "whatever writes to its database beside Django, then run the command again."
        )


def digest(connection, table):
    """Return (number of rows, digest of all values with their types) of a table."""
    total, count = hashlib.sha256(), 0
    for row in _rows(connection, table):
        total.update(repr(row).encode())
        count += 1
    return count, total.hexdigest()


def _rows(connection, table):
    reader = Reader(connection)
    try:
        for rows in reader.pages(table):
            yield from rows
    finally:
        reader.end()
