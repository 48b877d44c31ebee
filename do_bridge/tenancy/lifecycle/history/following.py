"""Correct the ledger after D1 was taken back to a moment."""

import json

from do_bridge.tenancy import places
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.lease.lease_sql import FENCE_NOW, directory, names
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import lookup, registered_slugs


def read_tenants():
    """Return {slug: TenantState or None} of the registered tenants.

    Takes a few round trips to D1. Raises Django's database errors.
    """
    slugs = registered_slugs()
    states = ledger.states(slugs)
    return {slug: states.get(slug) for slug in slugs}


def moved_since(before, after):
    """Return the slugs of tenants that D1 has in a place that they have left.

    Both are results of `read_tenants`, from before and after the restore.
    """
    return [
        slug
        for slug, there in after.items()
        if there is not None and (here := before.get(slug)) and here.jurisdiction != there.jurisdiction
    ]


def made_again_since(before, after):
    """Return the slugs of tenants that were deleted and created again since.

    D1 has the row of the former tenant then.
    """
    return [
        slug
        for slug, there in after.items()
        if there is not None and (here := before.get(slug)) and here.emptied > there.emptied
    ]


def keep_places(before, after):
    """Write the places of tenants that moved since into D1 again; return their slugs.

    The objects are where they were before the restore. Without this, the next use would make an empty object
    in the old place. If that has happened already, the next move or deletion erases it. One round trip.
    """
    moved = moved_since(before, after)
    if not moved:
        return []
    states, tenants, key = names()
    rows = [(slug, before[slug], after[slug]) for slug in moved]
    values = [[slug, here.jurisdiction, here.location, _left(here, there)] for slug, here, there in rows]
    statements = [
        (
            f"UPDATE {states} AS s SET jurisdiction = value->>1, location = value->>2, "  # noqa: S608
            f"left_behind = value->>3, fence = max(s.fence + 1, {FENCE_NOW}) "
            "FROM json_each(%s) WHERE value->>0 = s.slug",
            [json.dumps(values)],
        )
    ]
    fields = zip(places.fields(), ("value->>1", "value->>2"), strict=True)
    quote = directory().ops.quote_name
    if pairs := [f"{quote(field.column)} = {value}" for field, value in fields if field is not None]:
        named = [[slug, here.jurisdiction or places.NONE, here.location] for slug, here, _ in rows]
        sql = f"UPDATE {tenants} SET {', '.join(pairs)} FROM json_each(%s) WHERE value->>0 = {tenants}.{key}"  # noqa: S608
        statements.append((sql, [json.dumps(named)]))
    run_batch(directory(), statements)
    for slug in moved:
        lookup.forget(slug)
    return moved


def _left(here, there):
    """Return the place to erase: one that a move had left before, or that of D1."""
    return there.jurisdiction if here.left_behind is None else here.left_behind
