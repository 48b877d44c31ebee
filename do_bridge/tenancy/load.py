"""Makes a tenant's object of a SQLite file, in pieces, usable when all of them are there."""

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError

from do_bridge import driver

from . import dump, fingerprint, leases, schemas, virtual
from .contenttypes import copy_content_types
from .emptying import connected, drop_left_over, empty_tenant, noticing
from .fencing import KEY, fence, fenced
from .fingerprint import note_statements
from .fitness import (
    UnfitFile,
    refuse_broken_views,
    refuse_damage,
    refuse_deferred_keys,
    refuse_large_values,
    refuse_schema,
    refuse_strange_schema,
    refuse_strangers,
)
from .lifecycle import Do, Operation
from .looking import read_tenant, unchecked
from .quoting import quote
from .slugs import tenant_alias

# What one statement's rows may weigh as JSON; the runtime's limit for a value is 2 MB.
PIECE_BYTES = 1_000_000
# A larger row travels alone, each of its values in a slot of its own.
LARGE_ROW = 400_000
ROWS_AT_ONCE = 5000
STAGING = "_do_bridge_load_rows_"
_META = fingerprint.META_TABLE
_APPLIED = "django_migrations"


class TenantExists(Exception):
    """The tenant's object holds something already."""


@dataclass(slots=True)
class LoadReport:
    """What was loaded and left out, and the fingerprint of the schema that the tenant has now."""

    tables: int = 0
    rows: int = 0
    fingerprint: str = ""
    left_out: tuple[str, ...] = ()


def load_tenant(slug, path, *, operation=Operation.LOAD, on_piece=None, then=None):
    """Fill the object of tenant `slug` from the SQLite file at `path`; return a LoadReport.

    The file is checked first. Each piece is a request of its own of about a megabyte, under one lease; until
    the last one the object has no fingerprint. After a failure the object is emptied, and the ledger says
    why. What an interrupted load left behind is thrown away. `on_piece(table, rows)` is called after each
    piece. `then(lease)` makes what belongs to the tenant in D1, its row first of all, before the ledger says
    "ready"; until that the row's users are turned away. Raises UnfitFile, TenantExists, Held, Unfinished (all
    before anything is written), LeaseLost where somebody else has taken the tenant over, and Django's
    database errors.
    """
    with contextlib.closing(open_file(path)) as source:
        schema, report = check_file(source)
        lease = _take(slug, operation)
        try:
            with leases.kept(lease):
                if lease.step == Do.DROP:
                    drop_left_over(lease)
                _refuse_schema(lease, schema)
                _fill(lease, source, schema, report, on_piece)
                if then is not None:
                    then(lease)
                leases.settle(lease, fingerprint=report.fingerprint)
        except BaseException as error:
            _give_up(lease, error)
            raise
    return report


def _refuse_schema(lease, schema):
    """Raise UnfitFile for what only the empty object refuses."""
    try:
        with connected(tenant_alias(lease.slug)) as connection:
            refuse_schema(connection, schema)
    except UnfitFile:
        leases.give_back([lease])
        raise


def _take(slug, operation):
    """Return the lease for a load. Raises TenantExists where the object holds what is not to be lost."""
    lease = leases.take(slug, operation, lambda: read_tenant(slug))
    if lease.step == Do.TAKEN:
        raise TenantExists(
            f"The database of tenant {slug!r} has tables. Delete them first with "
            f"`manage.py tenant_delete {slug}`."
        )
    leases.refuse(lease)
    return lease


def open_file(path):
    """Return a connection to a SQLite file that can only be read. Raises UnfitFile."""
    path = Path(path)
    if not path.is_file():
        raise UnfitFile(f"There is no file {path}.")
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        source.close()
        raise UnfitFile(f"{path} is no SQLite database: {error}") from error
    return source


