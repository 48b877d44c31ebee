"""Lets one process at a time migrate a D1 database: a lease in a small table of the database itself.

The ledger can't hold it: the first migration makes the ledger. A tenant's object needs none, because its
lease is in the ledger, and other Durable Objects run each migration in a transaction.
"""

import contextlib
import threading
import time
from uuid import uuid4

from django.db import DatabaseError, connections

from do_bridge.backends.d1.base import DatabaseWrapper
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.replicated.sql import run_batch

from .leases import Held

TABLE = "_do_bridge_lease"
_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (name text NOT NULL PRIMARY KEY, owner text NOT NULL, "
    "expires integer NOT NULL, fence integer NOT NULL) WITHOUT ROWID"
)
_TAKE = (
    f"INSERT INTO {TABLE} AS l (name, owner, expires, fence) VALUES ('migrate', %s, {_NOW} + %s, 1) "  # noqa: S608
    "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, "
    f"fence = l.fence + 1 WHERE l.expires <= {_NOW} RETURNING fence"
)
_RENEW = f"UPDATE {TABLE} SET expires = {_NOW} + %s WHERE name = 'migrate' AND fence = %s"  # noqa: S608
_END = f"UPDATE {TABLE} SET expires = 0 WHERE name = 'migrate' AND fence = %s"  # noqa: S608
#: Seconds for which a migration waits for another one, which may take long.
WAIT = 600
# Seconds between two tries.
_PAUSE = 0.2


@contextlib.contextmanager
def database_lease(alias, stderr):
    """Hold the lease of a D1 database while the block migrates it; of other databases nothing is held.

    Waits for whoever has it, and says so on `stderr`. Raises Held where that takes too long, and Django's
    database errors.
    """
    connection = connections[alias]
    if not isinstance(connection, DatabaseWrapper):
        yield
        return
    seconds = conf("LEASE_SECONDS")
    fence = _take(connection, seconds, stderr)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(alias, seconds, fence, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        # Else it ends by itself.
        with contextlib.suppress(DatabaseError):
            run_batch(connections[alias], [(_END, (fence,))])


def _take(connection, seconds, stderr):
    owner, has_said = uuid4().hex, False
    deadline = time.monotonic() + WAIT
    while True:
        statements = [(_CREATE, None), (_TAKE, (owner, int(seconds * 1000)))]
        rows = run_batch(connection, statements)[-1].rows
        if rows:
            return rows[0][0]
        if time.monotonic() >= deadline:
            raise Held(
                f"Another process migrates {connection.alias!r}. "
                "Wait until it has ended, then run the command again."
            )
        if not has_said:
            stderr.write(f"Another process migrates {connection.alias!r}: waiting for it.")
            has_said = True
        time.sleep(_PAUSE)


def _keep(alias, seconds, fence, ended):
    try:
        while not ended.wait(seconds / 3):
            with contextlib.suppress(DatabaseError):
                run_batch(connections[alias], [(_RENEW, (int(seconds * 1000), fence))])
    finally:
        connections.close_all()
