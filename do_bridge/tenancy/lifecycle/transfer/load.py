"""Fill a tenant's object from a SQLite file.

The file is checked, then sent in units. The tenant is usable when all units have arrived.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from django.apps import apps
from django.db import DatabaseError

from do_bridge.backends.sqlite_file.checking import applied_migrations, check_file
from do_bridge.backends.sqlite_file.filling import Filling, is_resumable
from do_bridge.backends.sqlite_file.fitness import UnfitFile, refuse_schema
from do_bridge.backends.sqlite_file.opening import opened
from do_bridge.backends.sqlite_file.units import unfinished
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.emptying import (
    clear,
    connected,
    drop_left_over,
    erase_left_behind,
    erase_tenant,
    fail,
    noticing,
)
from do_bridge.tenancy.lifecycle.fencing import KEY, REMADE, fence, fenced
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import close_to_older, near, read_tenant, unchecked
from do_bridge.tenancy.lifecycle.states import FILLING, Do, Operation, next_step
from do_bridge.tenancy.places import noted
from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema import fingerprint, known
from do_bridge.tenancy.schema.fingerprint import note_statements
from do_bridge.tenancy.slugs import tenant_alias

from . import site_file as site

_META = fingerprint.META_TABLE
#: The template object in which a schema is tried; nothing stays in it.
_EMPTY = "always-empty"
# These facts of the object are not taken from the file.
_OWN_NOTES = ("schema", KEY, REMADE)


class TenantExists(Exception):
    """The tenant's object is not empty."""


@dataclass(slots=True)
class LoadReport:
    """What was loaded and left out, and the tenant's new schema fingerprint.

    `counts` are the rows of each table, which the load compared with the object's. `units_before` is the
    number of units that an interrupted load had sent, or None if there was none. `rows_left_out` has the
    site's rows that are not the tenant's, {table: (rows, of how many)}.
    """

    tables: int = 0
    rows: int = 0
    fingerprint: str = ""
    left_out: tuple[str, ...] = ()
    counts: dict = field(default_factory=dict)
    rows_left_out: dict = field(default_factory=dict)
    units_before: int | None = None


def load_tenant(
    slug,
    path,
    *,
    operation=Operation.LOAD,
    replaces=False,
    place=None,
    on_start=None,
    on_piece=None,
    then=None,
    dry_run=False,
):
    """Fill the object of tenant `slug` from the SQLite file at `path`.

    Return a LoadReport.

    The file is checked first. A file of Django's own sqlite3 engine is a whole site, of which a tenant gets
    the rows that `site_file` chooses. Each unit is one request of about a megabyte, all under one lease. The
    object has no schema fingerprint before the last one. After a failure the object is emptied, and the
    ledger has the reason. After an interruption or a lost connection the rows stay, and the same call
    continues. Rows of an interrupted load of another file are dropped.

    A tenant that does not exist is made at `place`; if that is None, where the ledger has it, or by default.
    `on_start(rows)` is called before the first unit, and `on_piece(table, rows)` after each unit of rows.
    `then(lease)` makes the tenant's rows in D1 before the ledger says "ready"; visitors are turned away until
    then. With `dry_run` nothing is written or dropped, and `then` is not called. With `replaces` the data of
    a tenant that is ready is dropped first, once the file has been checked.

    Raises UnfitFile, TenantExists, Held and Unfinished before anything is written; LeaseLost if another
    operation takes the tenant over; CountsDiffer; and Django's database errors.
    """
    with opened(path) as file:
        schema = check_file(file.connection)
        _refuse_strangers(schema)
        filling, report, notes = _planned(file, schema)
        if dry_run:
            row, held = leases.look(slug), read_tenant(slug)
            step = next_step(row, held, operation)
            _refuse(leases.Lease(operation, row, 0, "", 0, Do.DROP if replaces else step))
            report.units_before = _done_by(_found(slug, row), filling.units)
            return report
        if replaces:
            _refuse_schema_elsewhere(schema)
        lease = leases.take(slug, operation, lambda: read_tenant(slug), replaces=replaces, place=place)
        _refuse(lease)
        try:
            with leases.kept(lease):
                _load(lease, schema, filling, report, on_start, on_piece, notes)
                if then is not None:
                    then(lease)
                leases.settle(lease, fingerprint=report.fingerprint)
        except BaseException as error:
            _give_up(lease, error)
            raise
    return report


