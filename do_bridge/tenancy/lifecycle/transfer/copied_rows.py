"""SQL that reads a file's row as a copy in a tenant's object, without its secrets."""

import re
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import models

from do_bridge.driver.sql import quote

#: Of a user a copy holds these, the name by which the user signs in, and the primary key.
COPIED = frozenset({"name", "first_name", "last_name", "date_joined"})
NO_PASSWORD = "!copy"  # noqa: S105 - a hash that no password has
_SECRET = re.compile(r"passw|secret|token|api_?key|private_?key|session|otp|salt|hash", re.IGNORECASE)


class Column(NamedTuple):
    """A column of a file's table.

    `field` is the field of the project's model for it, or None.
    """

    name: str
    kind: str
    is_required: bool
    is_key: bool
    is_unique: bool
    points: bool
    field: Any


def user_copy(columns):
    """Return {column: SQL} for a user's row.

    The copy has no password and no rights, and its user is not active yet.
    """
    kept = {get_user_model().USERNAME_FIELD, *COPIED}
    key = next((column.name for column in columns if column.is_key), "rowid")
    instead = {}
    for column in columns:
        name = column.field.name if column.field is not None else column.name
        if name == "password":
            instead[column.name] = f"'{NO_PASSWORD}'"
        elif not (column.is_key or name in kept or (column.points and column.is_required)):
            instead[column.name] = _blank(column, key)
    return instead


def blanked(columns):
    """Return {column: SQL} that blanks the secret columns of another shared model.

    A text column is secret if its name matches `_SECRET`.
    """
    key = next((column.name for column in columns if column.is_key), "rowid")
    secret = [column for column in columns if _SECRET.search(column.name) and _is_text(column)]
    return {column.name: _blank(column, key) for column in secret if not (column.is_key or column.points)}


def _is_text(column):
    return any(word in column.kind.upper() for word in ("CHAR", "TEXT", "CLOB", "BLOB")) or not column.kind


def _blank(column, key):
    """Return SQL for a meaningless value, which differs by row if it must."""
    if not column.is_required:
        return "NULL"
    if isinstance(column.field, models.UUIDField):
        return f"printf('%032x', {quote(key)})"
    if isinstance(column.field, models.JSONField):
        return "'{}'"
    if isinstance(column.field, models.DateTimeField):
        return "'1970-01-01 00:00:00'"
    if isinstance(column.field, models.DateField):
        return "'1970-01-01'"
    if isinstance(column.field, models.TimeField):
        return "'00:00:00'"
    if "BLOB" in column.kind.upper():
        return "x''"
    if _is_text(column):
        return f"'copy-' || {quote(key)}" if column.is_unique else "''"
    return quote(key) if column.is_unique else "0"
