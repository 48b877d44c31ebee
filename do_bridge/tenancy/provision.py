"""Makes a tenant's object ready: schema and first rows come from a scratch object, in one atomic batch."""

import hashlib
import inspect
import json
import logging
import sys
from dataclasses import dataclass, field
from threading import Lock

import django
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, NotSupportedError, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite import isolation, schema
from do_bridge.backends.sqlite_file.quoting import quote
from do_bridge.backends.sqlite_file.schema import MASTER, TABLES, read_schema

from . import ledger
from .catch_up import TenantUnclaimed, unchecked
from .claims import MADE_FOR
from .contenttypes import content_type_statements
from .copies import copy_statements, insert_statements, run_batch
from .databases import tenant_databases
from .directory import is_registered, lookup
from .expecting import expecting, is_overtaken
from .fingerprint import READ_NOTE, code_fingerprint, note_statements, of, write_statements
from .scratch import note_used
from .slugs import tenant_alias

logger = logging.getLogger("do_bridge.migrations")

# How often the scratch object is tried.
ATTEMPTS = 3
# The runtime's, SQLite's and wrangler's own, and ours.
_INTERNAL = ("sqlite_", "_cf_", "__miniflare", "d1_migrations", "_do_bridge_")
_APPLIED = "django_migrations"
_TAKEN = "do_bridge:taken:"
_NOT_INTERNAL = " AND ".join(f"name NOT GLOB '{start.replace('_', '[_]')}*'" for start in _INTERNAL)
# First in the batch that makes everything: it fails in an object that has any table.
_REFUSE_TAKEN = f"SELECT json_extract('{{}}', '{_TAKEN}' || name) FROM sqlite_master WHERE {_NOT_INTERNAL}"  # noqa: S608
# Rows with explicit keys move the counters, but not beyond rows that are no longer there.
_COUNTERS = (
    "DELETE FROM sqlite_sequence WHERE name IN (SELECT value->>0 FROM json_each(%s))",
    "INSERT INTO sqlite_sequence (name, seq) SELECT value->>0, value->>1 FROM json_each(%s)",
)
_COPIED_APPS_TABLES = (("contenttypes", "ContentType"), ("auth", "Permission"))

_lock = Lock()
_dumps = {}


class ObjectTaken(DatabaseError):
    """The object of a tenant that is to be made holds what somebody else wrote, maybe a former tenant."""


@dataclass
class Dump:
    """What a migrated object holds: its schema as SQL, and the rows that its migrations made.

    `late` is the SQL of views and triggers, which would act on the rows; `counters` are AUTOINCREMENT's.
    """

    schema: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[str], list[list]]] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    counters: list[list] = field(default_factory=list)

    @property
    def fingerprint(self):
        """The fingerprint of the migrations that were applied."""
        recorded = [(columns, rows) for table, columns, rows in self.rows if table == "django_migrations"]
        return of(
            (row[columns.index("app")], row[columns.index("name")])
            for columns, rows in recorded
            for row in rows
        )


def provision(slug, copies=(), *, before=None, made_for="", adopt=False):
    """Make the object of tenant `slug` ready; safe to repeat. Return "provisioned" or "migrated".

    A new object gets everything in one round trip, once this process has seen the scratch object; `copies`,
    unsaved model instances with their primary keys, come along. An object that has a schema already is
    migrated in the ordinary way, and statements of `before(connection)` run there before the copies. The
    ledger is the caller's: see `create_tenant` and `provision_noted`.
    With `made_for`, a text that tells one creation from another, the tenant is to be a new one: the object
    keeps the text, and one that has tables is refused by ObjectTaken, unless an unfinished creation for the
    same made them, or the ledger says that they are the tenant's, or it is to `adopt` what is there, which
    keeps the text then.
    Tables without migrations, made by somebody's SQL, are refused in any other case, too.
    """
    alias = tenant_alias(slug)
    connection = connections[alias]
    note = note_statements(MADE_FOR, made_for) if made_for else []
    if (dump := scratch_dump()) is not None:
        try:
            with expecting(connection, ""):
                statements = [(_REFUSE_TAKEN, None), *_statements(connection, dump), *note]
                run_batch(connection, statements + copy_statements(connection, copies))
            return "provisioned"
        except DatabaseError as error:
            # The batch is atomic: an object in use refuses it unharmed.
            if not is_overtaken(error) and _TAKEN not in str(error):
                raise
    if not adopt:
        _refuse_taken(slug, made_for)
    if note and dump is None:
        with unchecked(alias):
            run_batch(connection, note)
    call_command("migrate", database=alias, interactive=False, verbosity=0, noted=False, skip_checks=True)
    statements = note if adopt else []
    if copied := copy_statements(connection, copies):
        statements = [*statements, *(before(connection) if before is not None else ()), *copied]
    if statements:
        run_batch(connection, statements)
    return "migrated"


