"""Makes a tenant's object of a SQLite file: checked, sent in units, usable when all of them are there."""

from dataclasses import dataclass, field

from django.apps import apps
from django.db import DatabaseError

from do_bridge.backends.sqlite_file.checking import applied_migrations, check_file
from do_bridge.backends.sqlite_file.claims import unfinished
from do_bridge.backends.sqlite_file.filling import Filling, is_resumable
from do_bridge.backends.sqlite_file.fitness import UnfitFile, refuse_schema
from do_bridge.backends.sqlite_file.opening import opened
from do_bridge.tenancy.replicated.contenttypes import copy_content_types
from do_bridge.tenancy.schema import fingerprint, known
from do_bridge.tenancy.schema.fingerprint import note_statements
from do_bridge.tenancy.slugs import tenant_alias

from . import leases
from . import site_file as site
from .emptying import connected, drop_left_over, empty_tenant, noticing
from .fencing import KEY, fence, fenced
from .looking import close_to_older, read_tenant, unchecked
from .states import FILLING, Do, Operation, next_step

_META = fingerprint.META_TABLE
# What the object says of its own making is not the file's.
_OWN_NOTES = ("schema", KEY)


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


def load_tenant(
    slug, path, *, operation=Operation.LOAD, on_start=None, on_piece=None, then=None, dry_run=False
):
    """Fill the object of tenant `slug` from the SQLite file at `path`; return a LoadReport.

    The file is checked first. One that Django's own sqlite3 engine made is a whole site: of it a tenant gets
    what `site` says. Each unit is a request of its own of about a megabyte, all under one lease; until the
    last one the object has no fingerprint. After a failure the object is emptied and the ledger says why;
    what was interrupted, or lost its connection, stays for the same call to go on. What an interrupted load
    of another file left behind is thrown away.
    `on_start(rows)` is called before the first unit, `on_piece(table, rows)` after each unit of rows.
    `then(lease)` makes what belongs to the tenant in D1, its row first of all, before the ledger says
    "ready"; until that the row's users are turned away. With `dry_run` nothing is written or thrown away,
    and `then` is not called.
    Raises UnfitFile, TenantExists, Held, Unfinished (all before anything is written), LeaseLost if somebody
    else takes the tenant over, CountsDiffer, and Django's database errors.
    """
    with opened(path) as file:
        schema = check_file(file.connection)
        _refuse_strangers(schema)
        filling, report, notes = _planned(file, schema)
        if dry_run:
            row, held = leases.look(slug), read_tenant(slug)
            _refuse(leases.Lease(operation, row, 0, "", 0, next_step(row, held, operation)))
            report.units_before = _done_by(_found(slug, row), filling.claim)
            return report
        lease = leases.take(slug, operation, lambda: read_tenant(slug))
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
    """Raise TenantExists where the object holds what is not to be lost, Unfinished for a deletion."""
    if lease.step == Do.TAKEN:
        raise TenantExists(
            f"The database of tenant {lease.slug!r} has tables. Delete them first with "
            f"`manage.py tenant_delete {lease.slug}`."
        )
    leases.refuse(lease)


def _found(slug, row):
    """Return the load that was cut off in a tenant's object, or None."""
    if row.operation not in FILLING:
        return None
    with connected(tenant_alias(slug)) as connection:
        return unfinished(connection)


def _done_by(found, claim):
    return found.done if found is not None and found.plan == claim.plan else None


def _refuse_strangers(schema):
    """Raise UnfitFile if the file is not a project's: each has the directory's content types."""
    if apps.is_installed("django.contrib.contenttypes"):
        table = apps.get_model("contenttypes", "ContentType")._meta.db_table
        if all(found.name != table for found in schema.tables):
            raise UnfitFile(
                f"The file has no table {table}: it was made of no tenant, and of no Django site."
            )


def _planned(file, schema):
    """Return (Filling, LoadReport, notes of the file about itself) of a checked file. Raises UnfitFile."""
    is_tenants = any(table.name == _META for table in schema.tables)
    choices, notes = {}, []
    if is_tenants:
        rows = file.connection.execute(f"SELECT key, value FROM {_META}")  # noqa: S608
        notes = [pair for pair in rows if pair[0] not in _OWN_NOTES]
        # The guard of the lease makes it.
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
    found = _found(lease.slug, lease.row) if lease.step == Do.DROP else None
    report.units_before = _done_by(found, filling.claim)
    if report.units_before is not None:
        # Whoever was cut off may only stand still.
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
    """Raise UnfitFile for what only the empty object refuses."""
    try:
        with connected(tenant_alias(lease.slug)) as connection:
            refuse_schema(connection, schema)
    except UnfitFile:
        leases.give_back([lease])
        raise


def _fill(lease, filling, found, report, on_piece, notes):
    alias = tenant_alias(lease.slug)
    with noticing(lease), connected(alias) as connection:
        filling.fill(fence(connection, lease), found, on_piece)
        # The directory's keys, so that permissions and the admin's log mean here what they mean there.
        with unchecked(alias), fenced(alias, lease):
            copy_content_types(alias)
        statements = [statement for pair in notes for statement in note_statements(*pair)]
        filling.finish(connection, [*statements, *fingerprint.write_statements(report.fingerprint)])


def _give_up(lease, error):
    """Empty the object and note the failure, as far as either can be reached; the first error counts.

    What somebody else has taken over stays as it is, and so does that for which the same load may go on.
    """
    if isinstance(error, leases.LeaseError):
        return
    if is_resumable(error):
        error.add_note("What was sent stays: the same command goes on behind it.")
    else:
        try:
            empty_tenant(lease)
        except leases.LeaseLost:
            return
        except DatabaseError as second:
            error.add_note(f"Afterwards: {second}")
    leases.fail(lease, error)