def check_file(source):
    """Return (Schema, LoadReport) of a file that a tenant can be made of. Raises UnfitFile."""
    refuse_damage(source)
    refuse_broken_views(source)
    try:
        schema = dump.read_schema(
            source.execute(dump.MASTER).fetchall(), source.execute(dump.TABLES).fetchall()
        )
    except DatabaseError as error:
        raise UnfitFile(str(error)) from error
    names = {table.name for table in schema.tables}
    if _APPLIED not in names:
        raise UnfitFile("The file has no table django_migrations: it was not made of a tenant.")
    if any(name.startswith(STAGING) for name in names):
        raise UnfitFile("The file was made of a tenant that was itself being loaded.")
    refuse_deferred_keys(list(zip((table.name for table in schema.tables), schema.table_sql, strict=True)))
    for table in schema.tables:
        if len(table.columns) > dump.COLUMNS:
            raise UnfitFile(f"The table {table.name!r} has more than {dump.COLUMNS} columns.")
    dangling = source.execute("PRAGMA foreign_key_check").fetchall()
    if dangling:
        tables = ", ".join(sorted({row[0] for row in dangling}))
        raise UnfitFile(f"{len(dangling)} rows point nowhere by their foreign keys, in: {tables}.")
    refuse_strange_schema(schema)
    refuse_large_values(source, schema.tables)
    refuse_strangers(names)
    applied = source.execute("SELECT app, name FROM django_migrations").fetchall()
    left_out = tuple(schema.left_out)
    return schema, LoadReport(rows=len(applied), left_out=left_out, fingerprint=schemas.learn(applied))


def _give_up(lease, error):
    """Empty the object and note the failure, as far as either can be reached; the first error counts.

    What somebody else has taken over stays as it is.
    """
    try:
        empty_tenant(lease)
    except leases.LeaseLost:
        return
    except DatabaseError as second:
        error.add_note(f"Afterwards: {second}")
    leases.fail(lease, error)


def _fill(lease, source, schema, report, on_piece):
    alias = tenant_alias(lease.slug)
    report.tables = len(schema.tables)
    with noticing(lease), connected(alias) as connection:
        send = fence(connection, lease).execute_batch
        # The guard has made that of the object's own facts.
        made = zip(schema.tables, schema.table_sql, strict=True)
        send([(sql, None) for table, sql in made if table.name != _META])
        before, circles, after = _order(source, schema.tables)
        for table in before:
            report.rows += _copy_rows(send, source, table, table.name, on_piece)
        for index, table in enumerate(circles):
            report.rows += _copy_rows(send, source, table, f"{STAGING}{index}", on_piece)
        _unstage(send, circles)
        for table in after:
            report.rows += _copy_rows(send, source, table, table.name, on_piece)
        for sql in schema.index_sql:
            send([(sql, None)])
        # The directory's keys, so that permissions and the admin's log mean here what they mean there.
        with unchecked(alias), fenced(alias, lease):
            copy_content_types(alias)
        send(_last_statements(source, schema, report.fingerprint))


def _order(source, tables):
    """Return (tables before, tables in circles of foreign keys, tables after): parents before children."""
    by_name = {table.name.lower(): table for table in tables}
    parents = {}
    for name, table in by_name.items():
        keys = source.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall()
        parents[name] = {row[2].lower() for row in keys} & by_name.keys()
    before = _peel(parents)
    left = {name: parents[name] & (parents.keys() - set(before)) for name in parents if name not in before}
    children = {name: {child for child, ones in left.items() if name in ones} for name in left}
    after = _peel(children)
    circles = [name for name in left if name not in after]
    return [[by_name[name] for name in names] for names in (before, circles, reversed(after))]


def _peel(blockers):
    """Return the names that are free once those before them are; what stands in a circle is left out."""
    order, left = [], dict(blockers)
    while free := [name for name, names in left.items() if not names & left.keys()]:
        order += free
        for name in free:
            del left[name]
    return order


def _copy_rows(send, source, table, target, on_piece):
    """Send the rows of a table in pieces, into it or into a table that is made for it; return how many."""
    if table.name in (_META, _APPLIED):
        return 0  # They come with the last piece: who looks before that finds no schema to use.
    names = key = table.stored_remotely
    if target != table.name:
        columns = ", ".join(f"c{index}" for index in range(len(key)))
        # Without types, so that each value keeps its own until it reaches its column.
        send([(f"CREATE TABLE {target} ({columns})", None)])
        names = [f"c{index}" for index in range(len(key))]
    cursor = source.execute(f"SELECT {', '.join(map(quote, key))} FROM {quote(table.name)}")  # noqa: S608
    into = f"INSERT INTO {quote(target)} ({', '.join(map(quote, names))}) "
    total = 0
    for rows in _pieces(_named(table, cursor)):
        with _naming(table):
            send([_insert(into, rows)])
        total += len(rows)
        if on_piece:
            on_piece(table.name, len(rows))
    return total


