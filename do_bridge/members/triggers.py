"""The triggers in D1 that set a dirty flag when a member changes."""

from django.contrib.auth import get_user_model
from django.db import connections

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import slug_column, tenant_model

from .models import DirtyFlag
from .shape import DIRECTORY, copied_fields, membership_model, tenant_link, user_link

_PREFIX = "do_bridge_members_"
NAMES = tuple(f"{_PREFIX}{name}" for name in ("added", "ended", "moved", "changed", "tenant_ended"))
NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
EVERYBODY = ""  # the user's key in a flag that stands for all members


def definitions(connection):
    """Return {name: SQL of the trigger}, as sqlite_master stores it."""
    quote = connection.ops.quote_name
    membership, flags, tenants, users = (
        quote(model._meta.db_table)
        for model in (membership_model(), DirtyFlag, tenant_model(), get_user_model())
    )
    slug = quote(slug_column())
    user, tenant = quote(user_link().column), quote(tenant_link().column)
    user_pk, tenant_pk = (quote(model._meta.pk.column) for model in (get_user_model(), tenant_model()))
    columns = [quote(field.column) for field in copied_fields()]
    changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns)
    insert = f"INSERT INTO {flags} (slug, user_key, since) "

    # Without the tenant's row no flag is set: deleting a tenant also deletes its memberships.
    def flag(row):
        return (
            f"{insert}SELECT {slug}, CAST({row}.{user} AS TEXT), {NOW} FROM {tenants} "  # noqa: S608 - quoted
            f"WHERE {tenant_pk} = {row}.{tenant}"
        )

    everywhere = (
        f"{insert}SELECT {tenants}.{slug}, CAST(NEW.{user_pk} AS TEXT), {NOW} FROM {membership} "  # noqa: S608
        f"JOIN {tenants} ON {tenants}.{tenant_pk} = {membership}.{tenant} "
        f"WHERE {membership}.{user} = NEW.{user_pk}"
    )
    bodies = (
        f"AFTER INSERT ON {membership} BEGIN {flag('NEW')}; END",
        f"AFTER DELETE ON {membership} BEGIN {flag('OLD')}; END",
        f"AFTER UPDATE OF {user}, {tenant} ON {membership} "
        f"WHEN OLD.{user} IS NOT NEW.{user} OR OLD.{tenant} IS NOT NEW.{tenant} "
        f"BEGIN {flag('OLD')}; {flag('NEW')}; END",
        f"AFTER UPDATE OF {', '.join(columns)} ON {users} WHEN {changed} BEGIN {everywhere}; END",
        f"AFTER DELETE ON {tenants} BEGIN DELETE FROM {flags} WHERE slug = OLD.{slug}; END",  # noqa: S608
    )
    return {name: f"CREATE TRIGGER {name} {body}" for name, body in zip(NAMES, bodies, strict=True)}


def make_triggers(*, flag_all=False):
    """Create or replace the triggers in D1, in one round trip.

    With `flag_all` the same batch flags all members of all tenants, because earlier changes set no flags.
    """
    connection = connections[conf(DIRECTORY)]
    made = [(sql, None) for sql in definitions(connection).values()]
    run_batch(connection, [*_drops(), *made, *([flag_statement()] if flag_all else [])])


def flag_statement(slug=None):
    """Return the statement that flags all members of a tenant, or of all tenants."""
    quote = connections[conf(DIRECTORY)].ops.quote_name
    flags, tenants = (quote(model._meta.db_table) for model in (DirtyFlag, tenant_model()))
    column, now = quote(slug_column()), NOW.replace("%", "%%")
    sql = f"INSERT INTO {flags} (slug, user_key, since) SELECT {column}, %s, {now} FROM {tenants}"  # noqa: S608
    return (sql, [EVERYBODY]) if slug is None else (f"{sql} WHERE {column} = %s", [EVERYBODY, slug])


def drop_triggers():
    """Drop the triggers before a migration.

    SQLite can't rename a table that a trigger of another table names.
    """
    run_batch(connections[conf(DIRECTORY)], _drops())


def _drops():
    return [(f"DROP TRIGGER IF EXISTS {name}", None) for name in NAMES]


def are_there():
    """Return whether D1 has all triggers for the fields that are copied now.

    They are missing after an interrupted `migrate`, until the next one.
    """
    connection = connections[conf(DIRECTORY)]
    (result,) = run_batch(connection, [("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'", None)])
    return definitions(connection).items() <= dict(result.rows).items()