def _refuse_taken(slug, made_for):
    """Raise ObjectTaken where the object's tables are no tenant's, nor of the same creation, cut off."""
    if not made_for:
        # The caller knows whose migrations these are; tables without any are nobody's.
        if (names := tables_of(slug)) and _APPLIED not in names:
            raise ObjectTaken(_taken(slug))
        return
    state = ledger.states(slug).get(slug)
    if ledger.is_claimed(state) and is_registered(slug):
        return
    # A creation that came to its end is in the ledger, and so is whatever happened to the tenant afterwards.
    unfinished = state is None or not ledger.is_claimed(state)
    if unfinished and creation_noted(slug) == made_for:
        return
    # Both once more: the same command may run twice at once, and have made them meanwhile.
    if tables_of(slug) and (ledger.unclaimed(slug).exists() or not is_registered(slug)):
        raise ObjectTaken(_taken(slug))


def _taken(slug):
    return (
        f"The database of {slug!r} has tables already that were not made for this tenant. "
        f"They may be a former tenant's. Choose another slug, or take them over with "
        f"`manage.py create_tenant --adopt {slug}`, or delete them with `manage.py tenant_delete {slug}`."
    )


def guard_lookup():
    """Let the look-up refuse a row whose object holds what was not made for it, in the row's own trip."""
    lookup.annotations = lambda: {"is_claimed": ~Exists(ledger.unclaimed(OuterRef("slug")))}
    lookup.check = _refuse_unclaimed


def _refuse_unclaimed(tenant):
    """Raise TenantUnclaimed for a row that no work was begun for, while its object has tables.

    One round trip; none for a tenant in use, since the ledger's word came with its row.
    """
    if not tenant.is_claimed and holds_foreign_tables(tenant.slug):
        raise TenantUnclaimed(tenant.slug)


def holds_foreign_tables(slug):
    """Say whether an object that was not made for a tenant's row has tables; at most one round trip.

    Those that a test run has made for an alias of its own are for whatever row a test makes.
    """
    return not isolation.is_known(connections[tenant_alias(slug)]) and has_tables(slug)


def creation_noted(slug):
    """Return what the object keeps of its creation, or None; one round trip."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        try:
            (result,) = run_batch(connections[alias], [(READ_NOTE, (MADE_FOR,))])
        except DatabaseError as error:
            if "no such table" not in str(error):
                raise
            return None
    return result.rows[0][0] if result.rows else None


def tables_of(slug):
    """Return the names of what the object of `slug` holds, for whomever it was made; one round trip."""
    alias = tenant_alias(slug)
    with unchecked(alias):
        (result,) = run_batch(connections[alias], [("SELECT name FROM sqlite_master", None)])
    return [name for (name,) in result.rows if not name.startswith(_INTERNAL)]


def has_tables(slug):
    """Say whether the object of tenant `slug` has tables already, for whomever they were; one round trip."""
    return bool(tables_of(slug))


def _statements(connection, dump):
    statements = [("PRAGMA defer_foreign_keys = on", None)]
    statements += [(sql, None) for sql in dump.schema]
    for table, columns, rows in dump.rows:
        if table == _APPLIED:
            rows = _applied_now(connection, columns, rows)
        statements += insert_statements(connection, table, columns, rows)
    statements += content_type_statements(connection) + [(sql, None) for sql in dump.late]
    if dump.counters:
        counters = json.dumps(dump.counters)
        statements += [(sql, (counters,)) for sql in _COUNTERS]
    return statements + write_statements(dump.fingerprint)


def _applied_now(connection, columns, rows):
    """Return the rows of django_migrations with the present time, the tenant's own."""
    at = columns.index("applied")
    present = connection.ops.adapt_datetimefield_value(now())
    return [[*row[:at], present, *row[at + 1 :]] for row in rows]


def provision_noted(slug):
    """Do as `provision` does, for a tenant that has its row in the directory, and tell the ledger."""
    if not ledger.is_claimed(ledger.states(slug).get(slug)) and holds_foreign_tables(slug):
        raise ObjectTaken(_taken(slug))
    ledger.begin(slug, "migrate: provision")
    try:
        how = provision(slug)
    except Exception as error:
        ledger.failed(slug, error)
        raise
    ledger.reached(slug, reached(slug, how))
    return how


