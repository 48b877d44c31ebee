"""D1's triggers that note, in the very statement that changes a member, that a copy is out of step."""

from django.db import connections

from accounts.models import Membership, OutOfStep, Tenant, User
from do_bridge.tenancy.copies import run_batch

NAMES = ("membership_added", "membership_ended", "membership_moved", "member_changed", "tenant_ended")
NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def trigger_statements(connection, copied):
    """Return [(sql, params), …] that make the missing triggers; `copied`: names of User's fields."""
    quote = connection.ops.quote_name
    tables = {model: quote(model._meta.db_table) for model in (Membership, OutOfStep, Tenant, User)}
    membership, marks, tenant, user = (tables[model] for model in (Membership, OutOfStep, Tenant, User))
    columns = [quote(User._meta.get_field(name).column) for name in copied]
    changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns)
    mark = f"INSERT INTO {marks} (tenant_id, user_key, since) "
    added = f"{mark}VALUES (NEW.tenant_id, NEW.user_id, {NOW})"
    # A tenant that is deleted takes its memberships along; nobody waits for its copies any more.
    there = f"EXISTS (SELECT 1 FROM {tenant} WHERE id = OLD.tenant_id)"  # noqa: S608 - quoted names
    ended = f"{mark}SELECT OLD.tenant_id, OLD.user_id, {NOW} WHERE {there}"
    members = f"FROM {membership} WHERE user_id = NEW.id"
    everywhere = f"{mark}SELECT tenant_id, NEW.id, {NOW} {members}"
    bodies = {
        "membership_added": f"AFTER INSERT ON {membership} BEGIN {added}; END",
        "membership_ended": f"AFTER DELETE ON {membership} BEGIN {ended}; END",
        "membership_moved": (
            f"AFTER UPDATE OF user_id, tenant_id ON {membership} "
            "WHEN OLD.user_id IS NOT NEW.user_id OR OLD.tenant_id IS NOT NEW.tenant_id "
            f"BEGIN {ended}; {added}; END"
        ),
        "member_changed": (
            f"AFTER UPDATE OF {', '.join(columns)} ON {user} WHEN {changed} BEGIN {everywhere}; END"
        ),
        "tenant_ended": (
            f"AFTER DELETE ON {tenant} BEGIN DELETE FROM {marks} WHERE tenant_id = OLD.id; END"  # noqa: S608
        ),
    }
    return [(f"CREATE TRIGGER IF NOT EXISTS {_name(name)} {bodies[name]}", None) for name in NAMES]


def make_triggers(alias, copied):
    """Make the triggers in D1, where they are not there; one trip."""
    connection = connections[alias]
    run_batch(connection, trigger_statements(connection, copied))


def drop_triggers(alias):
    """Take the triggers away while tables change: SQLite renames no table that another's trigger names."""
    run_batch(connections[alias], [(f"DROP TRIGGER IF EXISTS {_name(name)}", None) for name in NAMES])


def are_there(alias):
    """Whether all triggers are in D1: a `migrate` that was cut off leaves them out until the next one."""
    (result,) = run_batch(
        connections[alias], [("SELECT name FROM sqlite_master WHERE type = 'trigger'", None)]
    )
    return {_name(name) for name in NAMES} <= {name for (name,) in result.rows}


def _name(name):
    return f"accounts_{name}"
