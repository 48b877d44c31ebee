"""What D1's directory and a tenant's object say of migrations, each read as it is at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from do_bridge import driver
from do_bridge.driver.places import join_place
from do_bridge.tenancy.lifecycle.fencing import KEY
from do_bridge.tenancy.lifecycle.states import Held, Row
from do_bridge.tenancy.schema import fingerprint

from .books import D1

#: The jurisdictions of the stand-in to which tenants are moved; the first one is none.
PLACES = ("", "eu", "us")
_INTERNAL = ("sqlite_", "_cf_", "__miniflare", "d1_migrations", "_do_bridge_")
_MIGRATIONS = ("0001_initial", "0002_length", "0003_callsign", "0004_harbour")
# The columns of the yard's tables after each number of its migrations.
_SCHEMAS: tuple[dict[str, set[str]], ...] = (
    {},
    {"yard_boat": {"id", "name"}, "yard_crew": {"id", "boat_id"}},
    {"yard_boat": {"id", "name", "length"}, "yard_crew": {"id", "boat_id"}},
    {"yard_boat": {"id", "name", "length", "callsign"}, "yard_crew": {"id", "boat_id"}},
    {
        "yard_boat": {"id", "name", "metres", "callsign"},
        "yard_crew": {"id", "boat_id"},
        "yard_harbour": {"id", "name"},
    },
)
_TABLES = """
SELECT json_group_array(json_array(m.name, (SELECT json_group_array(name) FROM pragma_table_info(m.name))))
FROM sqlite_master m WHERE m.type = 'table' AND m.name GLOB 'yard_*'
"""
_PROGRESS = "_do_bridge_migration_progress"
_DIRECTORY = f"""
SELECT (SELECT json_group_array(slug) FROM accounts_tenant),
  (SELECT json_group_array(json_array(slug, state, operation, owner, fence, emptied, fingerprint, error,
    jurisdiction, location, left_behind))
   FROM do_bridge_tenantstate WHERE slug NOT GLOB 'scratch/*'),
  (SELECT json_group_array(name) FROM django_migrations WHERE app = 'yard'),
  ({_TABLES}),
  (SELECT json_group_array(name) FROM {_PROGRESS} WHERE app = 'yard'),
  (SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'do_bridge_members_*')
"""

_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table'"
# What is read of an object, from those of these tables that it has.
_OF_AN_OBJECT = {
    fingerprint.META_TABLE: f"SELECT key, value FROM {fingerprint.META_TABLE}",  # noqa: S608
    "django_migrations": "SELECT app, name FROM django_migrations",
    "yard_boat": "SELECT * FROM yard_boat",
    "yard_crew": "SELECT id FROM yard_crew",
}

Columns = dict[str, set[str]]


@dataclass
class DirectoryState:
    """D1 at one moment: its tenants, the ledger, the yard's migrations and tables."""

    tenants: set[str] = field(default_factory=set)
    ledger: dict[str, Row] = field(default_factory=dict)
    applied: set[str] = field(default_factory=set)
    columns: Columns = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    triggers: int = 0
    damaged_boats: int = 0


@dataclass
class ObjectState:
    """A tenant's object at one moment."""

    names: set[str] = field(default_factory=set)
    fingerprint: str = ""
    fence: str = "0 "
    applied: set[tuple[str, str]] = field(default_factory=set)
    columns: Columns = field(default_factory=dict)
    damaged_boats: int = 0
    dangling: int = 0

    @property
    def is_loading(self) -> bool:
        """Whether there are tables, and no schema to use."""
        return bool(self.names) and not self.fingerprint

    @property
    def held(self) -> Held:
        """The object as the table of tenants' lives takes it."""
        number, _, owner = self.fence.partition(" ")
        return Held(bool(self.names), self.fingerprint, frozenset(self.applied), int(number), owner)

    @property
    def applied_to_yard(self) -> set[str]:
        """The names of the yard's migrations."""
        return {name for app, name in self.applied if app == "yard"}

    @property
    def fingerprint_of_applied(self) -> str:
        """What the fingerprint must be."""
        return fingerprint.of(self.applied)


def expected_columns(applied: set[str]) -> Columns | None:
    """Return the yard's tables after these migrations; None where one is recorded without those before it."""
    count = len(applied)
    return _SCHEMAS[count] if applied == set(_MIGRATIONS[:count]) else None


def holds_schema(columns: Columns, applied: set[str], unfinished: Set[str] = frozenset()) -> bool:
    """Say whether the tables are those of the migrations, or an unfinished one has brought its column."""
    expected = expected_columns(applied)
    if expected is None or columns == expected:
        return expected is not None
    if unfinished == {"0003_callsign"} and len(applied) == 2:
        return columns == _SCHEMAS[3]
    return False


