"""Leases of tenants: one holder at a time, by the ledger's row in D1, each with a higher fence.

A lease is taken by one conditional statement, kept by renewals while its work goes on, and ends when its
outcome is written, both only as long as the row has its fence. D1's own clock says when it expires; the fence
follows that clock too, so that it grows even where D1 was restored from a backup.
"""

import contextlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from uuid import uuid4

from django.apps import apps
from django.db import DatabaseError, OperationalError, connections

from do_bridge.backends.remote_sqlite.refusals import failing, told
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.tenants import tenant_model

from . import ledger
from .looking import close_to_older
from .states import FILLING, Do, Operation, Row, State, is_its_work, next_step

logger = logging.getLogger("do_bridge.migrations")

_NOW = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
_EXPIRY = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)"
_FENCE = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_LOST = "lost"
# Seconds between two looks at a lease that somebody else has, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


class LeaseError(OperationalError):
    """An operation on a tenant that can't begin or go on."""


class Held(LeaseError):
    """Another operation works on the tenant, and did not end in time; nothing was done."""


class LeaseLost(LeaseError):
    """Another operation has taken the tenant over meanwhile."""


class Unfinished(LeaseError):
    """Another operation on the tenant was cut off, and has to be run again first; nothing was done."""


@dataclass
class Lease:
    """An operation's right to work on a tenant; `row` is the ledger's as it was before."""

    operation: str
    row: Row
    fence: int
    owner: str
    seconds: float
    step: str = Do.MAKE

    @property
    def slug(self):
        """The tenant's."""
        return self.row.slug


def look(slug):
    """Return the `lifecycle.Row` of a tenant, also where the ledger has none; one trip to D1."""
    return look_at_many([slug])[slug]


def look_at_many(slugs):
    """Return {slug: Row} of all `slugs`; one trip to D1."""
    with ledger.clear_errors():
        (result,) = run_batch(_directory(), [look_statement(list(slugs))])
    return rows_of(result)


def look_statement(slugs):
    """Return the statement whose result `rows_of` reads."""
    states, tenants, key = _names()
    return (
        f"SELECT json_array(asked.value, s.state, s.operation, s.owner, s.fence, s.emptied, s.fingerprint, "  # noqa: S608
        f"s.error, s.expires > {_NOW}, EXISTS (SELECT 1 FROM {tenants} AS t WHERE t.{key} = asked.value)) "
        f"FROM json_each(%s) AS asked LEFT JOIN {states} AS s ON s.slug = asked.value",
        (json.dumps(slugs),),
    )


def rows_of(result):
    """Return {slug: Row} of the result of `look_statement`."""
    found = {}
    for (text,) in result.rows:
        slug, state, *rest, is_live, is_registered = json.loads(text)
        if state is None:
            # Of a row that is older than the ledger nothing is known but that it is in use.
            found[slug] = Row(
                slug, State.READY if is_registered else State.UNUSED, is_registered=bool(is_registered)
            )
        else:
            found[slug] = Row(slug, state, *rest, bool(is_live), bool(is_registered))
    return found


def take(slug, operation, read, *, adopts=False, wait=None, waits_for=tuple(Operation)):
    """Return the Lease of an operation, which waits for others; its `step` says what to do (see `lifecycle`).

    `read()` returns what the object holds, as `lifecycle.Held`; it is called where the row alone doesn't tell
    enough. `adopts`: tables that are not the tenant's are taken over. `wait`: seconds, at most, and
    `waits_for` which operations. Raises Held, and returns a Lease whose `fence` is 0, of which nothing was
    taken, where the step is a refusal.
    """
    deadline = time.monotonic() + (conf("LEASE_SECONDS") + 5 if wait is None else wait)
    pause, has_waited = _FIRST_PAUSE, False
    while True:
        row = look(slug)
        if row.is_live and not _has_ended(row, read):
            if time.monotonic() >= deadline or row.operation not in waits_for:
                raise Held(
                    f"Tenant {slug!r} is busy: another process runs '{row.operation}' on it. "
                    "Wait until that has ended, then try again."
                )
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause, has_waited = min(2 * pause, _LONGEST_PAUSE), True
            continue
        step, owner = _decide(row, operation, read, adopts, has_waited)
        if step in (Do.TAKEN, Do.UNFINISHED, Do.GONE):
            return Lease(operation, row, 0, "", 0, step)
        if (lease := take_many([row], operation, owner).get(slug)) is None:
            continue
        lease.step = step
        if step == Do.KEEP and (row.operation or adopts):
            # Who was cut off may only stand still: what he sends from now on is refused.
            lease.step = Do.KEEP if close_to_older(lease).has_tables else Do.MAKE
        return lease


def _has_ended(row, read):
    """Say whether a creation whose lease is alive has come to its end: it leaves its lease behind."""
    return row.operation == Operation.CREATE and is_its_work(row, read())


