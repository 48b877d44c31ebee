"""Refuse raw SQL on `django.db.connection` that uses tenants' tables.

`django.db.connection` is always the default alias, D1, which has empty tables of the same names. A statement
of its cursors that names a tenants' table is refused before it is sent. `connections[alias]` is not checked,
because it names its database, and Django itself uses it.
"""

from contextlib import contextmanager
from functools import lru_cache, partial

from django.db import DEFAULT_DB_ALIAS, connection

from do_bridge.driver.tables import tables_in
from do_bridge.patches import replace
from do_bridge.tenancy.context import TenantMismatch, current

from .mixing import mixed
from .statements import tenant_tables


def watch_raw_cursors():
    """Check the statements of all cursors of `django.db.connection`."""
    replace(connection, "__class__", partial(mixed, _WatchedConnection))


class _WatchedConnection:
    """A mixin for Django's proxy of the default connection.

    The proxy forwards only names that it does not have itself.
    """

    def cursor(self):
        return _watched(self.__getattr__("cursor")())

    def chunked_cursor(self):
        return _watched(self.__getattr__("chunked_cursor")())

    @contextmanager
    def temporary_connection(self):
        with self.__getattr__("temporary_connection")() as cursor:
            yield _watched(cursor)


def _watched(cursor):
    cursor.execute = partial(_run, cursor.execute)
    cursor.executemany = partial(_run, cursor.executemany)
    return cursor


def _run(run, sql, *args, **kwargs):
    scope = current()
    if scope.is_tenant and isinstance(sql, str) and (found := tables_in(sql) & _names(tenant_tables())):
        raise TenantMismatch(
            f"The statement reads or writes the tenants' table {min(found)!r} through django.db.connection, "
            f"which is always {DEFAULT_DB_ALIAS!r}, while tenant {scope.slug!r} is current. Use "
            f"connections[{scope.alias!r}].cursor() for the tenant's rows, or "
            f"connections[{DEFAULT_DB_ALIAS!r}].cursor() for those in the shared database."
        )
    return run(sql, *args, **kwargs)


@lru_cache(maxsize=16)
def _names(tables):
    """Return the tables' names as `tables_in` returns them.

    They are unquoted and in lower case.
    """
    return frozenset(table.strip('"').lower() for table in tables)
