"""Move a tenant's Durable Object into another jurisdiction.

The steps: freeze, dump, load, verify, switch, erase. An object's id depends on its jurisdiction, so a move
makes another object. Until the switch in D1 the tenant is where it was: the next holder of the lease of an
interrupted move unfreezes the tenant there. After the switch it is in its new place.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db import DatabaseError, OperationalError, connections

from do_bridge.backends.sqlite_file.checking import check_file
from do_bridge.backends.sqlite_file.filling import Filling
from do_bridge.backends.sqlite_file.opening import opened
from do_bridge.driver.limits import LONGEST_LEASE
from do_bridge.tenancy.lifecycle.emptying import (
    connected,
    drop_left_over,
    erase_at,
    erase_left_behind,
    noticing,
)
from do_bridge.tenancy.lifecycle.fencing import KEY, fence, read_object
from do_bridge.tenancy.lifecycle.freezing import freeze, thaw
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import near, read_tenant, unchecked
from do_bridge.tenancy.lifecycle.provision import is_unfilled, ready, refuse
from do_bridge.tenancy.lifecycle.states import MOVING, Content, Do, Operation, content
from do_bridge.tenancy.places import NONE, Place
from do_bridge.tenancy.schema.fingerprint import META_TABLE, note_statements, write_statements
from do_bridge.tenancy.slugs import tenant_alias
from do_bridge.tenancy.tenants import lookup, no_such_tenant

from . import moved_rows
from .dump import Reader, dump_connection
from .switching import SwitchUnknown, switch

# These are not copied: the fingerprint is written last, and the fencing token is the lease's own.
_OWN_NOTES = ("schema", KEY)


class NotMoved(OperationalError):
    """The tenant can't be moved; it stays where it is."""


@dataclass(slots=True)
class MoveReport:
    """What a move did.

    `how` is "moved", "finished" (an interrupted move) or "there" (nothing to do).
    """

    how: str = "moved"
    tables: int = 0
    rows: int = 0


def move_tenant(slug, place, *, on_start=None, on_piece=None):
    """Move a tenant to a Place; return a MoveReport. Safe to repeat.

    Visitors wait, for at most half a lease, then their requests fail until the move has ended. Idempotency
    keys move with the rows, so that a write that is sent again runs once. `on_start(rows)` is called before
    the rows are sent, `on_piece(table, rows)` after each unit of rows.

    Raises NotMoved, Held, Unfinished and ObjectTaken before anything is done, LeaseLost if another operation
    takes the tenant over, UnfitFile, CountsDiffer, and Django's database errors. If the move was not done the
    tenant is usable where it was.
    """
    row = leases.look(slug)
    if not row.is_registered:
        raise NotMoved(no_such_tenant(slug))
    if row.jurisdiction != place.jurisdiction:
        # A runtime or a relay without this jurisdiction refuses here, too, before anything is done.
        _refuse_forgotten(row, place)
    lease = leases.take(slug, Operation.MOVE, partial(read_tenant, slug))
    if not lease.fence:
        refuse(lease)
        raise NotMoved(f"Tenant {slug!r} was deleted.")
    if lease.row.jurisdiction == place.jurisdiction:
        return _finish(lease)
    with leases.kept(lease):
        try:
            report, fingerprint = _copy(lease, place, on_start, on_piece)
        except BaseException as error:
            _give_up(lease, place, error)
            raise
        moved = _switched(lease, place)
    with leases.kept(moved):
        _end(moved, fingerprint)
    return report


def _refuse_forgotten(row, place):
    """Raise NotMoved if the new place has a usable database of the tenant.

    An interrupted move leaves no such object: it is frozen, or in the ledger. But D1 may be older than the
    last move.
    """
    with _placed(row.slug, place) as connection:
        held = read_object(connection)
    if content(row, held) != Content.WHOLE or place.jurisdiction == row.left_behind:
        return
    if leases.look(row.slug).fence == row.fence:
        raise NotMoved(
            f"Tenant {row.slug!r} has a database in {place.jurisdiction or NONE!r} that D1 "
            "does not know, perhaps because D1 was restored. Nothing was done. To use that database, set its "
            "jurisdiction in the table of the ledger (do_bridge_tenantstate), and then in the tenant's row."
        )


def _switched(lease, place):
    """Switch, and return the lease that continues; give up if that certainly failed.

    After any other interruption the tenant may be in either place, and both objects stay frozen. The next
    holder of the lease reads from the ledger in which.
    """
    try:
        return switch(lease, place)
    except SwitchUnknown as error:
        leases.fail(lease, error)
        raise
    except DatabaseError as error:
        _give_up(lease, place, error)
        raise


def _finish(lease):
    """Finish an interrupted move to the place where the tenant is."""
    was_begun = lease.row.left_behind is not None or lease.row.operation == Operation.MOVE
    with leases.kept(lease):
        _end(lease, lease.row.fingerprint)
    return MoveReport("finished" if was_begun else "there")


def _end(lease, fingerprint):
    """Let the tenant be used where it is, erase the other object, and end the lease."""
    try:
        _fill(lease)
        with _placed_by(lease) as connection:
            fingerprint = thaw(connection, lease).fingerprint or fingerprint
        erase_left_behind(lease)
        leases.change(lease, left_behind=None)
        _release(lease, fingerprint)
    except Exception as error:
        leases.fail(lease, error)
        raise
    finally:
        lookup.forget(lease.slug)


