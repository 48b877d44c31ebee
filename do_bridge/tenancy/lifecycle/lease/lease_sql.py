"""The statements with which leases are taken in the ledger, for `leases`."""

import json

from django.apps import apps
from django.db import connections

from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.states import Operation, State
from do_bridge.tenancy.tenants import slug_column, tenant_model

CREATE = Operation.CREATE
NOW = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
EXPIRY = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)"
#: The present time by D1's clock, in milliseconds.
FENCE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def take_statement(rows, operation, seconds):
    """Return the statement that takes leases of (row, owner).

    Its result has a row (slug, fence) for each lease taken.
    """
    asked = json.dumps(
        [
            [row.slug, row.fence, row.state, row.operation == CREATE, owner, row.jurisdiction, row.location]
            for row, owner in rows
        ]
    )
    # A creation's lease may be taken over alive, because the caller has seen that the creation has ended.
    # As `look_statement` reads it: a lease without an end is not alive.
    free = f"s.operation = '' OR NOT coalesce(s.expires > {NOW}, false) OR s.operation = '{CREATE}'"
    is_as_seen = "value->>0 = s.slug AND value->>1 = s.fence"
    new = "value->>0, '', value->>2, value->>5, value->>6"
    sql = _taking(new, "value->>4", "true").format(
        also="",
        where=f"WHERE ({free}) AND EXISTS (SELECT 1 FROM json_each(%s) WHERE {is_as_seen} "  # noqa: S608
        f"AND (s.operation <> '{CREATE}' OR value->>3))",
    )
    return sql, [operation, f"+{seconds:.3f} seconds", ledger.version(), asked, asked]


def begin_statement(places, operation, owner, seconds, fingerprint):
    """Return the statement that takes leases of slugs that have no tenant.

    `places` are {slug: its Place}. It sets the state to "ready" in advance. The batch must first fail if such
    a lease is held. The statement's rows are (slug, fence).
    """
    _, tenants, key = names()
    new = f"value->>0, %s, '{State.READY}', value->>1, value->>2"
    sql = _taking(new, "%s", f"value->>0 NOT IN (SELECT {key} FROM {tenants})").format(  # noqa: S608
        also=", fingerprint = excluded.fingerprint, state = excluded.state", where=""
    )
    expiry = f"+{seconds:.3f} seconds"
    asked = json.dumps([[slug, place.jurisdiction, place.location] for slug, place in places.items()])
    return sql, [fingerprint, operation, owner, expiry, ledger.version(), asked]


def _taking(row, owner, condition):
    """Return the SQL that takes leases.

    `row` is the slug, fingerprint, state, jurisdiction and location of a new row.
    """
    states, _, _ = names()
    return (
        f"INSERT INTO {states} AS s (slug, fingerprint, state, jurisdiction, location, since, operation, "  # noqa: S608
        f"owner, expires, fence, emptied, version, error) SELECT {row}, {NOW}, %s, {owner}, {EXPIRY}, "
        f"{FENCE_NOW}, 0, %s, '' FROM json_each(%s) WHERE {condition} ON CONFLICT (slug) DO UPDATE SET "
        "operation = excluded.operation, owner = excluded.owner, expires = excluded.expires, "
        "fence = max(s.fence + 1, excluded.fence), "
        f"left_behind = {left_behind('s.', 'excluded.jurisdiction')}, "
        "jurisdiction = excluded.jurisdiction, location = excluded.location, "
        "since = excluded.since, version = excluded.version, error = ''{also} {where} RETURNING slug, fence"
    )


def left_behind(before, jurisdiction):
    """Return the SQL of a row's `left_behind` when the row gets another place.

    Only a row without a tenant gets another place. What an interrupted operation has left there must not be
    forgotten. `before` precedes the names of the row's columns.
    """
    return (
        f"CASE WHEN {before}jurisdiction <> {jurisdiction} AND ({before}state <> '{State.DELETED}' "
        f"OR {before}operation <> '') THEN {before}jurisdiction ELSE {before}left_behind END"
    )


def directory():
    """Return this thread's connection to D1."""
    return connections[conf("DIRECTORY_ALIAS")]


def names():
    """Return (the ledger's table, the tenants' table, the slug's column), quoted."""
    quote = directory().ops.quote_name
    tables = (apps.get_model("do_bridge", "TenantState"), tenant_model())
    return (
        *(quote(model._meta.db_table) for model in tables),
        quote(slug_column()),
    )
