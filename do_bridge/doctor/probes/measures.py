"""Measured values: times, sizes, clocks, and the counters that Cloudflare bills."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import D1, EVERY, OBJECT, Group, Measured, Probe, Wrong, expect
from do_bridge.driver.calls import Call

PROBES: list[Probe] = []
_group = Group("Measured", PROBES)

_REPEATED: Final = 9
_LARGEST_DIFFERENCE: Final = 30.0


def _medians_ms(*calls: Callable[[], object]) -> list[float]:
    """Return each call's median time in milliseconds.

    The calls take turns, so that a slow moment affects all of them.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(_REPEATED):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [round(statistics.median(taken) * 1000, 2) for taken in times]


@_group.probe(
    "round-trip",
    on=EVERY,
    fact="The median time of `SELECT 1`, without the first one.",
    why="Each statement of a page takes one round trip: 6 statements at 20 ms are 120 ms.",
    fix="Run Django near the database, as https://do-bridge.readthedocs.io/en/latest/howto/host-django.html "
    "explains.",
)
def round_trip(database: Database) -> Measured:
    def call() -> None:
        expect(database.value("SELECT 1 AS a"), 1, "SELECT 1")

    return {"round trip (ms)": _medians_ms(call)[0]}


@_group.probe(
    "reads-together",
    on=OBJECT,
    fact="The median time of one read, of two reads in a request, and of a read beside an empty write.",
    why="Only the last needs a savepoint. For the runtime that is a write, which may wait for replication.",
    fix="If two reads take longer than one by more than a few milliseconds, report the numbers.",
)
def reads_together(database: Database) -> Measured:
    table = database.table("together")
    database.batch(f"CREATE TABLE {table} (a)")

    def alone() -> None:
        expect(database.value("SELECT 1 AS a"), 1, "SELECT 1")

    def two() -> None:
        found = [entry.rows for entry in database.batch("SELECT 1 AS a", "SELECT 2 AS a")]
        expect(found, [[(1,)], [(2,)]], "both reads")

    def beside_a_write() -> None:
        found = database.batch("SELECT 1 AS a", f"DELETE FROM {table} WHERE 0")
        expect(found[0].rows, [(1,)], "the read")

    one, both, written = _medians_ms(alone, two, beside_a_write)
    database.batch(f"DROP TABLE {table}")
    return {"read alone (ms)": one, "two reads (ms)": both, "read in a savepoint (ms)": written}


@_group.probe(
    "reading-transaction",
    on=OBJECT,
    fact="The median time of a transaction with one read, and of one with an empty write.",
    why="A transaction that only reads opens none in the runtime, where its end may wait for replication.",
    fix="If the first is not faster on the live platform, report both numbers.",
)
def reading_transaction(database: Database) -> Measured:
    other = database.another()
    table = other.table("reading")
    other.batch(
        f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} (a)", f"INSERT INTO {table} VALUES (1)"
    )

    def reads() -> None:
        other.connection.begin()
        expect(other.value(f"SELECT a FROM {table}"), 1, "a read in a transaction")
        other.connection.commit()

    def writes() -> None:
        other.connection.begin()
        other.connection.execute(f"DELETE FROM {table} WHERE 0")
        other.connection.commit()

    read, written = _medians_ms(reads, writes)
    other.batch(f"DROP TABLE {table}")
    return {"transaction that reads (ms)": read, "transaction that writes nothing (ms)": written}


@_group.probe(
    "transaction-time",
    on=OBJECT,
    fact="The median time of a statement inside an open transaction.",
    why="A block of atomic() holds its tenant for this time, multiplied by its statements.",
    fix="Run Django near the database, and use bulk operations in blocks.",
)
def transaction_time(database: Database) -> Measured:
    other = database.another()
    other.connection.begin()

    def call() -> None:
        expect(other.value("SELECT 1 AS a"), 1, "SELECT 1")

    measured = _medians_ms(call)[0]
    other.connection.rollback()
    return {"statement in a transaction (ms)": measured}


@_group.probe(
    "clock",
    on=EVERY,
    fact=f"The database's clock and this machine's differ by less than {_LARGEST_DIFFERENCE:g} s.",
    why="Leases of tenants, expiry of sessions and `Now()` compare times of both.",
    fix="Synchronise this machine's clock (NTP).",
)
def clock(database: Database) -> Measured:
    before = time.time()
    theirs = database.value("SELECT unixepoch('subsec') AS t")
    after = time.time()
    difference = float(theirs) - (before + after) / 2
    if abs(difference) > _LARGEST_DIFFERENCE + (after - before):
        raise Wrong(f"the clocks differ by {difference:.0f} s")
    return {"clock difference (s)": round(difference, 3), "uncertain by (s)": round((after - before) / 2, 3)}


@_group.probe(
    "size",
    on=(OBJECT, D1),
    fact="The relay reports how many bytes a database takes.",
    why="The list of databases and `tenant_load` show it.",
    fix="Run `manage.py relay deploy`.",
)
def size(database: Database) -> Measured:
    found = database.connection.size()
    if found < 1:
        raise Wrong(f"the reported size is {found}")
    return {"size (bytes)": found}


@_group.probe(
    "erase",
    on=OBJECT,
    fact="An object is erased with its tables, unless a newer lease has written to it.",
    why="A deleted tenant's data and storage go with it, and Cloudflare bills no more of it.",
    fix="Run `manage.py relay deploy`.",
)
def erase(database: Database) -> Measured:
    # An object of its own: one that was erased answers "unknown" to questions about its keys.
    other = database.placed_in(database.jurisdiction, "/erased")
    other.batch(
        "CREATE TABLE IF NOT EXISTS _do_bridge_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "INSERT OR REPLACE INTO _do_bridge_meta (key, value) VALUES ('fence', '2 doctor')",
    )
    expect(other.connection.erase(1), False, "whether an older lease erases it")
    expect(other.connection.erase(2), True, "whether its own lease erases it")
    left = other.value("SELECT count(*) FROM sqlite_master WHERE name = '_do_bridge_meta'")
    expect(left, 0, "the tables afterwards")
    return {"erased (bytes)": other.connection.size()}


@_group.probe(
    "billed-rows",
    on=(OBJECT, D1),
    fact="The runtime reports how many rows a write has read and written.",
    why="The SQL page and the table of costs show them.",
    fix="Report this, because https://do-bridge.readthedocs.io/en/latest/explanation/costs.html "
    "counts differently.",
)
def billed_rows(database: Database) -> Measured:
    table = database.table("rows")
    calls: list[Call] = []
    metered = database.another()
    metered.connection.metered, metered.connection.on_call = lambda: True, calls.append
    metered.batch(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT UNIQUE)",
        f"INSERT INTO {table} (a) VALUES ('x'), ('y')",
        f"DROP TABLE {table}",
    )
    written = calls[-1].rows_written
    if written is None or written < 4:
        raise Wrong(f"{written} rows written are reported for 2 rows with an index")
    return {"rows read": calls[-1].rows_read, "rows written": written}
