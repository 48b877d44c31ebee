"""Run a block on a tenant's object only as long as it holds a given schema.

A lease's fencing token does not cover two cases: a deletion erases the token together with the object, and
the ledger may be older than the object.
"""

from contextlib import contextmanager


@contextmanager
def expecting(connection, fingerprint):
    """Let `connection` run statements in this block only on the given schema.

    An empty `fingerprint` means an object without one. If the object has another schema, the cause of the
    database error has the kind "schema_mismatch". A block may change the expected schema with
    `connection.connection.expect`, as its own migrations proceed.
    """
    connection.ensure_connection()
    driver_connection = connection.connection
    before = driver_connection.expect, driver_connection.on_mismatch
    driver_connection.expect, driver_connection.on_mismatch = fingerprint, None
    try:
        yield driver_connection
    finally:
        driver_connection.expect, driver_connection.on_mismatch = before


def is_mismatch(error):
    """Return whether an error means that the object has another schema than expected."""
    return getattr(error.__cause__, "kind", None) == "schema_mismatch"
