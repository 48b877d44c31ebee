"""Log records with the tenant, and a hook for tracing statements."""

from __future__ import annotations

import logging
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from do_bridge.driver.calls import observe
from do_bridge.tenancy.context import current
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.slugs import alias_slug

#: Logs one DEBUG record for each request to D1 or to a Durable Object; `log_call` describes its fields.
logger = logging.getLogger("do_bridge.queries")
NONE = "-"


class TenantFilter(logging.Filter):
    """Set `tenant` and `alias` on each record, for use in a formatter.

    "-" stands for none. If a record already has an alias, as those of `django.db.backends` have, `tenant` is
    that alias's tenant. Otherwise it is the current tenant. No record is dropped.
    """

    def filter(self, record: Any) -> bool:
        if getattr(record, "alias", None) is None:
            scope = current()
            record.alias = scope.alias or NONE
        if getattr(record, "tenant", None) is None:
            record.tenant = alias_slug(record.alias) or NONE
        return True


def log_call(call: Any) -> Any:
    """Log one request of the driver, a `do_bridge.driver.calls.Call`.

    The record has the attributes tenant, alias, operation, statements, duration (seconds), rows_returned,
    rows_changed (without triggers and cascades), rows_read and rows_written (the runtime's counters, or None
    if it returns none), replica (whether a read replica of D1 has answered, or None if that is unknown),
    region (where, or None) and error (the name of a class, or None).
    """
    if not logger.isEnabledFor(logging.DEBUG):
        return
    outcome = call.error or f"{call.rows} rows returned, {call.changed} changed"
    if call.rows_read is not None:
        outcome += f"; {call.rows_read} read, {call.rows_written} written"
    if call.replica:
        outcome += f"; by a replica ({call.region or 'region unknown'})"
    logger.debug(
        "(%.3f) %s: %s of %d; %s",
        call.duration,
        call.name,
        call.operation,
        call.statements,
        outcome,
        extra={
            "tenant": alias_slug(call.name) or NONE,
            "alias": call.name,
            "operation": call.operation,
            "statements": call.statements,
            "duration": call.duration,
            "rows_returned": call.rows,
            "rows_changed": call.changed,
            "rows_read": call.rows_read,
            "rows_written": call.rows_written,
            "replica": call.replica,
            "region": call.region,
            "error": call.error,
        },
    )


def watch_calls() -> Any:
    """Let the driver's connections log their requests.

    The logger is `do_bridge.queries`.
    """
    observe(log_call, _is_enabled)


def _is_enabled():
    return logger.isEnabledFor(logging.DEBUG)


def trace(wrapper: Any) -> Any:
    """Install an execute wrapper on all connections; return a function to undo it.

    `wrapper(execute, sql, params, many, context)` has Django's signature. `context["connection"].alias` is
    the database, and `alias_slug()` returns its tenant. The wrapper applies to connections that this thread
    has open and to all that are opened later, those of tenants included.
    """

    def install(sender, connection, **kwargs):
        if wrapper not in connection.execute_wrappers:
            connection.execute_wrappers.append(wrapper)

    def undo():
        connection_created.disconnect(install)
        for connection in _open():
            if wrapper in connection.execute_wrappers:
                connection.execute_wrappers.remove(wrapper)

    # A strong reference, because nothing else refers to the function.
    connection_created.connect(install, weak=False)
    for connection in _open():
        install(None, connection)
    return undo


def _open():
    """Return this thread's connections, those to tenants included.

    In tests `connections` does not list them.
    """
    databases = tenant_databases()
    tenants = [] if databases is None else databases.live_aliases()
    known = {connection.alias: connection for connection in connections.all(initialized_only=True)}
    return list({**known, **{alias: connections[alias] for alias in tenants}}.values())
