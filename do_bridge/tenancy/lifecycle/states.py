"""The states of a tenant's life as data, and what the next lease holder does.

A tenant's ledger row records in which `State` the tenant is at rest, and which `Operation` works on it or
was interrupted. The tenant's object records what it holds, and which lease wrote that. `found` makes one of
six findings of the two, and `TABLE` has what each operation does then. `docs/explanation/lifecycle.md`
draws the same table.
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """What a tenant is while no operation works on it."""

    UNUSED = "unused"  # no work on the object has ended: its contents are not the tenant's
    READY = "ready"  # the object is the tenant's, at the schema that the ledger names
    DELETED = "deleted"  # the object was emptied, and the row went


class Operation(StrEnum):
    """What may hold a tenant's lease."""

    CREATE = "create"
    LOAD = "load"
    COPY = "copy"
    MIGRATE = "migrate"
    MOVE = "move"
    RESTORE = "restore"
    REWIND = "rewind"
    DELETE = "delete"


#: They fill an object in many batches, and it can't be used before the last one.
FILLING = (Operation.LOAD, Operation.COPY, Operation.RESTORE)
#: While one of them has not finished, no process uses the tenant.
EXCLUSIVE = (*FILLING, Operation.REWIND, Operation.DELETE)


#: What an object has in place of its schema fingerprint while its tenant is moved, so that every request is
#: refused; the relay takes nothing but hexadecimal digits for a fingerprint.
MOVING = "0" * 64


#: What finishes an operation that was interrupted.
_AGAIN = {
    Operation.CREATE: "create_tenant {slug}",
    Operation.LOAD: "tenant_load {slug} FILE",
    Operation.COPY: "tenant_copy SOURCE {slug}",
    Operation.RESTORE: "tenant_load {slug} FILE --replace",
    Operation.MIGRATE: "migrate --database tenant/{slug}",
    Operation.MOVE: "tenant_move {slug} --jurisdiction JURISDICTION",
    Operation.REWIND: "tenant_restore {slug} --bookmark BOOKMARK",
    Operation.DELETE: "tenant_delete {slug}",
}


def again(operation, slug):
    """Return "run … again" with the command that finishes an interrupted operation."""
    return f"run `manage.py {_AGAIN[Operation(operation)].format(slug=slug)}` again"


class Content(StrEnum):
    """What a tenant's object holds."""

    EMPTY = "empty"
    LEFT_OVER = "left over"  # written by a lease that is older than the last deletion
    PART = "part"  # tables without a fingerprint
    WHOLE = "whole"  # tables and a fingerprint
    FROZEN = "frozen"  # tables, and the mark of a move in place of the fingerprint


class Found(StrEnum):
    """The finding from the ledger's row and the object, while no lease is alive."""

    UNUSED = "unused"
    READY = "ready"
    DELETED = "deleted"
    FILLING = "filling"
    REWINDING = "rewinding"
    DELETING = "deleting"


class Do(StrEnum):
    """What the next holder does."""

    MAKE = "make"  # do the operation's work in the empty object
    DROP = "drop"  # empty the object, then do the work
    KEEP = "keep"  # continue with what the object holds
    TAKEN = "taken"  # refuse: the tables are not this tenant's, maybe a former one's
    UNFINISHED = "unfinished"  # refuse: another operation was interrupted, and has to be run again
    GONE = "gone"  # refuse: the tenant was deleted
    LOST = "lost"  # refuse: the tenant's data should be there


#: With them the next holder does nothing.
REFUSALS = (Do.TAKEN, Do.UNFINISHED, Do.GONE, Do.LOST)


_ALIKE = {Operation.COPY: Operation.LOAD, Operation.RESTORE: Operation.LOAD}
_COLUMNS = (
    Operation.CREATE,
    Operation.LOAD,
    Operation.MIGRATE,
    Operation.MOVE,
    Operation.REWIND,
    Operation.DELETE,
)
_MAKE = (Do.MAKE, Do.MAKE, Do.MAKE, Do.MAKE, Do.TAKEN, Do.DROP)
_DROP = (Do.DROP, Do.DROP, Do.DROP, Do.DROP, Do.TAKEN, Do.DROP)
_TAKEN = (Do.TAKEN, Do.TAKEN, Do.TAKEN, Do.TAKEN, Do.TAKEN, Do.DROP)
_OWN = (Do.KEEP, Do.TAKEN, Do.KEEP, Do.KEEP, Do.KEEP, Do.DROP)
_GONE = (Do.GONE, Do.GONE, Do.GONE, Do.DROP)
_UNFINISHED = (Do.UNFINISHED, Do.DROP, Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.DROP)
_ONLY_REWIND = (Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.KEEP, Do.DROP)
_ONLY_DELETE = (Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.UNFINISHED, Do.DROP)

