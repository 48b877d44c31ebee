"""Freeze a tenant's object while it is moved, and let it be used again.

A frozen object has a mark in place of its schema fingerprint. Every request that expects a schema is refused
by the object itself, whichever process sends it.
"""

from django.db import DatabaseError

from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema import known
from do_bridge.tenancy.schema.expecting import expecting, is_mismatch
from do_bridge.tenancy.schema.fingerprint import write_statements

from .fencing import read_object, under
from .states import MOVING


def freeze(connection, lease):
    """Make an object refuse all requests that expect a schema.

    `connection` is Django's. Three round trips; it waits for open transactions. Returns what it held.
    """
    while True:
        held = read_object(connection)
        if _write(connection, lease, held.fingerprint, MOVING):
            return held


def thaw(connection, lease):
    """Make a frozen object usable again, and return what it holds, as `states.Held`.

    The object of another tenant stays as it is. One round trip, or two.
    """
    while True:
        held = read_object(connection)
        if held.fingerprint != MOVING:
            return held
        wanted = known.learn(held.applied)
        if _write(connection, lease, MOVING, wanted):
            return held._replace(fingerprint=wanted)


def _write(connection, lease, before, after):
    """Replace a fingerprint under a lease; return False if the object has another one."""
    try:
        with under(connection, lease), expecting(connection, before):
            run_batch(connection, write_statements(after))
    except DatabaseError as error:
        if not is_mismatch(error):
            raise
        return False
    return True
