"""The databases that keep the load's rows, and how to read one as it is at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from do_bridge import driver
from do_bridge.driver.places import join_place

from .bank import ACCOUNTS, FIRST_BALANCE

D1 = "d1:d0b41d9e-0000-4000-8000-000000000000"
#: Objects that the driver alone works on, tenants that Django's ORM works on, and D1.
DRIVER_BANKS = ("do:torture/bank-0", "do:torture/bank-1")
ORM_TENANTS = ("orm-0", "orm-1")
POSTS = "#posts"
_TENANTS = [f"do:tenant/{slug}" for slug in ORM_TENANTS]

_SCHEMA = (
    "CREATE TABLE bank_account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
    "CREATE TABLE bank_entry (id INTEGER PRIMARY KEY AUTOINCREMENT, op TEXT NOT NULL, "
    "account_id INTEGER NOT NULL REFERENCES bank_account (id), amount INTEGER NOT NULL)",
    "CREATE INDEX bank_entry_op ON bank_entry (op)",
    "CREATE INDEX bank_entry_sums ON bank_entry (account_id, amount)",
)
# One statement reads one moment, on both engines.
_READ_BANK = f"""
SELECT
  (SELECT json_group_array(json_array(op, n, amount)) FROM
     (SELECT op, count(*) AS n, sum(amount) AS amount FROM bank_entry
      WHERE op >= %s AND op < %s GROUP BY op)),
  (SELECT json_group_array(id) FROM bank_account a WHERE balance <> {FIRST_BALANCE} +
     (SELECT coalesce(sum(amount), 0) FROM bank_entry WHERE account_id = a.id)),
  (SELECT coalesce(sum(balance), 0) FROM bank_account)
"""
_READ_POSTS = """
SELECT (SELECT json_group_array(json_array(op, n, 0)) FROM
     (SELECT substr(title, 1, instr(title, ' ') - 1) AS op, count(*) AS n FROM blog_post
      WHERE title >= %s AND title < %s GROUP BY op)), '[]', NULL
"""


@dataclass
class Page:
    """A book at one moment: {op: (rows, sum of amounts)}, accounts whose balance is wrong, their sum."""

    ops: dict[str, tuple[int, int]] = field(default_factory=dict)
    wrong_accounts: list[int] = field(default_factory=list)
    total: int | None = None


def databases() -> list[str]:
    """Return every database that keeps a book; a tenant's keeps its posts, too."""
    return [*DRIVER_BANKS, D1, *_TENANTS]


def books_of(database: str) -> list[str]:
    """Return the books of a database."""
    return [database, database + POSTS] if database in _TENANTS else [database]


def read_pages(
    transport: driver.Transport, database: str, first: str, end: str
) -> tuple[dict[str, Page], int]:
    """Read the operations of a database's books from `first` to before `end`, all of one moment.

    Returns {book: Page}, and how many of the database's rows point nowhere.
    """
    names = books_of(database)
    reads = [(_READ_POSTS if name.endswith(POSTS) else _READ_BANK, [first, end]) for name in names]
    keys, *pages = _read_placed(transport, database, [("PRAGMA foreign_key_check", None), *reads])
    return {name: _page(*result.rows[0]) for name, result in zip(names, pages, strict=True)}, len(keys.rows)


def _read_placed(
    transport: driver.Transport, database: str, reads: list[tuple[str, Any]]
) -> list[driver.Result]:
    """Read a database where the ledger has it before and afterwards."""
    place, now = None, _place(transport, database)
    while place != now:
        place = now
        try:
            with driver.connect(transport, join_place(database, place)) as connection:
                found = connection.execute_batch(reads)
        except driver.OperationalError as error:
            # An object that was just left is empty.
            if "no such table" not in str(error) or place == _place(transport, database):
                raise
        now = _place(transport, database)
    return found


def _place(transport: driver.Transport, database: str) -> str:
    """Return the jurisdiction in which the ledger has a tenant, empty for none."""
    if database not in _TENANTS:
        return ""
    sql = "SELECT jurisdiction FROM do_bridge_tenantstate WHERE slug = %s"
    with driver.connect(transport, D1) as connection:
        return str(connection.execute(sql, [database.removeprefix("do:tenant/")]).fetchone()[0])


def _page(ops: str, wrong: str, total: int | None) -> Page:
    return Page({op: (n, amount) for op, n, amount in json.loads(ops)}, json.loads(wrong), total)


def accounts_statement() -> str:
    """Return the statement that makes the accounts."""
    values = ", ".join(f"({key}, {FIRST_BALANCE})" for key in range(1, ACCOUNTS + 1))
    return f"INSERT INTO bank_account (id, balance) VALUES {values}"


def make_driver_banks(transport: driver.Transport, names: Iterable[str] = DRIVER_BANKS) -> None:
    """Make the tables and accounts of objects that no Django knows."""
    for name in names:
        with driver.connect(transport, name) as connection:
            connection.execute_batch([(sql, None) for sql in (*_SCHEMA, accounts_statement())])
