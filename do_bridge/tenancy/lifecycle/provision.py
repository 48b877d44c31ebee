"""Give a tenant's object the schema and rows of a template object.

A new object gets them in one atomic batch.
"""

import hashlib
import inspect
import json
import logging
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

import django
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, NotSupportedError, connections
from django.db.migrations.loader import MigrationLoader
from django.db.models import OuterRef
from django.utils.timezone import now

from do_bridge.backends.remote_sqlite import schema
from do_bridge.backends.remote_sqlite.refusals import failing, is_missing_table, told
from do_bridge.driver.internal import NOT_INTERNAL, OWN, is_among
from do_bridge.driver.sql import quote
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.places import note_text, noted
from do_bridge.tenancy.replicated.contenttypes import content_type_statements
from do_bridge.tenancy.replicated.sql import copy_statements, insert_statements, run_batch
from do_bridge.tenancy.schema.errors import TenantBehind, TenantUnclaimed
from do_bridge.tenancy.schema.expecting import expecting, is_mismatch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint, of, write_statements
from do_bridge.tenancy.slugs import tenant_alias
from do_bridge.tenancy.tenants import lookup

from . import ledger
from .emptying import connected, drop_left_over, fail, settle
from .fencing import fenced
from .lease import leases
from .looking import near, read_tenant, refuse_elsewhere
from .lost import record_lost
from .outside import run_outside
from .signals import tenant_filled, tenant_filling
from .states import EXCLUSIVE, Do, Found, Operation, State, again, found, is_its_work, next_step
from .template_objects import note_used

logger = logging.getLogger("do_bridge.migrations")

# Attempts to read the template object.
ATTEMPTS = 3
_APPLIED = "django_migrations"
_TAKEN = "taken"
# First in the batch that makes everything: it fails in an object that has any table.
_REFUSE_TAKEN = f"SELECT {failing(_TAKEN, 'name')} FROM sqlite_master WHERE {NOT_INTERNAL}"  # noqa: S608
_TABLES = f"SELECT name FROM sqlite_master WHERE {NOT_INTERNAL}"  # noqa: S608
# Rows with explicit keys move the counters, but not beyond rows that are no longer there.
_COUNTERS = (
    "DELETE FROM sqlite_sequence WHERE name IN (SELECT value->>0 FROM json_each(%s))",
    "INSERT INTO sqlite_sequence (name, seq) SELECT value->>0, value->>1 FROM json_each(%s)",
)
_COPIED_APPS_TABLES = (("contenttypes", "ContentType"), ("auth", "Permission"))

_lock = Lock()
_dumps = {}


class ObjectTaken(DatabaseError):
    """The object of a new tenant holds tables that may be a former tenant's."""


class ObjectFilled(ObjectTaken):
    """The object has tables, although it was empty when its lease was taken."""