def _decide(row, operation, read, adopts, has_waited):
    """Return (the step, the owner to go on as or "")."""
    if operation == Operation.DELETE:
        return Do.DROP, ""
    is_settled = row.state == State.READY and not row.operation
    if is_settled and operation == Operation.MIGRATE and not has_waited:
        return Do.KEEP, ""
    held = read()
    step = next_step(row, held, operation)
    if adopts and held.has_tables and step in (Do.TAKEN, Do.DROP):
        step = Do.KEEP
    # Whoever finishes another's work, and is cut off too, leaves it known as that.
    return step, row.owner if is_its_work(row, held) or not held.has_tables else ""


def take_many(rows, operation, owner="", seconds=None):
    """Take the leases of tenants that are still as in `rows`; return {slug: Lease} of those; one trip to D1.

    What the rows say of states is left as it is until the leases are settled.
    """
    seconds = conf("LEASE_SECONDS") if seconds is None else seconds
    rows, owner = list(rows), owner or uuid4().hex
    # A creation that was cut off stays known as that until it is finished.
    of = {
        row.slug: (row, row.owner if operation == row.operation == Operation.CREATE else owner)
        for row in rows
    }
    if not of:
        return {}
    with ledger.clear_errors():
        (result,) = run_batch(_directory(), [_take_statement(of.values(), operation, seconds)])
    return {
        slug: Lease(operation, row, fence, its_owner, seconds)
        for slug, fence in result.rows
        for row, its_owner in [of[slug]]
    }


def _take_statement(rows, operation, seconds):
    """Return the statement that takes leases of (row, owner); its rows are (slug, fence) of those taken."""
    asked = json.dumps(
        [[row.slug, row.fence, row.state, row.operation == Operation.CREATE, owner] for row, owner in rows]
    )
    # Another creation's is taken over alive where the caller has seen that it has come to its end.
    free = f"s.operation = '' OR s.expires <= {_NOW} OR s.operation = '{Operation.CREATE}'"
    is_as_seen = "value->>0 = s.slug AND value->>1 = s.fence"
    sql = _taking("value->>0, '', value->>2", "value->>4", "true").format(
        also="",
        where=f"WHERE ({free}) AND EXISTS (SELECT 1 FROM json_each(%s) WHERE {is_as_seen} "  # noqa: S608
        f"AND (s.operation <> '{Operation.CREATE}' OR value->>3))",
    )
    return sql, [operation, f"+{seconds:.3f} seconds", ledger.version(), asked, asked]


def begin_statement(slugs, operation, owner, seconds, fingerprint):
    """Return the statement that takes the leases of slugs without a tenant, noted as ready already.

    It stands behind one that fails where somebody has such a lease; its rows are (slug, fence).
    """
    _, tenants, key = _names()
    sql = _taking(f"value, %s, '{State.READY}'", "%s", f"value NOT IN (SELECT {key} FROM {tenants})").format(  # noqa: S608
        also=", fingerprint = excluded.fingerprint, state = excluded.state", where=""
    )
    expiry = f"+{seconds:.3f} seconds"
    return sql, [fingerprint, operation, owner, expiry, ledger.version(), json.dumps(slugs)]


def _taking(row, owner, condition):
    """Return the SQL that takes leases; `row`: slug, fingerprint and state of a row that is not there yet."""
    states, _, _ = _names()
    return (
        f"INSERT INTO {states} AS s (slug, fingerprint, state, since, operation, owner, expires, fence, "  # noqa: S608
        f"emptied, version, error) SELECT {row}, {_NOW}, %s, {owner}, {_EXPIRY}, {_FENCE}, 0, %s, '' "
        f"FROM json_each(%s) WHERE {condition} ON CONFLICT (slug) DO UPDATE SET "
        "operation = excluded.operation, owner = excluded.owner, expires = excluded.expires, "
        "fence = max(s.fence + 1, excluded.fence), "
        "since = excluded.since, version = excluded.version, error = ''{also} {where} RETURNING slug, fence"
    )


def step_of_creation(lease, held):
    """Return the step of a creation that has found its object in use: what was there before it counts."""
    return next_step(lease.row, held, Operation.CREATE)


def settle(lease, state=State.READY, fingerprint=""):
    """End a lease: the tenant is what `state` says, at the schema `fingerprint`. Raises LeaseLost."""
    if lease.slug not in settle_many([(lease, state, fingerprint)]):
        raise lost(lease)


def settle_many(ended):
    """End leases, [(lease, state, fingerprint)], in one trip; return the slugs of those not lost."""
    if not ended:
        return set()
    states, _, _ = _names()
    values = [[lease.slug, lease.fence, state, mark] for lease, state, mark in ended]
    (result,) = run_batch(
        _directory(),
        [
            (
                f"UPDATE {states} AS s SET state = value->>2, fingerprint = value->>3, operation = '', "  # noqa: S608
                f"owner = '', expires = NULL, error = '', since = {_NOW}, version = %s "
                "FROM json_each(%s) WHERE value->>0 = s.slug AND value->>1 = s.fence RETURNING slug",
                [ledger.version(), json.dumps(values)],
            )
        ],
    )
    return {slug for (slug,) in result.rows}