def _release(lease, fingerprint):
    """End a lease under which the object's contents stayed complete.

    The object is recorded as written by this lease, and no longer by an unsettled creation.
    """
    if lease.step == Do.KEEP:
        leases.settle(lease, fingerprint=fingerprint)
    else:
        leases.change(lease, operation="", owner="", expires=None, error="")


def _fill(lease):
    """Fill the object of an interrupted creation, or drop what is left over in it."""
    if is_unfilled(lease):
        ready(lease)
        lease.step = Do.KEEP
    elif lease.step == Do.DROP:
        drop_left_over(lease)


# Before the switch


def _copy(lease, place, on_start, on_piece):
    """Make a frozen copy of the tenant's object in its new place.

    Returns (MoveReport, schema fingerprint).
    """
    row = lease.row
    # An earlier move may have left an object in the place where this one goes.
    erase_left_behind(lease)
    _fill(lease)
    if lease.step != Do.KEEP:
        # There is nothing to copy.
        leases.change(lease, left_behind=place.jurisdiction)
        _empty_target(lease, place)
        return MoveReport(), ""
    with noticing(lease), _placed_by(lease) as connection:
        held = freeze(connection, lease)
    with tempfile.TemporaryDirectory(prefix="tenant-move-") as folder:
        file = Path(folder) / "tenant.sqlite3"
        with connected(tenant_alias(lease.slug), row.jurisdiction, lease=LONGEST_LEASE) as source:
            # It is frozen: rows that are read without a transaction are of the same moment.
            dump_connection(source, file, Reader)
        # This write also fails if the lease was lost while the dump was made.
        leases.change(lease, left_behind=place.jurisdiction)
        report = _load(lease, place, file, on_start, on_piece)
    return report, held.fingerprint


def _load(lease, place, path, on_start, on_piece):
    alias, row = tenant_alias(lease.slug), lease.row
    with opened(path) as file:
        schema = check_file(file.connection)
        notes = [
            pair
            for pair in file.connection.execute(f"SELECT key, value FROM {META_TABLE}")  # noqa: S608
            if pair[0] not in _OWN_NOTES
        ]
        schema.remove(META_TABLE)
        filling = Filling(file, schema, purpose="move")
        if on_start is not None:
            on_start(filling.rows)
        with (
            noticing(lease),
            connected(alias, place.jurisdiction) as target,
            connected(alias, row.jurisdiction) as source,
            near(target, place),
        ):
            _empty_target(lease, place)
            filling.fill(fence(target, lease), None, on_piece)
            moved_rows.copy_keys(source, target)
            last = [statement for pair in notes for statement in note_statements(*pair)]
            # Frozen, too: a process that remembers this place must not write to a copy that may be undone.
            filling.finish(target, [*last, *write_statements(MOVING)])
            moved_rows.compare(source, target, schema.tables)
        return MoveReport(tables=len(schema.tables), rows=filling.rows)


def _empty_target(lease, place):
    """Empty the object in the new place, which may hold what an interrupted move sent."""
    _reach(lease.slug, place)
    erase_at(lease, place.jurisdiction)


def _reach(slug, place):
    """Call the object in the new place, which makes it there if it does not exist."""
    with connected(tenant_alias(slug), place.jurisdiction) as target, near(target, place):
        target.execute("SELECT 1")


def _give_up(lease, place, error):
    """Let the tenant be used where it is, and erase what was sent.

    Each object is handled if it can be reached. A second error becomes a note of the first. The ledger keeps
    what the next operation has to do.
    """
    fingerprint = lease.row.fingerprint
    try:
        with contextlib.suppress(leases.LeaseLost), noticing(lease), _placed_by(lease) as connection:
            fingerprint = thaw(connection, lease).fingerprint
        # Also under a lost lease: what a newer one has written is protected by its fencing token.
        with contextlib.suppress(leases.LeaseLost):
            erase_at(lease, place.jurisdiction)
            if leases.look(lease.slug).left_behind == place.jurisdiction:
                leases.change(lease, left_behind=None)
            _release(lease, fingerprint)
    except Exception as second:  # noqa: BLE001 - the first error matters
        error.add_note(f"Afterwards: {second}")
        with contextlib.suppress(DatabaseError):
            leases.fail(lease, error if isinstance(error, Exception) else "interrupted")


def _placed_by(lease):
    """Yield a Django connection of its own to the object of a lease."""
    return _placed(lease.slug, Place(lease.row.jurisdiction, lease.row.location))


@contextlib.contextmanager
def _placed(slug, place):
    """Yield a Django connection of its own to a tenant's object in a Place.

    It accepts any schema, and stays there, whatever this process reads in the ledger.
    """
    alias = tenant_alias(slug)
    wrapper = connections[alias]
    settings = dict(wrapper.settings_dict)
    settings["OPTIONS"] = {**settings["OPTIONS"], "jurisdiction": place.jurisdiction}
    connection = type(wrapper)(settings, alias)
    try:
        with unchecked(), near(connection, place):
            yield connection
    finally:
        connection.close()