#: {(found, content): what create, load (and copy, restore), migrate (and a first use), move, rewind, delete
#: do}.
TABLE = {
    (Found.UNUSED, Content.EMPTY): _MAKE,
    (Found.UNUSED, Content.LEFT_OVER): _DROP,
    (Found.UNUSED, Content.PART): _TAKEN,
    (Found.UNUSED, Content.WHOLE): _TAKEN,
    (Found.UNUSED, Content.FROZEN): _TAKEN,
    # What an emptied object held can be brought back, and only a command that an operator has typed begins
    # with an empty one.
    (Found.READY, Content.EMPTY): (Do.MAKE, Do.MAKE, Do.LOST, Do.LOST, Do.KEEP, Do.DROP),
    (Found.READY, Content.LEFT_OVER): _OWN,
    (Found.READY, Content.PART): _OWN,
    (Found.READY, Content.WHOLE): _OWN,
    (Found.READY, Content.FROZEN): _OWN,
    (Found.DELETED, Content.EMPTY): (Do.MAKE, Do.MAKE, *_GONE),
    (Found.DELETED, Content.LEFT_OVER): (Do.DROP, Do.DROP, *_GONE),
    (Found.DELETED, Content.PART): (Do.TAKEN, Do.TAKEN, *_GONE),
    (Found.DELETED, Content.WHOLE): (Do.TAKEN, Do.TAKEN, *_GONE),
    (Found.DELETED, Content.FROZEN): (Do.TAKEN, Do.TAKEN, *_GONE),
    (Found.FILLING, Content.EMPTY): (
        Do.MAKE,
        Do.MAKE,
        Do.UNFINISHED,
        Do.UNFINISHED,
        Do.UNFINISHED,
        Do.DROP,
    ),
    (Found.FILLING, Content.LEFT_OVER): _UNFINISHED,
    (Found.FILLING, Content.PART): _UNFINISHED,
    (Found.FILLING, Content.WHOLE): _UNFINISHED,
    (Found.FILLING, Content.FROZEN): _UNFINISHED,
    (Found.REWINDING, Content.EMPTY): _ONLY_REWIND,
    (Found.REWINDING, Content.LEFT_OVER): _ONLY_REWIND,
    (Found.REWINDING, Content.PART): _ONLY_REWIND,
    (Found.REWINDING, Content.WHOLE): _ONLY_REWIND,
    (Found.REWINDING, Content.FROZEN): _ONLY_REWIND,
    (Found.DELETING, Content.EMPTY): _ONLY_DELETE,
    (Found.DELETING, Content.LEFT_OVER): _ONLY_DELETE,
    (Found.DELETING, Content.PART): _ONLY_DELETE,
    (Found.DELETING, Content.WHOLE): _ONLY_DELETE,
    (Found.DELETING, Content.FROZEN): _ONLY_DELETE,
}


class Row(NamedTuple):
    """A tenant's row in the ledger, as it was read; `fence` is 0 if there is none."""

    slug: str
    state: str = State.UNUSED
    operation: str = ""
    owner: str = ""
    fence: int = 0
    #: The fence of the last deletion.
    emptied: int = 0
    fingerprint: str = ""
    error: str = ""
    #: Where the object is; empty for no jurisdiction.
    jurisdiction: str = ""
    #: The hint with which the object is made.
    location: str = ""
    #: The jurisdiction of another object of the tenant that a move has not erased yet.
    left_behind: str | None = None
    #: Whether the lease has not expired, by D1's clock.
    is_live: bool = False
    #: Whether D1 has a row of the tenant itself.
    is_registered: bool = False


class Held(NamedTuple):
    """What an object holds, and the lease that wrote it last."""

    has_tables: bool = False
    fingerprint: str = ""
    applied: frozenset = frozenset()
    fence: int = 0
    owner: str = ""


def content(row, held):
    """Return the Content of an object."""
    if not held.has_tables:
        return Content.EMPTY
    if held.fence < row.emptied:
        return Content.LEFT_OVER
    if held.fingerprint == MOVING:
        return Content.FROZEN
    return Content.WHOLE if held.fingerprint else Content.PART


def is_its_work(row, held):
    """Return whether the row's operation has written what the object holds.

    The operation may be running or interrupted.
    """
    return bool(row.operation) and held.has_tables and held.owner == row.owner


def found(row, held):
    """Return what an expired or free row and its object are together."""
    if row.operation == Operation.DELETE:
        return Found.DELETING
    if row.operation == Operation.REWIND:
        # The object is at the moment asked for, or where it was before.
        return Found.REWINDING
    has_begun = is_its_work(row, held)
    if row.operation in FILLING and (has_begun or not held.has_tables):
        return Found.FILLING
    if row.operation in (Operation.CREATE, Operation.MIGRATE) and has_begun:
        return Found.READY
    if row.state == State.READY and (row.operation == Operation.CREATE or not row.is_registered):
        # A creation notes "ready" before it has reached the object; a row that was lost has left one behind.
        return Found.UNUSED
    return Found(row.state)


def next_step(row, held, operation):
    """Return what the next holder does for an `operation`.

    `row` and `held` must be read while no lease is alive.
    """
    column = _COLUMNS.index(_ALIKE.get(operation, operation))
    step = TABLE[found(row, held), content(row, held)][column]
    if step == Do.GONE and row.is_registered:
        # A row made by hand while D1's triggers were away.
        return TABLE[Found.UNUSED, content(row, held)][column]
    if step == Do.LOST and not has_data(row):
        return Do.MAKE
    return step


def has_data(row):
    """Return whether a row says that the object holds the tenant's data.

    The row is expired or free. A row that the ledger lacks has no fingerprint. A move may have taken over a
    creation that had not reached the object.
    """
    return bool(row.state == State.READY and row.fingerprint and row.operation in ("", Operation.MIGRATE))