def read_directory(transport: driver.Transport) -> DirectoryState:
    """Read D1 in one statement."""
    with driver.connect(transport, D1) as connection:
        row = connection.execute(_DIRECTORY).fetchone()
        tenants = set(json.loads(row[0]))
        state = DirectoryState(
            tenants=tenants,
            ledger={
                slug: Row(slug, *rest, is_registered=slug in tenants) for slug, *rest in json.loads(row[1])
            },
            applied=set(json.loads(row[2])),
            columns=_columns(row[3]),
            unfinished=set(json.loads(row[4])),
            triggers=row[5],
        )
        if "yard_boat" in state.columns:
            state.damaged_boats = _damaged_in_d1(connection)
    return state


def _damaged_in_d1(connection: driver.Connection) -> int:
    """Return as `_damaged` does, or 0 where a migration is at work."""
    names = ("callsign", "length", "metres")
    # A name that is no column is a text to SQLite where it stands in double quotes.
    sql = (
        "SELECT json_group_array(json_array(name, %s)), (SELECT count(*) FROM yard_crew), "
        f"(SELECT count(*) FROM {_PROGRESS}) FROM yard_boat"
    ) % ", ".join(f'"{name}"' for name in names)
    try:
        boats, crews, unfinished = connection.execute(sql).fetchone()
    except driver.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return 0
    read = [dict(zip(("name", *names), row, strict=True)) for row in json.loads(boats)]
    whole = [{key: value for key, value in boat.items() if key != value} for boat in read]
    return _damaged(whole, crews, bool(unfinished))


def tables_in(transport: driver.Transport, slug: str, place: str) -> set[str]:
    """Return the tables of a tenant's object in a jurisdiction, empty for none."""
    with driver.connect(transport, join_place(f"do:tenant/{slug}", place)) as connection:
        return _own_names(connection.execute(_NAMES).fetchall())


def read_object(transport: driver.Transport, slug: str, place: str = "") -> ObjectState:
    """Read a tenant's object in a jurisdiction as it is at one moment."""
    with driver.connect(transport, join_place(f"do:tenant/{slug}", place)) as connection:
        try:
            # Most have every table: one trip.
            return _object_state(connection.execute_batch(_reads(_OF_AN_OBJECT)), _OF_AN_OBJECT)
        except driver.OperationalError as error:
            if "no such table" not in str(error):
                raise
        connection.begin()
        names = {name for (name,) in connection.execute(_NAMES).fetchall()}
        there = [name for name in _OF_AN_OBJECT if name in names]
        results = connection.execute_batch(_reads(there))
        connection.rollback()
    return _object_state(results, there)


def _reads(tables: Iterable[str]) -> list[tuple[str, None]]:
    sqls = [_NAMES, "PRAGMA foreign_key_check", _TABLES, *(_OF_AN_OBJECT[name] for name in tables)]
    return [(sql, None) for sql in sqls]


def _object_state(results: Sequence[driver.Result], tables: Iterable[str]) -> ObjectState:
    found, keys, columns, *rest = results
    of = dict(zip(tables, rest, strict=True))
    rows = {name: result.rows for name, result in of.items()}
    state = ObjectState(_own_names(found.rows), dangling=len(keys.rows), columns=_columns(columns.rows[0][0]))
    notes = dict(rows.get(fingerprint.META_TABLE, ()))
    state.fingerprint, state.fence = notes.get("schema", ""), notes.get(KEY, "0 ")
    state.applied = {(app, name) for app, name in rows.get("django_migrations", ())}
    if "yard_boat" in of and not state.is_loading:
        boats = [dict(zip(of["yard_boat"].columns, row, strict=True)) for row in rows["yard_boat"]]
        state.damaged_boats = _damaged(boats, len(rows.get("yard_crew", ())))
    return state


def _own_names(found: Iterable[Sequence[str]]) -> set[str]:
    return {name for (name,) in found if not name.startswith(_INTERNAL)}


def _columns(text: str) -> Columns:
    return {name: set(columns) for name, columns in json.loads(text)}


def _damaged(boats: list[dict[str, Any]], crews: int, unfinished: bool = False) -> int:
    """Return how many of the three boats, or of their crews, are gone or have lost a value."""
    wrong = sum(not _is_whole(boat, unfinished) for boat in boats)
    return wrong + abs(3 - len(boats)) + abs(3 - crews)


def _is_whole(boat: dict[str, Any], unfinished: bool) -> bool:
    name = boat["name"]
    if "callsign" in boat and not unfinished and boat["callsign"] != name.upper():
        return False
    return name in ("ann", "bea", "cid") and boat.get("length", boat.get("metres", 7)) == 7
