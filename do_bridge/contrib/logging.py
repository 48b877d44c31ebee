"""Log records that say which tenant they are about, and a hook that traces every statement."""

import logging
from functools import partial

from django.db import connections
from django.db.backends.signals import connection_created

from do_bridge import driver
from do_bridge.tenancy.context import current
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import alias_slug

#: One record, DEBUG, for each request to D1 or to an object; see `log_call` for what it carries.
logger = logging.getLogger("do_bridge.queries")
NONE = "-"


class TenantFilter(logging.Filter):
    """Gives every record `tenant` and `alias`, "-" where there is none, for use in a formatter.

    A record that knows its alias, as those of `django.db.backends` do, tells that one's tenant; any other the
    current tenant. Lets every record through.
    """

    def filter(self, record):
        if getattr(record, "alias", None) is None:
            scope = current()
            record.alias = scope.alias or NONE
        if getattr(record, "tenant", None) is None:
            record.tenant = alias_slug(record.alias) or NONE
        return True


def log_call(alias, call):
    """Log one request of the driver: `extra` has tenant, alias, operation, statements, duration (seconds),
    rows_returned, rows_changed (without those of triggers and cascades), rows_read and rows_written (the
    runtime's counters, None where it tells none: `do_bridge.driver.calls.Call` says when) and error, a
    class's name or None.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        return
    outcome = call.error or f"{call.rows} rows returned, {call.changed} changed"
    if call.rows_read is not None:
        outcome += f"; {call.rows_read} read, {call.rows_written} written"
    logger.debug(
        "(%.3f) %s: %s of %d; %s",
        call.duration,
        alias,
        call.operation,
        call.statements,
        outcome,
        extra={
            "tenant": alias_slug(alias) or NONE,
            "alias": alias,
            "operation": call.operation,
            "statements": call.statements,
            "duration": call.duration,
            "rows_returned": call.rows,
            "rows_changed": call.changed,
            "rows_read": call.rows_read,
            "rows_written": call.rows_written,
            "error": call.error,
        },
    )


def _watch(sender, connection, **kwargs):
    if isinstance(connection.connection, driver.Connection):
        connection.connection.on_call = partial(log_call, connection.alias)
        connection.connection.metered = partial(logger.isEnabledFor, logging.DEBUG)


def watch_calls():
    """Let every connection of this package's engines log its requests to `do_bridge.queries`."""
    connection_created.connect(_watch, dispatch_uid="do_bridge.log_calls")


def trace(wrapper):
    """Install an `execute_wrapper` on every connection, tenants' too, opened from now on; return its undoing.

    `wrapper(execute, sql, params, many, context)` is Django's; `context["connection"].alias` tells the
    database, `alias_slug()` its tenant. Connections that this thread has open get it at once.
    """

    def install(sender, connection, **kwargs):
        if wrapper not in connection.execute_wrappers:
            connection.execute_wrappers.append(wrapper)

    def undo():
        connection_created.disconnect(install)
        for connection in _open():
            if wrapper in connection.execute_wrappers:
                connection.execute_wrappers.remove(wrapper)

    # Not weakly: nobody else holds the function.
    connection_created.connect(install, weak=False)
    for connection in _open():
        install(None, connection)
    return undo


def _open():
    """Return this thread's connections, those to tenants too, which no list of databases shows in tests."""
    databases = tenant_databases()
    tenants = [] if databases is None else databases.live_aliases()
    known = {connection.alias: connection for connection in connections.all(initialized_only=True)}
    return list({**known, **{alias: connections[alias] for alias in tenants}}.values())
