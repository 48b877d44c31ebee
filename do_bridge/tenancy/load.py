"""Makes a tenant's object of a SQLite file: checked, sent in units, usable when all of them are there."""

import contextlib
from dataclasses import dataclass, field

from django.apps import apps
from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.backends.sqlite_file.checking import applied_migrations, check_file
from do_bridge.backends.sqlite_file.claims import MARK, Claimed, refusing, unfinished, unless_ended
from do_bridge.backends.sqlite_file.filling import Filling, is_resumable
from do_bridge.backends.sqlite_file.fitness import UnfitFile, refuse_schema
from do_bridge.backends.sqlite_file.opening import opened
from do_bridge.backends.sqlite_file.schema import connect

from . import fingerprint, ledger, schemas, site
from .catch_up import unchecked
from .claims import MADE_FOR, ORIGIN, unless_made_anew, while_made_for
from .contenttypes import copy_content_types
from .databases import tenant_databases
from .directory import is_registered
from .executor import read_fingerprint
from .fingerprint import note_statements
from .slugs import tenant_alias

_META = fingerprint.META_TABLE
# What the object says of its own making is not the file's.
_OWN_NOTES = ("schema", ORIGIN, MADE_FOR)
_FULL = (
    "SELECT count(*), coalesce(sum(name = %s), 0) FROM pragma_table_list WHERE schema = 'main' "
    "AND type <> 'shadow' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' "
    "AND name NOT GLOB '__miniflare*' AND name <> '_do_bridge_keys'"
)


class TenantExists(Exception):
    """The tenant's object holds something already."""


@dataclass(slots=True)
class LoadReport:
    """What was loaded and left out, and the fingerprint of the schema that the tenant has now.

    `counts` are the rows of each table, which the object was compared with; `units_before` is the number of
    units that an interrupted load had sent, None if there was none; `rows_left_out` are those of the site
    that are not a tenant's, (rows, of how many), by table.
    """

    tables: int = 0
    rows: int = 0
    fingerprint: str = ""
    left_out: tuple[str, ...] = ()
    counts: dict = field(default_factory=dict)
    rows_left_out: dict = field(default_factory=dict)
    units_before: int | None = None


def load_tenant(slug, path, *, origin="", on_start=None, on_piece=None, then=None, dry_run=False):
    """Fill the object of tenant `slug` from the SQLite file at `path`; return a LoadReport.

    The file is checked first. One that Django's own sqlite3 engine made is a whole site: of it a tenant gets
    what `site` says. Each unit is a request of its own of about a megabyte; until the last one the object has
    no fingerprint and the ledger says "migrating". After a failure the object is emptied and the ledger says
    "failed"; what was interrupted, or lost its connection, stays for the same call to go on. What an
    interrupted load of another file left behind is thrown away. If it was cut off when the object was whole,
    the call goes on from there, provided that `origin`, a text kept in the object, is the same (left out: the
    file's digest).
    `on_start(rows)` is called before the first unit, `on_piece(table, rows)` after each unit of rows.
    `then()` makes what belongs to the tenant in the directory, its row first of all, before the ledger says
    "ready"; after an error in it the same call goes on with it. With `dry_run` nothing is written or thrown
    away, and `then` is not called.
    Raises UnfitFile, TenantExists (both before anything is written), Claimed if somebody else fills the
    object, whose it is then, CountsDiffer, and Django's database errors.
    """
    with opened(path) as file:
        schema = check_file(file.connection)
        _refuse_strangers(schema)
        filling, report = _planned(file, schema)
        origin = origin or file.digest
        if dry_run:
            found, _ = _look(slug, origin)
            report.units_before = _done_by(found, filling.claim)
            return report
        if (found := check_free(slug, origin, filling.claim)) is not WHOLE:
            report.units_before = _done_by(found, filling.claim)
            if on_start is not None:
                on_start(report.rows)
            _load(slug, schema, filling, report, origin, found, on_piece)
        else:
            # It may be another state of the same origin than the file's.
            with unchecked(tenant_alias(slug)):
                report.fingerprint = read_fingerprint(connections[tenant_alias(slug)])
    if then is not None:
        _refuse_overtaken(slug)
        then()
    ledger.reached(slug, report.fingerprint)
    return report


def _done_by(found, claim):
    return found.done if found is not None and found is not WHOLE and found.plan == claim.plan else None