@dataclass
class Dump:
    """A migrated object: its schema as SQL, and the rows that its migrations made.

    `late` is the SQL of views and triggers, which must not act on the rows. `counters` are AUTOINCREMENT's.
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


def provision(slug, copies=(), *, before=None, lease=None):
    """Make the object of tenant `slug` ready; safe to repeat.

    Returns "provisioned" or "migrated". A new object gets everything in one round trip, once this process has
    read the template object. `copies`, unsaved model instances with their primary keys, are written with it.
    An object that has a schema is migrated in the ordinary way, and the statements of `before(connection)`
    run there before the copies. Writes are fenced by the `lease`; the caller keeps the ledger.

    Raises ObjectTaken if the object has tables but no migrations, and ObjectFilled if it has tables although
    the lease was taken for an empty object.
    """
    alias = tenant_alias(slug)
    if lease is not None:
        refuse_elsewhere(lease)
    with fenced(alias, lease):
        if (lease is None or lease.step != Do.KEEP) and make(slug, copies):
            return "provisioned"
        if lease is not None and lease.step == Do.MAKE and template_dump() is not None:
            raise ObjectFilled(_taken(slug))
        if lease is None and (names := tables_of(slug)) and _APPLIED not in names:
            # The caller knows whose migrations these are.
            raise ObjectTaken(_taken(slug))
        call_command("migrate", database=alias, interactive=False, verbosity=0, noted=False, skip_checks=True)
        if copied := copy_statements(connections[alias], copies):
            first = before(connections[alias]) if before is not None else []
            run_batch(connections[alias], [*first, *copied])
    return "migrated"


def make(slug, copies=()):
    """Fill the object with one batch, and return whether it was empty."""
    connection = connections[tenant_alias(slug)]
    if (dump := template_dump()) is None:
        return False
    try:
        with expecting(connection, "") as driver_connection, near(driver_connection, noted(slug)):
            statements = [(_REFUSE_TAKEN, None), *_statements(connection, dump)]
            run_batch(connection, statements + copy_statements(connection, copies))
    except DatabaseError as error:
        # The batch is atomic: an object in use refuses it and stays as it is.
        if not is_mismatch(error) and told(error, _TAKEN) is None:
            raise
        return False
    return True


def _taken(slug):
    return (
        f"The database of tenant {slug!r} has tables that were not made for this tenant, perhaps those of "
        f"a former tenant. Choose another slug. Or keep the tables with `manage.py create_tenant --adopt "
        f"{slug}`, or delete them with `manage.py tenant_delete {slug}`."
    )


def refuse(lease):
    """Raise the error for a lease that was not taken."""
    leases.refuse(lease)
    if lease.step == Do.TAKEN:
        raise ObjectTaken(_taken(lease.slug))
    if lease.step == Do.LOST:
        raise record_lost(lease.row)


def guard_lookup():
    """Make the look-up refuse a row whose object was not made for it.

    The check adds no round trip, because the state comes with the row.
    """
    lookup.annotations = _annotations
    lookup.check = _check


def _annotations():
    found = {"unsettled": ledger.unsettled_text(OuterRef("slug"))}
    if conf("JURISDICTION_FIELD") is not None:
        found["noted_place"] = ledger.place_text(OuterRef("slug"))
    return found


def _check(tenant):
    note_text(tenant.slug, getattr(tenant, "noted_place", None))
    _refuse_unsettled(tenant)


def _refuse_unsettled(tenant):
    """Raise TenantUnclaimed or TenantBehind if the tenant's object can't be used.

    TenantUnclaimed: the object was not made for this row. TenantBehind: filling or deleting it has not
    finished. This costs no round trip for a tenant in use, because the ledger's state came with its row. It
    costs one for a row that no operation has settled, and one more to record the end of a creation.
    """
    if tenant.unsettled is None:
        return
    row = leases.Row(*json.loads(tenant.unsettled), is_registered=True)
    if row.operation in EXCLUSIVE:
        raise unfinished(tenant.slug, row.operation)
    # A test run's own objects belong to whatever row a test makes.
    if connections[tenant_alias(tenant.slug)].creation.was_made_here():
        return
    if not row.operation and not has_tables(tenant.slug):
        return
    held = read_tenant(tenant.slug)
    step = next_step(row, held, Operation.MIGRATE)
    if step == Do.TAKEN and leases.look(tenant.slug).fence == row.fence:
        raise TenantUnclaimed(tenant.slug)
    if step == Do.DROP:
        _drop_on_use(tenant.slug)
        return
    is_whole = held.fingerprint and found(row, held) == Found.READY
    if row.operation == Operation.CREATE and is_whole and is_its_work(row, held):
        with suppress(DatabaseError):
            leases.settle_creation(row, held.fingerprint)


def unfinished(slug, operation):
    """Return the TenantBehind for an unfinished operation in EXCLUSIVE."""
    text = f"Tenant {slug!r} is not ready, because '{operation}' has not finished."
    remedy = f"Wait until it has. If it was interrupted, {again(operation, slug)}."
    return TenantBehind(text, remedy=remedy, reason=text)


def not_ready(slug, error):
    """Return the TenantBehind for a LeaseError, which names the remedy."""
    text = f"The database of tenant {slug!r} is not ready."
    return TenantBehind(text, remedy=str(error), reason=text)


def _drop_on_use(slug):
    """Replace left-over tables, which may have the schema that a use expects."""
    if not conf("CATCH_UP"):
        text = f"The database of tenant {slug!r} has not been created, and DO_BRIDGE['CATCH_UP'] is off."
        raise TenantBehind(text, remedy=f"Run `manage.py create_tenant {slug}`.", reason=text)
    try:
        run_outside(lambda: provision_noted(slug))
    except leases.LeaseError as error:
        raise not_ready(slug, error) from error


def tables_of(slug, place=None):
    """Return the names of all tables and other schema entries in a tenant's object.

    With a `place`, the object is the one there. One round trip.
    """
    jurisdiction = None if place is None else place.jurisdiction
    with connected(tenant_alias(slug), jurisdiction) as connection, near(connection, place):
        return [name for (name,) in connection.execute(_TABLES).fetchall()]


def has_tables(slug, place=None):
    """Return whether the object of tenant `slug` has any tables; one round trip.

    With a `place`, the object is the one there.
    """
    return bool(tables_of(slug, place))


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
    """Return the rows of django_migrations with the present time."""
    at = columns.index("applied")
    present = connection.ops.adapt_datetimefield_value(now())
    return [[*row[:at], present, *row[at + 1 :]] for row in rows]


def provision_noted(slug, operation=Operation.MIGRATE):
    """Make or migrate, under a lease, the object of a tenant that has its row in D1.

    See `provision`.
    """
    lease = leases.take(slug, operation, lambda: read_tenant(slug))
    if not lease.fence:
        refuse(lease)
        raise ObjectTaken(
            f"Tenant {slug!r} was deleted. To create it again, run `manage.py create_tenant {slug}`."
        )
    return work_under(lease, lambda: ready(lease))[0]


def work_under(lease, work):
    """Run work(), record its outcome, and return what it returned.

    `work()` returns (how, the schema fingerprint reached). Raises LeaseLost if another operation has taken
    the tenant over.
    """
    try:
        with leases.kept(lease):
            outcome = work()
    except Exception as error:
        if not fail(lease, error) and not isinstance(error, leases.LeaseError):
            # What the other operation did to the object is no news of this one.
            raise leases.lost(lease) from error
        raise
    settle(lease, outcome[1])
    return outcome


def is_unfilled(lease):
    """Return whether a tenant counts as ready, and its object holds nothing of it.

    A creation that was interrupted has recorded "ready" before it reached the object. Whoever took the lease
    over may have been interrupted, too.
    """
    return lease.row.state == State.READY and lease.step in (Do.MAKE, Do.DROP)


def ready(lease, copies=(), before=None):
    """Bring the object of a lease's tenant up to date; return (how, fingerprint).

    The lease's step decides how. A creation removes the dirty flags of the members whose `copies` are in the
    batch that fills the object.
    """
    is_apart = is_unfilled(lease) or (lease.step != Do.KEEP and template_dump() is None)
    if is_apart:
        tenant_filling.send(sender=None, target=lease.slug)
    if lease.step == Do.DROP:
        drop_left_over(lease)
    how = provision(lease.slug, copies, before=before, lease=lease)
    if is_apart:
        tenant_filled.send(sender=None, source=None, target=lease.slug)
    # A migrated object may have migrations that this code does not have.
    alias = tenant_alias(lease.slug)
    return how, code_fingerprint() if how == "provisioned" else connections[alias].schema_fingerprint


def fingerprint():
    """Return 16 hexadecimal digits that identify the state of the code.

    They change with any migration, with Django's version and with our schema editor.
    """
    digest = hashlib.sha256(django.__version__.encode() + inspect.getsource(schema).encode())
    loader = MigrationLoader(None, ignore_no_migrations=True)
    for key in sorted(loader.disk_migrations):
        module = sys.modules[type(loader.disk_migrations[key]).__module__]
        digest.update(repr(key).encode())
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:16]


def template_dump():
    """Return the Dump of the template object, after migrating the object if needed.

    Returns None if it can't be dumped, because it has a virtual table of a kind that can't be copied.
    """
    databases = tenant_databases()
    alias = databases.template_object_alias(fingerprint_once())
    # The key is the object's name, because a test run has a template object of its own.
    key = databases[alias]["NAME"]
    with _lock:
        if key not in _dumps:
            _dumps[key] = _read_template_object(alias)
            connections[alias].close()
            note_used(alias)
        return _dumps[key]


def _read_template_object(alias):
    """Migrate the template object and return its Dump, or None if that fails.

    It tries again if another process empties the object.
    """
    for _ in range(ATTEMPTS):
        try:
            call_command("migrate", database=alias, interactive=False, verbosity=0)
            dump = dump_database(connections[alias])
        except NotSupportedError as error:
            logger.warning(
                "The template object can't be read, so each new tenant is migrated, which is slower: %s",
                error,
            )
            return None
        except DatabaseError as error:
            if not is_missing_table(error):
                raise
            continue
        if dump.fingerprint == code_fingerprint():
            return dump
    return None


def fingerprint_once():
    """Return the fingerprint, computed once for each process.

    A process runs one state of the code.
    """
    if "fingerprint" not in _known:
        _known["fingerprint"] = fingerprint()
    return _known["fingerprint"]


_known = {}


def forget_dumps():
    """Read the template object again when it is needed next."""
    with _lock:
        _dumps.clear()


def dump_database(connection):
    """Return the Dump of the database behind `connection`, in two round trips.

    Raises NotSupportedError for a virtual table that can't be made again (see `virtual`).
    """
    from do_bridge.backends.sqlite_file.schema import MASTER, TABLES, read_schema

    master, tables = run_batch(connection, [(MASTER, None), (TABLES, None)])
    entries = [row for row in master.rows if not is_among(row[1], OWN)]
    found = read_schema(entries, tables.rows)
    derived = [sql for item in found.derived for sql in item.statements()]
    dump = Dump(schema=found.table_sql + found.index_sql, late=found.other_sql + derived)
    # D1's rows of these models are copied instead, so that keys are the same everywhere.
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
    """Return the query for a table's stored values, in the order of its key.

    A rowid without a column comes first.
    """
    names = table.stored_remotely
    key = ", ".join(map(quote, table.key))
    return f"SELECT {', '.join(map(quote, names))} FROM {quote(table.name)} ORDER BY {key}"  # noqa: S608
