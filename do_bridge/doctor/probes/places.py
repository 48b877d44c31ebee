"""Probes of where objects are: jurisdictions and location hints."""

from __future__ import annotations

import contextlib
from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import OBJECT, Group, Measured, Probe, Skip, Wrong, expect
from do_bridge.driver import Error, NotSupportedError

PROBES: list[Probe] = []
_group = Group("Where objects are", PROBES)

_LEASE: Final = 2.0
_PLACES: Final = "https://developers.cloudflare.com/durable-objects/reference/data-location/"


@_group.probe(
    "jurisdiction",
    on=OBJECT,
    fact="The runtime reports for an object the jurisdiction that its name carries, or none.",
    why='Otherwise data would be kept outside the jurisdiction that `OPTIONS["jurisdiction"]` names.',
    fix=f"Store nothing yet. Compare RELAY_JURISDICTION with {_PLACES} and report this.",
)
def jurisdiction(database: Database) -> Measured:
    expect(database.reported_jurisdiction(), database.jurisdiction, "the object's jurisdiction")
    return {"jurisdiction": database.jurisdiction or "none"}


@_group.probe(
    "jurisdictions-apart",
    on=OBJECT,
    fact="A name in another jurisdiction is another object, which reports that jurisdiction.",
    why="Otherwise two tenants' objects would be one, or a tenant would be moved without its data.",
    fix="Move no tenant to another jurisdiction, and report this.",
    local={OBJECT: "the local runtime has no jurisdictions, so this cannot be tried here"},
)
def jurisdictions_apart(database: Database) -> None:
    if database.served:
        raise Skip(f"the relay serves the jurisdiction {database.served} alone, so no other can be tried")
    where = "eu" if database.jurisdiction is None else None
    own, other = database.apart(lease=_LEASE), database.placed_in(where, lease=_LEASE)
    try:
        expect(other.reported_jurisdiction(), where, "the jurisdiction of the other object")
        _expect_apart(own, other)
        _expect_apart(other, own)
    except NotSupportedError as error:
        raise Wrong(str(error)) from error
    finally:
        with contextlib.suppress(Error):
            # It has no table, and an object without one may be billed for a page.
            other.connection.erase()


def _expect_apart(one: Database, other: Database) -> None:
    """Raise Wrong if a table of one object is seen in the other; it is rolled back."""
    table = one.table("apart")
    count = f"SELECT count(*) AS n FROM sqlite_master WHERE name = '{table}'"  # noqa: S608
    one.connection.begin()
    try:
        one.batch(f"CREATE TABLE {table} (a)")
        expect(one.value(count), 1, "the number of its tables in an object")
        expect(other.value(count), 0, "the number of its tables in the other object")
        # If both were one object, that would have waited until the transaction was over.
        expect(one.value(count), 1, "the number of its tables in an object")
    finally:
        one.connection.rollback()


@_group.probe(
    "jurisdiction-alone",
    on=OBJECT,
    fact="A relay that was deployed for one jurisdiction refuses every other object.",
    why="Otherwise a wrong setting of Django would keep data outside the jurisdiction.",
    fix="Run `manage.py relay deploy` with the same RELAY_JURISDICTION.",
)
def jurisdiction_alone(database: Database) -> None:
    if not database.served:
        raise Skip("the relay serves every jurisdiction")
    for where in (None, "us" if database.served == "eu" else "eu"):
        other = database.placed_in(where)
        expect(other.refusal("SELECT 1").kind, "forbidden", f"the kind of the refusal for {other.name}")


@_group.probe(
    "location-hint",
    on=OBJECT,
    fact="A new object is created with a location hint and answers.",
    why="A tenant's `location` goes with the call that creates its object. A refused hint would fail that.",
    fix=f"Leave the location of new tenants empty. Compare it with {_PLACES} and report this.",
)
def location_hint(database: Database) -> None:
    hint = "weur" if database.jurisdiction == "eu" else "enam"
    new = database.placed_in(database.jurisdiction, "/hint", location=hint)
    expect(new.value("SELECT 1 AS a"), 1, "SELECT 1")