def _refuse_strangers(schema):
    """Raise UnfitFile if the file is not a project's: each has the directory's content types."""
    if apps.is_installed("django.contrib.contenttypes"):
        table = apps.get_model("contenttypes", "ContentType")._meta.db_table
        if all(found.name != table for found in schema.tables):
            raise UnfitFile(
                f"The file has no table {table}: it was made of no tenant, and of no Django site."
            )


def _planned(file, schema):
    """Return (Filling, LoadReport) of a checked file. Raises UnfitFile."""
    names = {table.name for table in schema.tables}
    choices, own = {}, [_META]
    if _META not in names:
        choices, own = site.choices(file.connection, schema), []
        site.refuse_other_rows(file.connection, choices)
    filling = Filling(file, schema, choices, own, purpose="tenant")
    applied = applied_migrations(file.connection)
    report = LoadReport(
        tables=len(schema.tables),
        rows=filling.rows,
        fingerprint=schemas.learn(applied),
        left_out=tuple(schema.left_out),
        counts=dict(filling.expected),
    )
    if _META not in names:
        report.rows_left_out = site.left_out(file.connection, filling)
    return filling, report


def _load(slug, schema, filling, report, origin, found, on_piece):
    alias = tenant_alias(slug)
    if found is None:
        with _connected(alias) as connection:
            refuse_schema(connection, schema)
    ledger.begin(slug, "load")
    try:
        _fill(alias, filling, found, report, origin, on_piece)
    except BaseException as error:
        _give_up(slug, filling.claim, error)
        raise


def _fill(alias, filling, found, report, origin, on_piece):
    with _connected(alias) as connection:
        filling.fill(connection, found, on_piece)
    # The directory's keys, so that permissions and the admin's log mean here what they mean there.
    with unchecked(alias):
        copy_content_types(alias)
    with _connected(alias) as connection:
        notes = [pair for pair in filling.rows_of(_META) if pair[0] not in _OWN_NOTES]
        statements = [statement for pair in notes for statement in note_statements(*pair)]
        statements += fingerprint.write_statements(report.fingerprint)
        filling.finish(connection, [*statements, *note_statements(ORIGIN, origin)])


def _refuse_overtaken(slug):
    """Raise Claimed where a deletion has begun, or come to its end, while the object was filled."""
    state = ledger.states(slug).get(slug)
    if state is None or state.state == ledger.DELETED or (ledger.is_held(state) and state.doing == "delete"):
        raise Claimed(f"Tenant {slug!r} was deleted meanwhile.")


#: What `check_free` returns for an object that is whole already.
WHOLE = object()


def check_free(slug, origin="", claim=None):
    """Throw away what an interrupted load of something else left in the object; return what is there now.

    None for an empty object; an Unfinished load of the plan of `claim`, to go on for; WHOLE if a load of the
    same origin was cut off after its last unit. Raises TenantExists if the object holds anything else.
    """
    found, is_empty = _look(slug, origin)
    if found is WHOLE or is_empty or (found and claim and found.plan == claim.plan):
        return found
    with _connected(tenant_alias(slug)) as connection, refusing():
        empty(connection, unless_ended)
    return None


def _look(slug, origin):
    """Return what stands in the object: None, an Unfinished load or WHOLE; and whether that is nothing."""
    state = ledger.states(slug).get(slug)
    if ledger.is_held(state) and state.doing == "delete":
        # Its members are there still.
        raise TenantExists(f"The deletion of tenant {slug!r} is not finished: run tenant_delete again.")
    with _connected(tenant_alias(slug)) as connection:
        count, marks = connection.execute(_FULL, [MARK]).fetchone()
        if marks:
            return unfinished(connection), False
        if not count:
            return None, True
        # In the ledger until the tenant is whole in the directory, too.
        if state is None or (state.state, state.doing) != (ledger.MIGRATING, "load"):
            raise TenantExists(
                f"The database of tenant {slug!r} has {count} tables. Delete them first with "
                f"`manage.py tenant_delete {slug}`."
            )
        if connection.execute(fingerprint.READ_NOTE, [ORIGIN]).fetchone() == (origin,):
            return WHOLE, False
        if is_registered(slug):
            raise TenantExists(f"Tenant {slug!r} was loaded from something else: delete it first.")
        return None, False


@contextlib.contextmanager
def _connected(alias):
    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper)) as connection:
        yield connection


def _give_up(slug, claim, error):
    """Empty the object and note the failure, as far as either can be reached; the first error counts.

    An object that is another's by now stays as it is, and so does one for which the same load may go on.
    """
    if is_resumable(error):
        error.add_note("What was sent stays: the same command goes on behind it.")
        return
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
