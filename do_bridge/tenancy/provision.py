"""Makes a tenant's object ready: schema and first rows come from a scratch object, in one atomic batch."""

import hashlib
import inspect
import sys
from dataclasses import dataclass, field
from threading import Lock

import django
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from do_bridge.backends.remote_sqlite import schema

from . import ledger
from .contenttypes import content_type_statements
from .copies import copy_statements, insert_statements, run_batch
from .databases import tenant_databases
from .expecting import expecting, is_overtaken
from .fingerprint import code_fingerprint, of, write_statements
from .slugs import tenant_alias

_INTERNAL = ("sqlite_", "_cf_", "__miniflare", "d1_migrations", "_do_bridge_")
# The directory's rows of these are copied instead, so that keys are equal everywhere.
_COPIED_APPS_TABLES = (("contenttypes", "ContentType"), ("auth", "Permission"))

_lock = Lock()
_dumps = {}


@dataclass
class Dump:
    """What a migrated object holds: its schema as SQL, and the rows that its migrations made."""

    schema: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[str], list[list]]] = field(default_factory=list)

    @property
    def fingerprint(self):
        """The fingerprint of the migrations that were applied."""
        recorded = [(columns, rows) for table, columns, rows in self.rows if table == "django_migrations"]
        return of(
            (row[columns.index("app")], row[columns.index("name")])
            for columns, rows in recorded
            for row in rows
        )

    @property
    def can_be_replayed(self):
        """False with a virtual table, whose shadow tables SQLite makes by itself."""
        return bool(self.schema) and not any(
            sql.upper().lstrip().startswith("CREATE VIRTUAL") for sql in self.schema
        )


def provision(slug, copies=()):
    """Make the object of tenant `slug` ready; safe to repeat. Return "provisioned" or "migrated".

    A new object gets everything in one round trip, once this process has seen the scratch object; `copies`,
    unsaved model instances with their primary keys, come along. An object that has a schema already is
    migrated in the ordinary way. The ledger is the caller's: see `create_tenant` and `provision_noted`.
    """
    alias = tenant_alias(slug)
    connection = connections[alias]
    dump = scratch_dump()
    if dump.can_be_replayed:
        try:
            with expecting(connection, ""):
                run_batch(connection, _statements(connection, dump) + copy_statements(connection, copies))
            return "provisioned"
        except DatabaseError as error:
            # The batch is atomic and makes tables first: an object in use refuses it unharmed.
            if not is_overtaken(error) and "already exists" not in str(error):
                raise
    call_command("migrate", database=alias, interactive=False, verbosity=0, noted=False, skip_checks=True)
    if statements := copy_statements(connection, copies):
        run_batch(connection, statements)
    return "migrated"


def has_tables(slug):
    """Say whether the object of tenant `slug` has tables already, for whomever they were; one round trip."""
    (result,) = run_batch(connections[tenant_alias(slug)], [("SELECT name FROM sqlite_master", None)])
    return any(not name.startswith(_INTERNAL) for (name,) in result.rows)


def _statements(connection, dump):
    statements = [("PRAGMA defer_foreign_keys = on", None)]
    statements += [(sql, None) for sql in dump.schema]
    for table, columns, rows in dump.rows:
        statements += insert_statements(connection, table, columns, rows)
    return statements + content_type_statements(connection) + write_statements(dump.fingerprint)


def provision_noted(slug):
    """Do as `provision` does, for a tenant that has its row in the directory, and tell the ledger."""
    ledger.begin(slug, "migrate: provision")
    try:
        how = provision(slug)
    except Exception as error:
        ledger.failed(slug, error)
        raise
    ledger.reached(slug, code_fingerprint())
    return how


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
    """Return the Dump of the scratch object for this state of the code; migrate that object where needed."""
    databases = tenant_databases()
    alias = databases.scratch_alias(fingerprint_once())
    # The object's name is part of the key: a test run has a scratch object of its own.
    key = databases[alias]["NAME"]
    with _lock:
        if key not in _dumps:
            _migrate_scratch(alias)
            _dumps[key] = dump_database(connections[alias])
            connections[alias].close()
        return _dumps[key]


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
    """Return the Dump of the database behind `connection`, in two round trips."""
    master = (
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
        "ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, rowid"
    )
    (result,) = run_batch(connection, [(master, None)])
    entries = [row for row in result.rows if not row[1].startswith(_INTERNAL)]
    dump = Dump(schema=[sql for _, _, sql in entries])
    skipped = {
        apps.get_model(*model)._meta.db_table
        for model in _COPIED_APPS_TABLES
        if apps.is_installed(f"django.contrib.{model[0]}")
    }
    tables = [name for kind, name, _ in entries if kind == "table" and name not in skipped]
    quote = connection.ops.quote_name
    selects = [(f"SELECT * FROM {quote(table)} ORDER BY rowid", None) for table in tables]  # noqa: S608
    for table, result in zip(tables, run_batch(connection, selects) if selects else [], strict=True):
        if result.rows:
            dump.rows.append((table, list(result.columns), [list(row) for row in result.rows]))
    return dump
