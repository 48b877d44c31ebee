"""Keep tenants' rows in D1 for as long as their Durable Objects hold something.

If a row were deleted alone, the next tenant of the slug would read the old object. So only `tenant_delete`
deletes the row of a tenant that was ever used: a signal refuses the ORM before it deletes anything, and
triggers in D1 refuse everything else. The triggers also record a row that was inserted alone as unused,
because its object, if it holds anything, was not made for it.
"""

from contextlib import contextmanager, suppress
from contextvars import ContextVar

from django.apps import apps
from django.db import connections
from django.db.models import ProtectedError
from django.db.models.signals import post_migrate, pre_delete, pre_migrate

from do_bridge.backends.remote_sqlite.snapshot import guarded_tables
from do_bridge.tenancy import places
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.replay import directory_only
from do_bridge.tenancy.tenants import slug_column, tenant_model

from . import ledger
from .lease.lease_sql import left_behind
from .states import Operation

# Constants, because an older SQLite that reads a copy of D1 accepts no expression in RAISE.
_KEPT = "This tenant is in use: its row "
_NOT_DELETED = (
    f"{_KEPT}is not deleted, because its database would stay behind. "
    "Delete both with `manage.py tenant_delete SLUG`."
)
_NOT_RENAMED = (
    f"{_KEPT}keeps its slug, which names its database. Copy it with `manage.py tenant_copy SLUG NEW`, then "
    "delete it with `manage.py tenant_delete SLUG`."
)
_NOT_MOVED = (
    f"{_KEPT}keeps the place in it, which says where its database is. "
    "Move both with `manage.py tenant_move SLUG --jurisdiction NAME`."
)
_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
TRIGGERS = (
    "do_bridge_tenant_deleted",
    "do_bridge_tenant_made",
    "do_bridge_tenant_renamed",
    "do_bridge_tenant_moved",
)

_may_go: ContextVar[bool] = ContextVar("do_bridge_row_may_go", default=False)


class TenantKept(ProtectedError):
    """A tenant's row can't be deleted without the tenant's Durable Object.

    Nothing was deleted.
    """

    def __str__(self):
        return self.args[0]


def is_kept(error):
    """Return whether an error comes from this module's signal or triggers."""
    return isinstance(error, TenantKept) or _KEPT in str(error)


@contextmanager
def rows_may_go():
    """Let this block delete tenants' rows with the ORM.

    The triggers in D1 still check the ledger.
    """
    token = _may_go.set(True)
    try:
        yield
    finally:
        _may_go.reset(token)


