"""Probes of optimistic transactions on D1, through the production driver."""

from __future__ import annotations

from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import D1, REST, Group, Measured, Probe, Wrong, expect
from do_bridge.driver import Error, TransactionConflict
from do_bridge.driver.speculation.carrying import LARGEST

PROBES: list[Probe] = []
_group = Group("Optimistic transactions on D1", PROBES)

_STOP = "Set OPTIONS['transactions'] to 'none' (D1_TRANSACTIONS=none), and report this."

#: Sizes of a value, in characters: each travels as twice as many. Six values of the second size need several
#: messages, and one of the last size fills a message.
_SIZES: Final = (1_000, 100_000, LARGEST // 2 - 1_000)
_ROWS: Final = 6


@_group.probe(
    "optimistic-block",
    on=(D1, REST),
    fact="A block sees its own rows, leaves nothing after a rollback, and writes all of it at the commit.",
    why="This is what atomic() promises with OPTIONS['transactions'] = 'optimistic'.",
    fix=_STOP,
)
def optimistic_block(database: Database) -> None:
    table = database.table("block")
    rows = [(1, "one"), (2, 2.0), (3, None)]
    database.batch(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a)")
    connection = database.another(optimistic=True).connection
    for end, stays in ((connection.rollback, []), (connection.commit, rows)):
        connection.begin()
        connection.execute(f"SELECT count(*) AS n FROM {table}")
        connection.execute(f"INSERT INTO {table} (a) VALUES (%s), (%s)", ["one", 2.0])
        returned = connection.execute(f"INSERT INTO {table} (a) VALUES (%s) RETURNING id", [None]).fetchall()
        expect(returned, [(3,)], "the key that RETURNING gives inside the block")
        found = connection.execute(f"SELECT id, a FROM {table} ORDER BY id").fetchall()
        expect(found, rows, "the rows inside the block")
        end()
        expect(database.rows(f"SELECT id, a FROM {table} ORDER BY id"), stays, "the rows after it")
    database.batch(f"DROP TABLE {table}")


@_group.probe(
    "optimistic-conflict",
    on=(D1, REST),
    fact="A block whose read another write has changed is refused, and nothing of it is written.",
    why="Without the refusal an update would be lost.",
    fix=_STOP,
)
def optimistic_conflict(database: Database) -> None:
    table = database.table("conflict")
    database.batch(f"CREATE TABLE {table} (a)", f"INSERT INTO {table} VALUES (1)")
    connection = database.another(optimistic=True).connection
    connection.begin()
    connection.execute(f"INSERT INTO {table} VALUES (10)")
    connection.execute(f"SELECT a FROM {table} WHERE a < 10")
    database.batch(f"UPDATE {table} SET a = 2 WHERE a = 1")
    try:
        connection.commit()
    except TransactionConflict:
        connection.rollback()
    else:
        raise Wrong("a block was committed although what it had read was changed")
    expect(database.rows(f"SELECT a FROM {table}"), [(2,)], "the rows after the refusal")
    database.batch(f"DROP TABLE {table}")


@_group.probe(
    "optimistic-size",
    on=(D1, REST),
    fact="A block reads values of 1,000 characters and more after its first write, whole and unchanged.",
    why="They come in the message of an error, which a platform may shorten.",
    fix=_STOP,
)
def optimistic_size(database: Database) -> Measured:
    table = database.table("size")
    database.batch(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a)")
    connection = database.another(optimistic=True).connection
    connection.begin()
    whole = 0
    for size in _SIZES:
        try:
            connection.execute(f"DELETE FROM {table}")
            values = f"SELECT value, value || hex(zeroblob({size // 2})) FROM json_each(%s)"
            connection.execute(
                f"INSERT INTO {table} {values}",
                [str(list(range(_ROWS)))],
            )
            found = connection.execute(f"SELECT a FROM {table} ORDER BY id").fetchall()
        except Error:
            if not whole:
                raise
            break
        expect(
            found, [(f"{number}{'0' * size}",) for number in range(_ROWS)], f"the values of {size} characters"
        )
        whole = size
    connection.rollback()
    database.batch(f"DROP TABLE {table}")
    return {"values read in a block up to (characters)": whole}
