"""Give each tenant's lease to one holder at a time, with a rising fencing token.

The lease is in the tenant's ledger row in D1. One conditional statement takes it. A thread renews it while
the holder works, and writing the outcome ends it. Both work only as long as the row has the lease's token.
D1's own clock decides when a lease expires. The token follows that clock too, so that it grows even if D1
was restored from a backup.
"""

import contextlib
import json
import time
from dataclasses import dataclass, field, replace
from uuid import uuid4

from django.db import DatabaseError

from do_bridge.backends.remote_sqlite.refusals import failing, is_missing_table, told
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.looking import close_to_older
from do_bridge.tenancy.lifecycle.outside import refuse_block
from do_bridge.tenancy.lifecycle.states import (
    REFUSALS,
    Do,
    Operation,
    Row,
    State,
    again,
    has_data,
    is_its_work,
    next_step,
)
from do_bridge.tenancy.places import default_jurisdiction, note
from do_bridge.tenancy.replicated.sql import run_batch

from .errors import Held, LeaseError, LeaseLost, Unfinished  # noqa: F401 - callers name them after this module
from .lease_sql import EXPIRY, NOW, directory, names, take_statement
from .placing import placed
from .renewing import renewed

_LOST = "lost"
#: Seconds for which one waits longer than a lease lasts, so that a dead holder is outlived.
MARGIN = 5
_ALL = tuple(Operation)
# Seconds between two reads of another process's lease, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


@dataclass
class Lease:
    """An operation's right to work on a tenant.

    `row` is the ledger's row before the lease was taken.
    """

    operation: str
    row: Row
    fence: int
    owner: str
    seconds: float
    step: str = Do.MAKE
    #: This process's clock before the lease was asked for.
    asked: float = field(default_factory=time.monotonic)

    @property
    def slug(self):
        """The tenant's."""
        return self.row.slug

    @property
    def may_be_lost(self):
        """Whether this process may have stood still for longer than the lease."""
        return time.monotonic() - self.asked >= self.seconds

    @property
    def may_follow_another_life(self):
        """Whether the object is filled from the start, and may have held a tenant before."""
        return bool(self.row.fence) and self.step in (Do.MAKE, Do.DROP)


def look(slug):
    """Return the Row of a tenant, with defaults if the ledger has none.

    One round trip to D1.
    """
    return look_at_many([slug])[slug]


def look_at_many(slugs):
    """Return {slug: Row} of all `slugs`; one round trip to D1."""
    with ledger.clear_errors():
        (result,) = run_batch(directory(), [look_statement(list(slugs))])
    return rows_of(result)


def look_statement(slugs):
    """Return the statement whose result `rows_of` reads."""
    states, tenants, key = names()
    columns = ", ".join(f"s.{name}" for name in ledger.COLUMNS[1:])
    return (
        f"SELECT json_array(asked.value, {columns}, s.expires > {NOW}, EXISTS ("  # noqa: S608
        f"SELECT 1 FROM {tenants} AS t WHERE t.{key} = asked.value)) FROM json_each(%s) AS asked "
        f"LEFT JOIN {states} AS s ON s.slug = asked.value",
        (json.dumps(slugs),),
    )


def rows_of(result):
    """Return {slug: Row} of the result of `look_statement`."""
    found = {}
    for (text,) in result.rows:
        slug, state, *rest, is_live, is_registered = json.loads(text)
        if state is None:
            # The tenant is older than the ledger: all that is known is that it is in use.
            found[slug] = Row(
                slug,
                State.READY if is_registered else State.UNUSED,
                jurisdiction=default_jurisdiction(),
                is_registered=bool(is_registered),
            )
        else:
            found[slug] = Row(slug, state, *rest, bool(is_live), bool(is_registered))
        # What follows goes to the object that this row names.
        note(found[slug])
    return found