def reached(slug, how):
    """Return the fingerprint of an object that this thread has just made; `how`: see `provision`."""
    # A migrated object may have migrations that this code does not have.
    return code_fingerprint() if how == "provisioned" else connections[tenant_alias(slug)].schema_fingerprint


def fingerprint():
    """Return 16 hexadecimal digits that change with any migration, Django, and the dialect's schema code."""
    digest = hashlib.sha256(django.__version__.encode() + inspect.getsource(schema).encode())
    loader = MigrationLoader(None, ignore_no_migrations=True)
    for key in sorted(loader.disk_migrations):
        module = sys.modules[type(loader.disk_migrations[key]).__module__]
        digest.update(repr(key).encode())
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:16]


def scratch_dump():
    """Return the Dump of the scratch object for this state of the code; migrate that object where needed.

    None where it can't be dumped, because of a virtual table of a kind that nothing can be made of again.
    """
    databases = tenant_databases()
    alias = databases.scratch_alias(fingerprint_once())
    # The object's name is part of the key: a test run has a scratch object of its own.
    key = databases[alias]["NAME"]
    with _lock:
        if key not in _dumps:
            _dumps[key] = _read_scratch(alias)
            connections[alias].close()
            note_used(alias)
        return _dumps[key]


def _read_scratch(alias):
    """Migrate the scratch object and return its Dump, or None; again where somebody empties it meanwhile."""
    for _ in range(ATTEMPTS):
        _migrate_scratch(alias)
        try:
            dump = dump_database(connections[alias])
        except NotSupportedError as error:
            logger.warning("Tenants are migrated one by one, not made by one batch: %s", error)
            return None
        except DatabaseError as error:
            # Emptied between the two trips of the reading.
            if "no such table" not in str(error):
                raise
            continue
        if dump.fingerprint == code_fingerprint():
            return dump
    return None


def fingerprint_once():
    """Return the fingerprint, computed once: a process runs one state of the code."""
    if "fingerprint" not in _known:
        _known["fingerprint"] = fingerprint()
    return _known["fingerprint"]


_known = {}


def forget_dumps():
    """Read the scratch object again when it is needed next."""
    with _lock:
        _dumps.clear()


def _migrate_scratch(alias):
    """Migrate the scratch object, which other processes may be doing at the same moment."""
    before = -1
    while True:
        try:
            return call_command("migrate", database=alias, interactive=False, verbosity=0)
        except DatabaseError:
            connections[alias].close()
            applied = len(MigrationRecorder(connections[alias]).applied_migrations())
            # Whoever else is at it took the migration that failed here: go on while there is such progress.
            if applied <= before:
                raise
            before = applied


def dump_database(connection):
    """Return the Dump of the database behind `connection`, in two round trips.

    Raises NotSupportedError for a virtual table that can't be made anew (see `virtual`).
    """
    master, tables = run_batch(connection, [(MASTER, None), (TABLES, None)])
    entries = [row for row in master.rows if not row[1].startswith(_INTERNAL[-1])]
    found = read_schema(entries, tables.rows)
    derived = [sql for item in found.derived for sql in item.statements()]
    dump = Dump(schema=found.table_sql + found.index_sql, late=found.other_sql + derived)
    # The directory's rows of these are copied instead, so that keys are equal everywhere.
    copied = {
        apps.get_model(*model)._meta.db_table
        for model in _COPIED_APPS_TABLES
        if apps.is_installed(f"django.contrib.{model[0]}")
    }
    wanted = [table for table in found.tables if table.name not in copied]
    selects = [(_select_all(table), None) for table in wanted]
    if found.has_sequence:
        selects.append(("SELECT name, seq FROM sqlite_sequence", None))
    results = run_batch(connection, selects) if selects else []
    if found.has_sequence:
        names = {table.name for table in wanted}
        dump.counters = [list(row) for row in results.pop().rows if row[0] in names]
    for table, result in zip(wanted, results, strict=True):
        if result.rows:
            dump.rows.append((table.name, list(result.columns), [list(row) for row in result.rows]))
    return dump


def _select_all(table):
    """Return the query for a table's stored values, by its key; a rowid that no column shows comes first."""
    names = table.stored_remotely
    key = ", ".join(map(quote, table.key))
    return f"SELECT {', '.join(map(quote, names))} FROM {quote(table.name)} ORDER BY {key}"  # noqa: S608
