"""Keeps tenants' rows in D1 for as long as their Durable Objects hold something.

A row that goes alone would leave an object that the next tenant of the slug reads. So `tenant_delete` alone
removes the row of a tenant that was ever used: a signal refuses the ORM before it deletes anything, and D1's
own triggers refuse everything else. They also note in the ledger a row that comes alone: what its object
holds, if anything, is somebody else's.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.db import connections
from django.db.models import ProtectedError
from django.db.models.signals import post_migrate, pre_delete, pre_migrate

from do_bridge.backends.remote_sqlite.snapshot import guarded_tables
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.replay import directory_only
from do_bridge.tenancy.tenants import tenant_model

from . import ledger
from .states import Operation

# Constants: an older SQLite that reads a copy of D1 knows no expression in RAISE.
_KEPT = "This tenant is in use: its row "
_NOT_DELETED = (
    f"{_KEPT}is not deleted, because its database would stay behind. "
    "Delete both with `manage.py tenant_delete SLUG`."
)
_NOT_RENAMED = (
    f"{_KEPT}keeps its slug, which names its database. Copy it with `manage.py tenant_copy SLUG NEW`, then "
    "delete it with `manage.py tenant_delete SLUG`."
)
_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
TRIGGERS = ("do_bridge_tenant_deleted", "do_bridge_tenant_made", "do_bridge_tenant_renamed")

_may_go: ContextVar[bool] = ContextVar("do_bridge_row_may_go", default=False)


class TenantKept(ProtectedError):
    """A tenant's row was to be deleted without the tenant's Durable Object; nothing was done."""

    def __str__(self):
        return self.args[0]


def is_kept(error):
    """Say whether an error is a refusal of this module, by its signal or by D1's triggers."""
    return isinstance(error, TenantKept) or _KEPT in str(error)


@contextmanager
def rows_may_go():
    """Let this block delete tenants' rows by the ORM; D1's triggers look at the ledger all the same."""
    token = _may_go.set(True)
    try:
        yield
    finally:
        _may_go.reset(token)


def keep_rows():
    """Connect the signals: the refusal, and what makes the triggers after each migration of D1."""
    pre_delete.connect(_refuse, sender=conf("TENANT_MODEL"), dispatch_uid="do_bridge.tenant_kept")
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
    tenants, slug = quote(tenant_model()._meta.db_table), quote("slug")
    old, new = f"OLD.{slug}", f"NEW.{slug}"
    states, never_used = _states(quote), f"slug = {old} AND state = '{ledger.UNUSED}' AND operation = ''"
    # A fence stays known: what a lease before the last deletion writes is refused for ever.
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
    return [
        (f"CREATE TRIGGER IF NOT EXISTS {name} {when} BEGIN {'; '.join(body)}; END", None)
        for name, (when, *body) in bodies.items()
    ]


def _states(quote):
    return quote(apps.get_model("do_bridge", "TenantState")._meta.db_table)


def _refusal(quote, message):
    """Return the statement that refuses what happens to a row in use, as `ledger.may_go` says."""
    slug = f"OLD.{quote('slug')}"
    may_go = (
        f"SELECT 1 FROM {_states(quote)} WHERE slug = {slug} AND (state = '{ledger.DELETED}' "  # noqa: S608
        f"OR state = '{ledger.UNUSED}' AND operation = '')"
    )
    # The deletion notes that the object is empty in the batch that removes the row.
    return f"SELECT RAISE(ABORT, '{message}') WHERE NOT EXISTS ({may_go})"


def _note_unused(quote):
    """Return the statement that notes a new row, unless an operation is at work that makes it."""
    unused = (
        f"state = '{ledger.UNUSED}', fingerprint = '', "
        f"operation = CASE operation WHEN '{Operation.CREATE}' THEN '' ELSE operation END"
    )
    return (
        f"INSERT INTO {_states(quote)} (slug, fingerprint, state, since, operation, owner, fence, emptied, "  # noqa: S608
        f"version, error) VALUES (NEW.{quote('slug')}, '', '{ledger.UNUSED}', {_NOW}, '', '', 0, 0, '', '') "
        f"ON CONFLICT (slug) DO UPDATE SET {unused} WHERE operation = '' OR expires <= {_NOW}"
    )


def make_triggers(alias):
    """Make the triggers where both tables are there; two round trips, one where a table is missing."""
    connection = connections[alias]
    tables = [tenant_model()._meta.db_table, apps.get_model("do_bridge", "TenantState")._meta.db_table]
    found = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (%s, %s)"
    (result,) = run_batch(connection, [(found, tables)])
    if len(result.rows) == len(tables):
        run_batch(connection, trigger_statements(connection))


def drop_triggers(alias):
    """Take the triggers away while tables change: SQLite renames no table that another's trigger names."""
    run_batch(connections[alias], [(f"DROP TRIGGER IF EXISTS {name}", None) for name in TRIGGERS])


@directory_only
def _tables_change(using, plan=None, **kwargs):
    if using == conf("DIRECTORY_ALIAS") and plan:
        drop_triggers(using)


@directory_only
def _tables_changed(using, **kwargs):
    if using == conf("DIRECTORY_ALIAS"):
        make_triggers(using)