def take(
    slug,
    operation,
    read,
    *,
    adopts=False,
    replaces=False,
    place=None,
    wait=None,
    waits_for=_ALL,
    noting=None,
    while_waiting=None,
    trusts_row=True,
):
    """Wait for other operations, then take a lease.

    The `step` of the lease is what to do (see `states`).

    `read()` returns what the object holds, as `states.Held`; it is called if the row alone is not enough to
    decide. With `adopts` the operation keeps tables that are not the tenant's, with `replaces` it drops those
    of a tenant that is ready. A tenant that does not exist gets the `place`. It waits at most `wait` seconds,
    and only for the operations in `waits_for`. If the step is a refusal, nothing is taken, and the Lease
    returned has the `fence` 0. `noting`: see `take_many`. `while_waiting()` is called while it waits, and may
    raise. Without `trusts_row` the object is read, too, if the row says that a tenant to migrate is ready.
    Raises Held.
    """
    deadline = time.monotonic() + (conf("LEASE_SECONDS") + MARGIN if wait is None else wait)
    pause, has_waited = _FIRST_PAUSE, False
    while True:
        row = look(slug)
        if row.is_live and not _has_ended(row, read):
            if time.monotonic() >= deadline or row.operation not in waits_for:
                raise Held(
                    f"Tenant {slug!r} is busy, because another process runs '{row.operation}' on it. "
                    "Wait until that has ended, then try again."
                )
            if while_waiting is not None:
                while_waiting()
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause, has_waited = min(2 * pause, _LONGEST_PAUSE), True
            continue
        if place is not None and not row.is_registered:
            row = placed(row, place)
            note(row)
        # Reading the object would cost a round trip; the migration itself refuses one that is empty.
        is_settled = has_data(row) and not row.operation
        is_trusted = is_settled and operation == Operation.MIGRATE and trusts_row and not has_waited
        step, owner = (Do.KEEP, "") if is_trusted else _decide(row, operation, read, adopts)
        if replaces and step == Do.TAKEN and row.is_registered and row.state == State.READY:
            step, owner = Do.DROP, ""
        if step in REFUSALS:
            if look(slug).fence != row.fence:
                # What the object holds is another operation's, which began after the row was read.
                continue
            return Lease(operation, row, 0, "", 0, step)
        if operation == Operation.MIGRATE and row.state == State.READY and step in (Do.MAKE, Do.DROP):
            # If it is interrupted, too, the object stays known as one that was never made.
            operation = Operation.CREATE
        if (lease := take_many([row], operation, owner, noting=noting).get(slug)) is None:
            continue
        lease.step = step
        if step == Do.KEEP and (row.operation or (adopts and not is_trusted)):
            # The interrupted process may still run: from now on the object refuses what it sends.
            lease.step = Do.KEEP if close_to_older(lease).has_tables else Do.MAKE
        return lease


def _has_ended(row, read):
    """Return whether a creation has ended although its lease is alive.

    A creation leaves its lease to expire.
    """
    return row.operation == Operation.CREATE and is_its_work(row, read())


def _decide(row, operation, read, adopts):
    """Return (the step, the owner to continue as or "")."""
    if operation == Operation.DELETE:
        return Do.DROP, ""
    held = read()
    step = next_step(row, held, operation)
    if adopts and held.has_tables and step in (Do.TAKEN, Do.DROP):
        step = Do.KEEP
    if operation == Operation.MOVE:
        # A move recognizes its own switch by the owner.
        return step, ""
    # If this process is interrupted too, the work stays known as the first owner's.
    return step, row.owner if is_its_work(row, held) or not held.has_tables else ""


def take_many(rows, operation, owner="", seconds=None, noting=None):
    """Take the leases of tenants whose ledger rows are still `rows`.

    One round trip to D1. Returns {slug: Lease} of the leases taken. The rows keep their states until the
    leases are settled. `noting(rows, owner)` returns statements that follow in the same batch; the rows of
    the leases taken have that owner by then. Raises TransactionManagementError in a block on D1 that could be
    rolled back, because the lease and the outcome would go with it.
    """
    seconds = conf("LEASE_SECONDS") if seconds is None else seconds
    rows, owner = list(rows), owner or uuid4().hex
    # An interrupted creation keeps its owner until it is finished.
    of = {
        row.slug: (row, row.owner if operation == row.operation == Operation.CREATE else owner)
        for row in rows
    }
    if not of:
        return {}
    refuse_block(f"The operation '{operation}' on tenant {rows[0].slug!r} can't begin")
    asked = time.monotonic()
    also = noting(rows, owner) if noting is not None else []
    with ledger.clear_errors():
        result = _run_take(take_statement(of.values(), operation, seconds), also)
    taken = {
        slug: Lease(operation, row, fence, its_owner, seconds, asked=asked)
        for slug, fence in result.rows
        for row, its_owner in [of[slug]]
    }
    for lease in taken.values():
        note(lease.row._replace(fence=lease.fence))
    return taken


def _run_take(statement, also):
    """Run the statements as one batch; return the result of the first."""
    try:
        return run_batch(directory(), [statement, *also])[0]
    except DatabaseError as error:
        # D1 has not been migrated to this version yet.
        if not also or not is_missing_table(error, "do_bridge_tenantbookmark"):
            raise
    return run_batch(directory(), [statement])[0]


def advance(lease, also=()):
    """Give a lease the next fencing token, and return the lease with it.

    The statements `also` follow in the same batch. Raises LeaseLost.
    """
    statement = _update_statement([[lease.slug, lease.fence]], "fence = s.fence + 1")
    if not run_batch(directory(), [statement, *also])[0].rows:
        raise lost(lease)
    return replace(lease, fence=lease.fence + 1)


def settle(lease, state=State.READY, fingerprint=""):
    """End a lease, and record the tenant's state and schema fingerprint.

    Raises LeaseLost.
    """
    if lease.slug not in settle_many([(lease, state, fingerprint)]):
        raise lost(lease)