def _refuse(lease):
    """Raise TenantExists or Unfinished if the lease's step is a refusal.

    TenantExists: the object holds data. Unfinished: another operation was interrupted.
    """
    if lease.step == Do.TAKEN:
        raise TenantExists(
            f"The database of tenant {lease.slug!r} already has tables, and a file is loaded only into an "
            "empty database. Choose another slug, or delete the tables with `manage.py tenant_delete "
            f"{lease.slug}`."
        )
    leases.refuse(lease)


def _found(slug, row):
    """Return the interrupted load in a tenant's object, or None."""
    if row.operation not in FILLING:
        return None
    with connected(tenant_alias(slug)) as connection:
        return unfinished(connection)


def _done_by(found, units):
    return found.done if found is not None and found.plan == units.plan else None


def _refuse_strangers(schema):
    """Raise UnfitFile if the file has no content types.

    The file of every tenant and site has them if the app is installed.
    """
    if apps.is_installed("django.contrib.contenttypes"):
        table = apps.get_model("contenttypes", "ContentType")._meta.db_table
        if all(found.name != table for found in schema.tables):
            raise UnfitFile(
                f"The file has no table {table}, so it comes neither from tenant_dump nor from a migrated "
                "Django site. Check the file's name."
            )


def _planned(file, schema):
    """Return (Filling, LoadReport, metadata to keep) of a checked file.

    Raises UnfitFile.
    """
    is_tenants = any(table.name == _META for table in schema.tables)
    choices, notes = {}, []
    if is_tenants:
        rows = file.connection.execute(f"SELECT key, value FROM {_META}")  # noqa: S608
        notes = [pair for pair in rows if pair[0] not in _OWN_NOTES]
        # The lease's guard makes this table.
        schema.remove(_META)
    else:
        choices = site.choices(file.connection, schema)
        site.refuse_other_rows(file.connection, choices)
    filling = Filling(file, schema, choices, purpose="tenant")
    applied = applied_migrations(file.connection)
    report = LoadReport(
        tables=len(schema.tables),
        rows=filling.rows,
        fingerprint=known.learn(applied),
        left_out=tuple(schema.left_out),
        counts=dict(filling.expected),
    )
    if not is_tenants:
        report.rows_left_out = site.left_out(file.connection, filling)
    return filling, report, notes


def _load(lease, schema, filling, report, on_start, on_piece, notes):
    if lease.row.left_behind is not None:
        # What an interrupted load has sent to another place.
        erase_left_behind(lease)
        leases.change(lease, left_behind=None)
    found = _found(lease.slug, lease.row) if lease.step == Do.DROP else None
    report.units_before = _done_by(found, filling.units)
    if report.units_before is not None:
        # The interrupted process may still run.
        close_to_older(lease)
    elif lease.step == Do.DROP:
        drop_left_over(lease)
    if report.units_before is None:
        found = None
        _refuse_schema(lease, schema)
    if on_start is not None:
        on_start(report.rows)
    _fill(lease, filling, found, report, on_piece, notes)


def _refuse_schema(lease, schema):
    """Raise UnfitFile if the empty object refuses the schema."""
    try:
        with connected(tenant_alias(lease.slug)) as connection:
            refuse_schema(connection, schema)
    except UnfitFile:
        leases.give_back([lease])
        raise


def _refuse_schema_elsewhere(schema):
    """Raise UnfitFile if an empty object refuses the schema.

    This runs before the tenant's own data is dropped.
    """
    with connected(tenant_databases().template_object_alias(_EMPTY)) as connection:
        refuse_schema(connection, schema)


def _fill(lease, filling, found, report, on_piece, notes):
    alias = tenant_alias(lease.slug)
    with noticing(lease), connected(alias) as connection, near(connection, noted(lease.slug)):
        filling.fill(fence(connection, lease), found, on_piece)
        # With D1's keys, so that permissions and the admin's log mean the same here.
        with unchecked(alias), fenced(alias, lease):
            copy_content_types(alias)
        statements = [statement for pair in notes for statement in note_statements(*pair)]
        filling.finish(connection, [*statements, *fingerprint.write_statements(report.fingerprint)])


def _give_up(lease, error):
    """Erase the object and record the failure, as far as each can be reached.

    A second error becomes a note of the first. Nothing is dropped if another operation has taken the tenant
    over, or if the same load may continue.
    """
    if isinstance(error, leases.LeaseError):
        with suppress(DatabaseError):
            clear(lease)
        return
    if is_resumable(error):
        error.add_note("The rows that were sent are kept. Run the same command again to continue.")
    else:
        try:
            erase_tenant(lease)
        except leases.LeaseLost:
            return
        except DatabaseError as second:
            error.add_note(f"Afterwards: {second}")
    fail(lease, error)
