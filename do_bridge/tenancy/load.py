"""Makes a tenant's object of a SQLite file, in pieces, usable when all of them are there."""

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db import DatabaseError, connections

from do_bridge import driver
from do_bridge.backends.remote_sqlite.emptying import empty

from . import dump, fingerprint, ledger, schemas, virtual
from .catch_up import unchecked
from .claims import (
    MADE_FOR,
    MARK,
    ORIGIN,
    Claim,
    Claimed,
    refusing,
    unless_ended,
    unless_made_anew,
    while_made_for,
)
from .contenttypes import copy_content_types
from .databases import tenant_databases
from .directory import is_registered
from .executor import read_fingerprint
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
_FULL = (
    "SELECT count(*), coalesce(sum(name = %s), 0) FROM pragma_table_list WHERE schema = 'main' "
    "AND type <> 'shadow' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' "
    "AND name NOT GLOB '__miniflare*' AND name <> '_do_bridge_keys'"
)


class TenantExists(Exception):
    """The tenant's object holds something already."""


@dataclass(slots=True)
class LoadReport:
    """What was loaded and left out, and the fingerprint of the schema that the tenant has now."""

    tables: int = 0
    rows: int = 0
    fingerprint: str = ""
    left_out: tuple[str, ...] = ()


def load_tenant(slug, path, *, origin="", on_piece=None, then=None):
    """Fill the object of tenant `slug` from the SQLite file at `path`; return a LoadReport.

    The file is checked first. Each piece is a request of its own of about a megabyte; until the last one the
    object has no fingerprint and the ledger says "migrating". After a failure the object is emptied and the
    ledger says "failed". What an interrupted load left behind is thrown away; one that was cut off when the
    object was whole goes on from there, if `origin`, a text kept in the object, is the same (left out: what
    the file holds). `on_piece(table, rows)` is called after each piece. `then()` makes what belongs to the
    tenant in the directory, its row first of all, before the ledger says "ready"; after an error in it the
    same call goes on with it.
    Raises UnfitFile, TenantExists (both before anything is written), Claimed where somebody else fills the
    object meanwhile, whose it is then, and Django's database errors.
    """
    alias, claim = tenant_alias(slug), Claim()
    with contextlib.closing(open_file(path)) as source:
        schema, report = check_file(source)
        origin = origin or _digest(path)
        if check_free(slug, origin):
            with _connected(alias) as connection:
                refuse_schema(connection, schema)
            ledger.begin(slug, "load")
            try:
                _fill(alias, claim, source, schema, report, origin, on_piece)
            except BaseException as error:
                _give_up(slug, claim, error)
                raise
        else:
            # It may be another state of the same origin than the file's.
            with unchecked(alias):
                report.fingerprint = read_fingerprint(connections[alias])
    if then is not None:
        _refuse_overtaken(slug)
        then()
    ledger.reached(slug, report.fingerprint)
    return report


def _refuse_overtaken(slug):
    """Raise Claimed where a deletion has begun, or come to its end, while the object was filled."""
    state = ledger.states(slug).get(slug)
    if state is None or state.state == ledger.DELETED or (ledger.is_held(state) and state.doing == "delete"):
        raise Claimed(f"Tenant {slug!r} was deleted meanwhile.")


def _digest(path):
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if MARK in names:
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


def check_free(slug, origin=""):
    """Throw away what an interrupted load left in the object; say whether it is empty now.

    False where a load of the same origin was cut off after its last piece. Raises TenantExists where the
    object holds anything else.
    """
    state = ledger.states(slug).get(slug)
    if ledger.is_held(state) and state.doing == "delete":
        # Its members are there still.
        raise TenantExists(f"The deletion of tenant {slug!r} is not finished: run tenant_delete again.")
    with _connected(tenant_alias(slug)) as connection:
        count, marks = connection.execute(_FULL, [MARK]).fetchone()
        if count and not marks:
            # In the ledger until the tenant is whole in the directory, too.
            if state is None or (state.state, state.doing) != (ledger.MIGRATING, "load"):
                raise TenantExists(
                    f"The database of tenant {slug!r} has {count} tables. Delete them first with "
                    f"`manage.py tenant_delete {slug}`."
                )
            if connection.execute(fingerprint.READ_NOTE, [ORIGIN]).fetchone() == (origin,):
                return False
            if is_registered(slug):
                raise TenantExists(f"Tenant {slug!r} was loaded from something else: delete it first.")
        if count:
            with refusing():
                empty(connection, unless_ended)
        return True