def fail(lease, error):
    """Leave the operation unfinished, with the reason, for whoever comes next; of a lost lease nothing.

    Where D1 can't be reached the lease expires by itself, and the error says so.
    """
    try:
        fail_many([(lease, error)])
    except DatabaseError as second:
        if isinstance(error, BaseException):
            error.add_note(f"Afterwards: {second}")


def fail_many(failed):
    """Do as `fail` does for many, [(lease, error)], in one trip."""
    if not failed:
        return
    states, _, _ = _names()
    values = [[lease.slug, lease.fence, ledger.error_text(error)] for lease, error in failed]
    run_batch(
        _directory(),
        [
            (
                f"UPDATE {states} AS s SET error = value->>2, expires = {_NOW}, since = {_NOW} "  # noqa: S608
                "FROM json_each(%s) WHERE value->>0 = s.slug AND value->>1 = s.fence AND s.operation <> ''",
                [json.dumps(values)],
            )
        ],
    )


def give_back(leases):
    """End leases under which nothing was done; the ledger says what it said before; one trip."""
    if not leases:
        return
    states, _, _ = _names()
    values = [
        [one.slug, one.fence, row.operation, row.owner, row.error, row.fingerprint, _state_of_old(row)]
        for one in leases
        for row in [one.row]
    ]
    run_batch(
        _directory(),
        [
            (
                f"UPDATE {states} AS s SET operation = value->>2, owner = value->>3, error = value->>4, "  # noqa: S608
                f"fingerprint = value->>5, state = value->>6, "
                f"expires = CASE WHEN value->>2 = '' THEN NULL ELSE {_NOW} END "
                "FROM json_each(%s) WHERE value->>0 = s.slug AND value->>1 = s.fence",
                [json.dumps(values)],
            )
        ],
    )


def _state_of_old(row):
    """Return the state of a row as it was; of a tenant that nobody knew it is that there is none."""
    return row.state if row.fence or row.is_registered else State.DELETED


def settle_creation(row):
    """Note that a creation that was found finished is; one trip, and nothing where the row has moved on."""
    settle_many([(Lease(row.operation, row, row.fence, row.owner, 0), State.READY, row.fingerprint)])


def still_mine(lease):
    """Return the statement that fails its batch where the lease is lost (see `is_lost`)."""
    states, _, _ = _names()
    mine = "CASE WHEN fence = %s THEN fence ELSE "
    return f"UPDATE {states} SET fence = {mine}{failing(_LOST, 'fence')} END WHERE slug = %s", [  # noqa: S608
        lease.fence,
        lease.slug,
    ]


def is_lost(error):
    """Say whether an error is that of `still_mine`."""
    return told(error, _LOST) is not None


def lost(lease):
    """Return the error for a lease that is lost."""
    return LeaseLost(
        f"Tenant {lease.slug!r} was taken over by another operation while '{lease.operation}' ran. "
        "Look at the tenant, then run the command again if it is still wanted."
    )


@contextlib.contextmanager
def kept(*leases):
    """Renew leases of one operation while the block runs, from a third of their time on."""
    if not leases:
        yield
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(leases, ended), name="do-bridge-lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()


def _keep(leases, ended):
    seconds = leases[0].seconds
    try:
        while not ended.wait(seconds / 3):
            try:
                _renew(leases, seconds)
            except DatabaseError as error:
                # The next one may get through; if none does, the fence keeps the objects safe.
                logger.warning("The lease of %s was not renewed: %s", leases[0].slug, error)
    finally:
        connections.close_all()


def _renew(leases, seconds):
    states, _, _ = _names()
    run_batch(
        _directory(),
        [
            (
                f"UPDATE {states} AS s SET expires = {_EXPIRY} FROM json_each(%s) "  # noqa: S608
                "WHERE value->>0 = s.slug AND value->>1 = s.fence AND s.operation <> '' AND s.error = ''",
                [f"+{seconds:.3f} seconds", json.dumps([[one.slug, one.fence] for one in leases])],
            )
        ],
    )


def refuse(lease):
    """Raise Unfinished where a lease was not taken because another operation has to be run again."""
    if lease.step == Do.UNFINISHED:
        row = lease.row
        again = f"tenant_{row.operation}" if row.operation in (*FILLING, Operation.DELETE) else row.operation
        raise Unfinished(
            f"Tenant {row.slug!r} is not ready: {row.operation} is not finished. "
            f"Run {again} again, or delete the tenant with `manage.py tenant_delete {row.slug}`."
        )


def _directory():
    return connections[conf("DIRECTORY_ALIAS")]


def _names():
    """Return (the ledger's table, the tenants' table, the slug's column), quoted."""
    quote = _directory().ops.quote_name
    tables = (apps.get_model("do_bridge", "TenantState"), tenant_model())
    return (
        *(quote(model._meta.db_table) for model in tables),
        quote(tenant_model()._meta.get_field("slug").column),
    )