def _named(table, cursor):
    """Yield the rows. Raises UnfitFile by the table's name for a text that is not UTF-8."""
    try:
        yield from cursor
    except sqlite3.Error as error:
        raise UnfitFile(f"The table {table.name!r} cannot be read: {error}") from error


@contextlib.contextmanager
def _naming(table):
    """Put the table's name before what an object says of its rows."""
    try:
        yield
    except driver.Error as error:
        error.args = (f"The table {table.name!r}: {error}",)
        raise


def _pieces(cursor):
    """Yield lists of rows that one statement can carry; a large row is alone in its list."""
    piece, size = [], 0
    for row in cursor:
        own = sum(_size(value) for value in row)
        if piece and (size + own > PIECE_BYTES or len(piece) == ROWS_AT_ONCE or own > LARGE_ROW):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += own
        if own > LARGE_ROW:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _size(value):
    if isinstance(value, bytes):
        return 2 * len(value) + 4
    # Quotes, line ends and control characters grow in JSON; four bytes are the most of a UTF-8 character.
    return len(json.dumps(value, ensure_ascii=False)) + 4 if isinstance(value, str) else 24


def _insert(into, rows):
    """Return (sql, params) that insert the rows: one JSON text of them all, or one row by its own slots."""
    percent = into.replace("%", "%%")
    if len(rows) == 1:
        return percent + f"VALUES ({', '.join(['%s'] * len(rows[0]))})", rows[0]
    width = len(rows[0])
    blobs = [any(isinstance(row[index], bytes) for row in rows) for index in range(width)]
    values = ", ".join(_element(index, blob) for index, blob in enumerate(blobs))
    text = "[" + ",".join(_json_row(row) for row in rows) + "]"
    return f"{percent}SELECT {values} FROM json_each(%s)", [text]  # noqa: S608


def _element(index, has_blobs):
    if not has_blobs:
        return f"value->>{index}"
    path = f"'$[{index}]'"
    # A blob is a list with its hexadecimal digits; other types may stand in the same column.
    return (
        f"CASE json_type(value, {path}) WHEN 'array' THEN unhex(value->>'$[{index}][0]') "
        f"ELSE value->>{index} END"
    )


def _json_row(row):
    return "[" + ",".join(map(_json_value, row)) + "]"


def _json_value(value):
    if isinstance(value, bytes):
        return f'["{value.hex()}"]'
    if value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    return json.dumps(value, ensure_ascii=False)


def _unstage(send, tables):
    """Move the staged rows into their tables in one unit: only together do their foreign keys hold."""
    if not tables:
        return
    statements = [("PRAGMA defer_foreign_keys = on", None)]
    for index, table in enumerate(tables):
        names = table.stored_remotely
        columns = ", ".join(map(quote, names))
        staged = ", ".join(f"c{position}" for position in range(len(names)))
        move = f"INSERT INTO {quote(table.name)} ({columns}) SELECT {staged} FROM {STAGING}{index}"  # noqa: S608
        statements += [(move, None), (f"DROP TABLE {STAGING}{index}", None)]
    send(statements)


def _last_statements(source, schema, found):
    """Return what makes the tenant whole: counters, views, triggers, and the fingerprint."""
    rows = source.execute(f"SELECT * FROM {_APPLIED}")  # noqa: S608
    columns = ", ".join(quote(column[0]) for column in rows.description)
    into = f"INSERT INTO {_APPLIED} ({columns}) "
    statements = [_insert(into, piece) for piece in _pieces(rows)]
    if schema.has_sequence:
        statements.append(("DELETE FROM sqlite_sequence", None))
        for row in source.execute("SELECT name, seq FROM sqlite_sequence"):
            statements.append(("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", row))
    statements += [(sql, None) for sql in schema.other_sql]
    # Not before the tables and views that they are made of are whole.
    statements += [(sql, None) for item in schema.derived for sql in item.statements()]
    for name in schema.configured:
        into = virtual.configure(name).replace("%", "%%") + "(%s, %s)"
        statements += [(into, pair) for pair in source.execute(virtual.configuration(name))]
    if any(table.name == _META for table in schema.tables):
        # What the object says of its own making is not the file's.
        rows = source.execute(f"SELECT key, value FROM {_META}")  # noqa: S608
        own = ("schema", KEY)
        statements += [statement for row in rows if row[0] not in own for statement in note_statements(*row)]
    return [*statements, *fingerprint.write_statements(found)]
