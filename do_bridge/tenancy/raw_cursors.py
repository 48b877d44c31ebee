"""Keeps raw SQL that names no database from D1's empty namesakes of tenants' tables.

`django.db.connection` is the default alias for code that names none. Inside a tenant it stays that, and a
statement of its cursors that names a tenant's table is refused before it is sent. `connections[alias]`, which
names a database, is never looked at: that is what Django itself uses.
"""

from contextlib import contextmanager
from functools import partial

from django.db import DEFAULT_DB_ALIAS, connection, connections

from do_bridge.driver.tables import tables_in

from .context import TenantMismatch, current
from .namesakes import names_of_tenant_tables


def guard_raw_cursors():
    """Look at the statements of the cursors that `django.db.connection` gives."""
    # Django's proxy passes on to the connection only what it does not have itself.
    vars(connection).update(
        cursor=lambda: _watched(connections[DEFAULT_DB_ALIAS].cursor()),
        chunked_cursor=lambda: _watched(connections[DEFAULT_DB_ALIAS].chunked_cursor()),
        temporary_connection=_temporary_connection,
    )


@contextmanager
def _temporary_connection():
    with connections[DEFAULT_DB_ALIAS].temporary_connection() as cursor:
        yield _watched(cursor)


def _watched(cursor):
    cursor.execute = partial(_run, cursor.execute)
    cursor.executemany = partial(_run, cursor.executemany)
    return cursor


def _run(run, sql, *args, **kwargs):
    scope = current()
    if scope.is_tenant and isinstance(sql, str) and (found := tables_in(sql) & names_of_tenant_tables()):
        raise TenantMismatch(
            f"The statement names the tenants' table {min(found)!r}, but django.db.connection is "
            f"{DEFAULT_DB_ALIAS!r} while tenant {scope.slug!r} is current. Use "
            f"connections[{scope.alias!r}].cursor() for the tenant's rows, or "
            f"connections[{DEFAULT_DB_ALIAS!r}].cursor() for the shared database's own."
        )
    return run(sql, *args, **kwargs)