def keep_rows():
    """Connect the signals that refuse deletions and that remake the triggers.

    The triggers are dropped before and made after the migrations of D1.
    """
    pre_delete.connect(_refuse, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_kept")
    # The check do_bridge.E006 names a model that does not exist.
    with suppress(LookupError):
        guarded_tables.add(tenant_model()._meta.db_table)
    own = apps.get_app_config("do_bridge")
    pre_migrate.connect(_tables_change, sender=own, dispatch_uid="do_bridge.triggers_dropped")
    post_migrate.connect(_tables_changed, sender=own, dispatch_uid="do_bridge.triggers_made")


def _refuse(sender, instance, using, **kwargs):
    if using != conf("DIRECTORY_ALIAS") or _may_go.get() or ledger.may_go(instance.slug):
        return
    raise TenantKept(
        f"Tenant {instance.slug!r} is in use: its row is not deleted, because its database would stay "
        f"behind. Delete both with `manage.py tenant_delete {instance.slug}`.",
        {instance},
    )


def trigger_statements(connection):
    """Return [(sql, params), …] that make the missing triggers in D1."""
    quote = connection.ops.quote_name
    tenants, slug = quote(tenant_model()._meta.db_table), quote(slug_column())
    old, new = f"OLD.{slug}", f"NEW.{slug}"
    states, never_used = _states(quote), f"slug = {old} AND state = '{ledger.UNUSED}' AND operation = ''"
    # A row with a fencing token stays, so that leases before the last deletion are refused for ever.
    forget = f"DELETE FROM {states} WHERE {never_used} AND fence = 0"  # noqa: S608
    delete = f"UPDATE {states} SET state = '{ledger.DELETED}' WHERE {never_used}"  # noqa: S608
    bodies = {
        TRIGGERS[0]: (f"BEFORE DELETE ON {tenants}", _refusal(quote, _NOT_DELETED), forget, delete),
        TRIGGERS[1]: (f"AFTER INSERT ON {tenants}", _note_unused(quote)),
        TRIGGERS[2]: (
            f"BEFORE UPDATE OF {slug} ON {tenants} WHEN {old} IS NOT {new}",
            _refusal(quote, _NOT_RENAMED),
            forget,
            delete,
            _note_unused(quote),
        ),
    }
    if columns := [field.column for field in places.fields() if field is not None]:
        changed = " OR ".join(f"OLD.{quote(name)} IS NOT NEW.{quote(name)}" for name in columns)
        when = f"BEFORE UPDATE OF {', '.join(map(quote, columns))} ON {tenants} WHEN {changed}"
        bodies[TRIGGERS[3]] = (when, _refuse_move(quote))
    # Made again each time, because the settings that name the fields and the default may have changed.
    return [(f"DROP TRIGGER IF EXISTS {name}", None) for name in TRIGGERS] + [
        (f"CREATE TRIGGER {name} {when} BEGIN {'; '.join(body)}; END", None)
        for name, (when, *body) in bodies.items()
    ]


def _new_place(quote):
    """Return the SQL of (jurisdiction, location) that a tenant's new row names."""
    wished, near = ("''" if field is None else f"NEW.{quote(field.column)}" for field in places.fields())
    named = f"WHEN '' THEN '{places.default_jurisdiction()}' WHEN '{places.NONE}' THEN ''"
    return (
        f"CASE coalesce({wished}, '') {named} ELSE {wished} END",
        f"coalesce({near}, '')",
    )


def _refuse_move(quote):
    """Return the statement that refuses another place than the ledger's.

    A move changes the ledger first.
    """
    jurisdiction, location = _new_place(quote)
    is_there = (
        f"SELECT 1 FROM {_states(quote)} WHERE slug = OLD.{quote(slug_column())} "  # noqa: S608
        f"AND jurisdiction = {jurisdiction} AND location = {location}"
    )
    return f"SELECT RAISE(ABORT, '{_NOT_MOVED}') WHERE NOT EXISTS ({is_there})"


def _states(quote):
    return quote(apps.get_model("do_bridge", "TenantState")._meta.db_table)


def _refusal(quote, message):
    """Return the statement that refuses a change to a row in use.

    `ledger.may_go` defines the rows in use.
    """
    slug = f"OLD.{quote(slug_column())}"
    may_go = (
        f"SELECT 1 FROM {_states(quote)} WHERE slug = {slug} AND (state = '{ledger.DELETED}' "  # noqa: S608
        f"OR state = '{ledger.UNUSED}' AND operation = '')"
    )
    # A deletion records that the object is empty in the batch that deletes the row.
    return f"SELECT RAISE(ABORT, '{message}') WHERE NOT EXISTS ({may_go})"


def _note_unused(quote):
    """Return the statement that records a new row as unused.

    A row that an operation is making keeps its state. A creation writes the row in the batch that takes its
    lease, so it counts for as long as it is recorded: by the clock alone, a batch that stood still would look
    like a row that came alone.
    """
    jurisdiction, location = _new_place(quote)
    unused = (
        f"state = '{ledger.UNUSED}', fingerprint = '', jurisdiction = {jurisdiction}, location = {location}, "
        f"left_behind = {left_behind('', jurisdiction)}"
    )
    new = f"NEW.{quote(slug_column())}"
    over = f"operation = '' OR operation <> '{Operation.CREATE}' AND expires <= {_NOW}"
    return (
        f"INSERT INTO {_states(quote)} (slug, jurisdiction, location, fingerprint, state, since, operation, "  # noqa: S608
        f"owner, fence, emptied, version, error) VALUES ({new}, {jurisdiction}, {location}, "
        f"'', '{ledger.UNUSED}', {_NOW}, '', '', 0, 0, '', '') ON CONFLICT (slug) DO UPDATE SET {unused} "
        f"WHERE {over}"
    )


def make_triggers(alias):
    """Create the triggers if both tables exist.

    Two round trips, or one if a table is missing.
    """
    connection = connections[alias]
    tables = [tenant_model()._meta.db_table, apps.get_model("do_bridge", "TenantState")._meta.db_table]
    found = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, %s)"
    (result,) = run_batch(connection, [(found, tables)])
    if len(result.rows) == len(tables):
        run_batch(connection, trigger_statements(connection))


def drop_triggers(alias):
    """Drop the triggers before tables change.

    SQLite can't rename a table that another table's trigger names.
    """
    run_batch(connections[alias], [(f"DROP TRIGGER IF EXISTS {name}", None) for name in TRIGGERS])


@directory_only
def _tables_change(using, plan=None, **kwargs):
    if using == conf("DIRECTORY_ALIAS") and plan:
        drop_triggers(using)


@directory_only
def _tables_changed(using, **kwargs):
    if using == conf("DIRECTORY_ALIAS"):
        make_triggers(using)
