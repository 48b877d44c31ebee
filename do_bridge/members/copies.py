"""Write copies of users into a tenant's Durable Object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections

from do_bridge.tenancy.replicated.sql import insert_statements, run_batch

from .shape import ACTIVE, copied_fields, is_text, unsaved_copy


def write_copies(users: Iterable[Any], alias: str, *, are_members: bool = True) -> Any:
    """Write copies of users into the database `alias`, in one atomic round trip.

    `users` are rows of D1. Pass `are_members=False` for staff and authors, who may or may not be members:
    then a new copy is inactive, and an existing copy keeps its `is_active`. Raises Django's database errors.
    """
    run_batch(connections[alias], statements(connections[alias], users, are_members=are_members))


def statements(connection, users, *, are_members=False):
    """Return [(sql, params), …] that create or update the copies of `users`."""
    copies = [unsaved_copy(user, is_member=are_members) for user in users]
    if not copies:
        return []
    fields = get_user_model()._meta.concrete_fields
    rows = [
        [field.get_db_prep_save(getattr(copy, field.attname), connection) for field in fields]
        for copy in copies
    ]
    names = [field.column for field in copied_fields() if are_members or field.name != ACTIVE]
    return [
        *free_names(connection, copies),
        *insert_statements(
            connection,
            get_user_model()._meta.db_table,
            [field.column for field in fields],
            rows,
            _on_conflict(connection, names),
        ),
    ]


def _on_conflict(connection, columns):
    model, quote = get_user_model(), connection.ops.quote_name
    table, key = quote(model._meta.db_table), quote(model._meta.pk.column)
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in columns)
    # An unchanged row is not written, because Cloudflare bills written rows.
    differs = " OR ".join(f"{table}.{quote(name)} IS NOT excluded.{quote(name)}" for name in columns)
    return f" ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE {differs}"


def free_names(connection, copies):
    """Return statements that rename other copies with the same unique texts.

    This happens if members swap names, or if a former member's copy holds a name that is now another user's.
    """
    unique = [field for field in copied_fields() if field.unique and is_text(field)]
    return [_free_name(connection, field, copies) for field in unique]


def _free_name(connection, field, copies):
    meta, quote = get_user_model()._meta, connection.ops.quote_name
    table, name, key = quote(meta.db_table), quote(field.column), quote(meta.pk.column)
    wanted = json.dumps(
        [[getattr(copy, field.attname), meta.pk.get_db_prep_value(copy.pk, connection)] for copy in copies]
    )
    # A user may have this very name. In that case a random suffix makes it unique.
    former = f"'former-' || {table}.{key}"
    taken = (
        f"EXISTS (SELECT 1 FROM {table} AS other WHERE other.{name} = {former}) "  # noqa: S608 - quoted names
        f"OR {former} IN (SELECT value->>0 FROM json_each(%s))"
    )
    sql = (
        f"UPDATE {table} SET {name} = {former} || "  # noqa: S608 - quoted names
        f"CASE WHEN {taken} THEN '-' || hex(randomblob(8)) ELSE '' END "
        f"WHERE {name} IN (SELECT value->>0 FROM json_each(%s)) "
        f"AND ({name}, {key}) NOT IN (SELECT value->>0, value->>1 FROM json_each(%s))"
    )
    return sql, (wanted, wanted, wanted)
