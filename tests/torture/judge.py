"""Compares what clients were told with what the databases hold: finds what is lost, half done or not true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from do_bridge.tenancy.lifecycle.states import MOVING, Content, Row, content, is_its_work

from .bank import ACCOUNTS, FIRST_BALANCE
from .books import D1, POSTS, Page
from .journal import CONFIRMED, FAILED, Operation
from .load_driver import REFUSED
from .states import DirectoryState, ObjectState, expected_columns, holds_schema

LOST, HALF, STANDS, NOWHERE = "lost", "half", "failed but stands", "from nowhere"
LEDGER, SCHEMA, KEYS, NEVER = "ledger", "schema", "foreign keys", "never done"
# So often in a row no kill comes in the way of the same kind of work.
_OFTEN = 10


@dataclass(frozen=True)
class Fault:
    """A promise that does not hold."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.where}: {self.text}"


def judge_page(book: str, page: Page, before: Iterable[Operation], known: Set[str]) -> list[Fault]:
    """Return the faults of a book.

    `before`: its operations as the clients knew them before the page was read. `known`: every operation that
    had been begun when it was read.
    """
    faults = []
    for one in before:
        rows, amount = page.ops.get(one.op, (0, 0))
        if one.end == CONFIRMED and not rows:
            faults.append(Fault(LOST, book, f"{one.op} ({one.kind}) was confirmed, and is not there"))
        elif one.end == FAILED and rows:
            faults.append(Fault(STANDS, book, f"{one.op} ({one.kind}) has {rows} rows; told: {one.error}"))
        elif rows not in (0, one.rows) or amount:
            faults.append(
                Fault(HALF, book, f"{one.op} ({one.kind}) has {rows} of {one.rows} rows, sum {amount}")
            )
    faults += [Fault(NOWHERE, book, f"{op} was never begun") for op in page.ops if op not in known]
    for key in page.wrong_accounts:
        faults.append(Fault(HALF, book, f"account {key} is not the sum of its entries"))
    if not book.endswith(POSTS) and page.total != ACCOUNTS * FIRST_BALANCE:
        faults.append(Fault(HALF, book, f"the balances sum up to {page.total}"))
    return faults


def judge_directory(state: DirectoryState) -> list[Fault]:
    """Return the faults of D1: tables that are not those of its recorded migrations."""
    faults = []
    if not holds_schema(state.columns, state.applied, state.unfinished):
        faults.append(
            Fault(SCHEMA, D1, f"{sorted(state.applied)} are recorded, the tables are {state.columns}")
        )
    if state.damaged_boats:
        faults.append(Fault(SCHEMA, D1, f"{state.damaged_boats} boats lost something"))
    return faults


def judge_tenant(slug: str, directory: DirectoryState, found: ObjectState) -> list[Fault]:
    """Return the faults of one tenant whose ledger row did not change while its object was read."""
    row, faults = directory.ledger.get(slug), []
    where = f"tenant {slug}"
    is_left_over = row is not None and content(row, found.held) == Content.LEFT_OVER
    if found.names and not found.is_loading and not is_left_over:
        if not holds_schema(found.columns, found.applied_to_yard):
            told = f"{sorted(found.applied_to_yard)} are recorded, the tables are {found.columns}"
            faults.append(Fault(SCHEMA, where, told))
        if found.damaged_boats:
            faults.append(Fault(SCHEMA, where, f"{found.damaged_boats} boats lost something"))
        is_frozen = found.fingerprint == MOVING and row is not None and row.operation
        if found.fingerprint != found.fingerprint_of_applied and not is_frozen:
            faults.append(Fault(SCHEMA, where, "the fingerprint is not that of the applied migrations"))
    if row is None:
        return (
            [*faults, Fault(LEDGER, where, "the directory has the tenant, the ledger has not")]
            if (slug in directory.tenants)
            else faults
        )
    there = content(row, found.held)
    if found.held.fence > row.fence:
        faults.append(Fault(LEDGER, where, "the object has a higher fence than the ledger"))
    if row.operation and not (row.operation == "create" and is_its_work(row, found.held)):
        return faults
    if row.state == "ready" and found.fingerprint != row.fingerprint:
        faults.append(
            Fault(
                LEDGER,
                where,
                f"the ledger says ready, at another schema than the object's: {row}, {found.fingerprint[:8]} "
                f"at {found.fence}",
            )
        )
    if row.state == "ready" and slug not in directory.tenants:
        faults.append(Fault(LEDGER, where, "the ledger says ready, and the directory has no such tenant"))
    is_left = there in (Content.PART, Content.WHOLE)
    if row.state == "deleted" and (is_left or slug in directory.tenants):
        faults.append(Fault(LEDGER, where, "the ledger says deleted, and something is left"))
    return faults


def judge_places(slug: str, row: Row | None, tables: Mapping[str, Set[str]]) -> list[Fault]:
    """Return a fault for each place, {jurisdiction: tables}, in which a tenant at rest has left something."""
    if row is None or row.operation:
        return []
    own = {row.jurisdiction, row.left_behind}
    return [
        Fault(LEDGER, f"tenant {slug}", f"its object in {place!r} has {len(names)} tables: {row}")
        for place, names in tables.items()
        if names and place not in own
    ]


def judge_kinds(outcomes: Mapping[str, Mapping[str, int]]) -> list[Fault]:
    """Return a fault for each kind of operation that failed again and again, and never worked."""
    return [
        Fault(NEVER, kind, f"{told[FAILED]} times told to have failed, not once confirmed")
        for kind, told in outcomes.items()
        if kind not in REFUSED and not told.get(CONFIRMED) and told.get(FAILED, 0) >= _OFTEN
    ]


def judge_keys(where: str, dangling: int) -> list[Fault]:
    """Return a fault where rows point nowhere."""
    return [Fault(KEYS, where, f"{dangling} rows point nowhere")] if dangling else []


__all__ = [
    "Fault",
    "expected_columns",
    "judge_directory",
    "judge_keys",
    "judge_kinds",
    "judge_page",
    "judge_places",
    "judge_tenant",
]
