"""Keeps tenants' rows in D1 for as long as their Durable Objects hold something.

A row that goes alone would leave an object that the next tenant of the slug reads. So `tenant_delete` alone
removes the row of a tenant that was ever used: a signal refuses the ORM before it deletes anything, and D1's
own triggers refuse everything else.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.db import connections
from django.db.models import ProtectedError
from django.db.models.signals import post_migrate, pre_delete, pre_migrate

from . import ledger
from .conf import conf
from .copies import run_batch
from .directory import tenant_model
from .replay import directory_only

#: How all messages of the refusals begin.
KEPT = "The row of tenant "
DELETED, RENAMED = "do_bridge_tenant_deleted", "do_bridge_tenant_renamed"

_may_go: ContextVar[bool] = ContextVar("do_bridge_row_may_go", default=False)


class TenantKept(ProtectedError):
    """A tenant's row was to be deleted without the tenant's Durable Object; nothing was done."""

    def __str__(self):
        return self.args[0]


def is_kept(error):
    """Say whether an error is a refusal of this module, by its signal or by D1's triggers."""
    return isinstance(error, TenantKept) or KEPT in str(error)


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
    own = apps.get_app_config("do_bridge")
    pre_migrate.connect(_tables_change, sender=own, dispatch_uid="do_bridge.triggers_dropped")
    post_migrate.connect(_tables_changed, sender=own, dispatch_uid="do_bridge.triggers_made")


def _refuse(sender, instance, using, **kwargs):
    if using != conf("DIRECTORY_ALIAS") or _may_go.get() or not ledger.claims(instance.slug).exists():
        return
    raise TenantKept(
        f"{KEPT}{instance.slug!r} is not deleted: its database would stay behind. "
        f"Delete both with `manage.py tenant_delete {instance.slug}`.",
        {instance},
    )


def trigger_statements(connection):
    """Return [(sql, params), …] that make the missing triggers in D1."""
    quote = connection.ops.quote_name
    tenants, slug = quote(tenant_model()._meta.db_table), quote("slug")
    states = quote(apps.get_model("do_bridge", "TenantState")._meta.db_table)
    # As `ledger.claims` says. A deletion notes that the object is empty in the batch that removes the row.
    claimed = (
        f"EXISTS (SELECT 1 FROM {states} WHERE slug = OLD.{slug} AND state <> '{ledger.DELETED}' "  # noqa: S608
        f"AND NOT (state = '{ledger.FAILED}' AND error GLOB '{ledger.UNCLAIMED}*'))"
    )
    start = f"SELECT RAISE(ABORT, '{KEPT}''' || OLD.{slug} || ''' "
    deleted = "is not deleted: its database would stay behind. Delete both with `manage.py tenant_delete "
    renamed = "keeps its slug, which names its database. Copy it with `manage.py tenant_copy "
    return [
        (
            f"CREATE TRIGGER IF NOT EXISTS {DELETED} BEFORE DELETE ON {tenants} WHEN {claimed} "
            f"BEGIN {start}{deleted}' || OLD.{slug} || '`.'); END",
            None,
        ),
        (
            f"CREATE TRIGGER IF NOT EXISTS {RENAMED} BEFORE UPDATE OF {slug} ON {tenants} "
            f"WHEN OLD.{slug} IS NOT NEW.{slug} AND {claimed} BEGIN {start}{renamed}' || OLD.{slug} "
            f"|| ' ' || NEW.{slug} || '`, then delete it with `manage.py tenant_delete ' || OLD.{slug} "
            "|| '`.'); END",
            None,
        ),
    ]


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
    names = (DELETED, RENAMED)
    run_batch(connections[alias], [(f"DROP TRIGGER IF EXISTS {name}", None) for name in names])


@directory_only
def _tables_change(using, plan=None, **kwargs):
    if using == conf("DIRECTORY_ALIAS") and plan:
        drop_triggers(using)


@directory_only
def _tables_changed(using, **kwargs):
    if using == conf("DIRECTORY_ALIAS"):
        make_triggers(using)
