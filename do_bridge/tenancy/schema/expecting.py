"""Runs a block on an object only as long as it holds a given schema."""

from contextlib import contextmanager

from do_bridge.backends.remote_sqlite.rebuild import Overtaken


@contextmanager
def expecting(connection, fingerprint):
    """Let what `connection` sends in this block run on the schema `fingerprint` alone; empty: on none.

    Where the object holds another one the database error's cause has the kind "schema_mismatch". A block may
    change what is expected, by `connection.connection.expect`, as its own migrations go on.
    """
    connection.ensure_connection()
    driver_connection = connection.connection
    before = driver_connection.expect, driver_connection.on_mismatch
    driver_connection.expect, driver_connection.on_mismatch = fingerprint, None
    try:
        yield driver_connection
    finally:
        driver_connection.expect, driver_connection.on_mismatch = before


def is_overtaken(error):
    """Say whether a database error means that somebody else has brought the object on meanwhile."""
    return isinstance(error, Overtaken) or getattr(error.__cause__, "kind", None) == "schema_mismatch"