@contextlib.contextmanager
def _connected(alias):
    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(dump.connect(wrapper)) as connection:
        yield connection


def _give_up(slug, claim, error):
    """Empty the object and note the failure, as far as either can be reached; the first error counts.

    An object that is another's by now stays as it is.
    """
    try:
        try:
            empty_tenant(slug, claim.guard)
            if isinstance(error, Claimed):
                # Empty at the moment, between two steps of whoever has it.
                return
        except Claimed:
            _tell_whose_it_is(slug)
            return
    except DatabaseError as second:
        error.add_note(f"Afterwards: {second}")
    try:
        ledger.failed_in(slug, "load", _plain(error))
    except DatabaseError as second:
        error.add_note(f"Afterwards: {second}")


def _tell_whose_it_is(slug):
    """Take the word "load" back from the ledger where a tenant is there, whole: it was this load's own."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        found = read_fingerprint(connections[alias])
    if found and is_registered(slug):
        ledger.reached(slug, found)


def _plain(error):
    return f"load: {type(error).__name__}: {error}"


def empty_tenant(slug, guard=None):
    """Drop all that the tenant's object holds, and give its storage back.

    Raises Django's database errors, and Claimed by a guard.
    """
    alias = tenant_alias(slug)
    with _connected(alias) as connection, refusing():
        empty(connection, guard)
        # Not where somebody has made tables since: those are not this call's.
        connection.erase()
    _forget_connection(alias)


def empty_held_tenant(slug, connection):
    """Do as `empty_tenant` does in the open transaction of a driver connection, and commit it."""
    alias = tenant_alias(slug)
    with connections[alias].wrap_database_errors, connection.unkeyed():
        empty(connection)
        connection.commit()
        connection.erase()
    _forget_connection(alias)


def _forget_connection(alias):
    if alias in tenant_databases().live_aliases():
        connections[alias].close()


def empty_left_over(slug):
    """Drop what the object of a deleted tenant holds, unless that is a new tenant of the slug already."""

    def guard(names):
        if is_registered(slug):
            raise Claimed("The tenant has a row again.")
        return unless_made_anew(names)

    with contextlib.suppress(Claimed):
        empty_tenant(slug, guard)


def empty_made_for(slug, mark):
    """Drop what a creation has made in the object, unless that is another's by now."""
    with contextlib.suppress(Claimed):
        empty_tenant(slug, while_made_for(mark))


def _fill(alias, claim, source, schema, report, origin, on_piece):
    report.tables = len(schema.tables)
    with _connected(alias) as connection:
        send = partial(claim.send, connection)
        _make_tables(connection, claim, schema)
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
    with unchecked(alias):
        copy_content_types(alias)
    with _connected(alias) as connection:
        statements = _last_statements(source, schema, report.fingerprint)
        claim.send(connection, [*statements, *note_statements(ORIGIN, origin)])


def _make_tables(connection, claim, schema):
    statements = [*claim.statements(), *((sql, None) for sql in schema.table_sql)]
    try:
        connection.execute_batch(statements)
    except driver.Error as error:
        if "already exists" not in str(error):
            raise
        raise Claimed("Somebody else has made tables in this tenant's object meanwhile.") from error


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
    """Return what makes the tenant whole: counters, views, triggers, the fingerprint; and the mark goes."""
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
        own = ("schema", ORIGIN, MADE_FOR)
        statements += [statement for row in rows if row[0] not in own for statement in note_statements(*row)]
    return [*statements, *fingerprint.write_statements(found), (f"DROP TABLE {MARK}", None)]