def settle_many(ended):
    """End leases in one round trip; return the slugs whose lease was not lost.

    `ended` is [(lease, state, fingerprint)].
    """
    if not ended:
        return set()
    values = [[lease.slug, lease.fence, state, fingerprint] for lease, state, fingerprint in ended]
    result = _update(
        values,
        "state = value->>2, fingerprint = value->>3, operation = '', owner = '', expires = NULL, error = '', "
        f"since = {NOW}, version = %s",
        [ledger.version()],
    )
    return {slug for (slug,) in result.rows}


def change(lease, **columns):
    """Change columns of a lease's ledger row.

    Raises LeaseLost; then nothing was changed.
    """
    assignments = ", ".join(f"{name} = %s" for name in columns)
    if not _update([[lease.slug, lease.fence]], assignments, columns.values()).rows:
        raise lost(lease)


def fail(lease, error):
    """Record an operation as unfinished, with the reason, for the next holder.

    Returns False if the lease was lost, and leaves the row alone then. If D1 can't be reached, the lease
    expires by itself, and the error gets a note.
    """
    try:
        return lease.slug in fail_many([(lease, error)])
    except DatabaseError as second:
        if isinstance(error, BaseException):
            error.add_note(f"Afterwards: {second}")
        return True


def fail_many(failed):
    """Do what `fail` does for many, [(lease, error)], in one round trip.

    Returns the slugs whose lease was not lost.
    """
    if not failed:
        return set()
    values = [[lease.slug, lease.fence, ledger.error_text(error)] for lease, error in failed]
    result = _update(
        values, f"error = value->>2, expires = {NOW}, since = {NOW}", where="AND s.operation <> ''"
    )
    return {slug for (slug,) in result.rows}


def give_back(leases):
    """End leases under which nothing was done, and restore the ledger's rows.

    One round trip.
    """
    values = [
        [one.slug, one.fence, row.operation, row.owner, row.error, row.fingerprint, _state_of_old(row)]
        for one in leases
        for row in [one.row]
    ]
    if values:
        _update(
            values,
            "operation = value->>2, owner = value->>3, error = value->>4, fingerprint = value->>5, "
            f"state = value->>6, expires = CASE WHEN value->>2 = '' THEN NULL ELSE {NOW} END",
        )


def _update(values, assignments, params=(), where=""):
    """Run `_update_statement`; return its result, whose rows are the changed slugs."""
    (result,) = run_batch(directory(), [_update_statement(values, assignments, params, where)])
    return result


def _update_statement(values, assignments, params=(), where=""):
    """Return the statement that changes the rows whose lease is still held.

    `values` are [slug, fence, …].
    """
    states, _, _ = names()
    return (
        f"UPDATE {states} AS s SET {assignments} FROM json_each(%s) "  # noqa: S608
        f"WHERE value->>0 = s.slug AND value->>1 = s.fence {where} RETURNING slug",
        [*params, json.dumps(values)],
    )


def _state_of_old(row):
    """Return the state of a row as it was; an unknown tenant counts as deleted."""
    return row.state if row.fence or row.is_registered else State.DELETED


def settle_creation(row, fingerprint):
    """Record that a creation is finished, unless its row has changed since.

    `fingerprint` is that of the object, which may have been taken over. One round trip.
    """
    settle_many([(Lease(row.operation, row, row.fence, row.owner, 0), State.READY, fingerprint)])


def still_mine(lease):
    """Return the statement that fails its batch if the lease is lost (see `is_lost`)."""
    states, _, _ = names()
    mine = "CASE WHEN fence = %s THEN fence ELSE "
    return f"UPDATE {states} SET fence = {mine}{failing(_LOST, 'fence')} END WHERE slug = %s", [  # noqa: S608
        lease.fence,
        lease.slug,
    ]


def is_lost(error):
    """Return whether an error is that of `still_mine`."""
    return told(error, _LOST) is not None


def lost(lease):
    """Return the error for a lost lease."""
    return LeaseLost(
        f"Another operation took over tenant {lease.slug!r} while '{lease.operation}' ran. "
        "Check the tenant, then run the command again if you still need it."
    )


def kept(*leases):
    """Renew leases of one operation while the block runs."""
    if not leases:
        return contextlib.nullcontext()
    seconds = leases[0].seconds
    renewal = _update_statement(
        [[one.slug, one.fence] for one in leases],
        f"expires = {EXPIRY}",
        [f"+{seconds:.3f} seconds"],
        "AND s.operation <> '' AND s.error = ''",
    )
    return renewed(conf("DIRECTORY_ALIAS"), renewal, seconds)


def refuse(lease):
    """Raise Unfinished if another operation must be run again before this lease."""
    if lease.step == Do.UNFINISHED:
        raise Unfinished(interrupted(lease.row))


def interrupted(row):
    """Return the text about an operation in EXCLUSIVE that was interrupted."""
    finish = again(row.operation, row.slug)
    if row.operation != Operation.DELETE:
        finish += f", or delete the tenant with `manage.py tenant_delete {row.slug}`"
    return (
        f"Tenant {row.slug!r} is not ready, because an operation ({row.operation}) was interrupted. "
        f"To finish it, {finish}."
    )
