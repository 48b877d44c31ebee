"""Let only one process at a time migrate a database that is not a tenant's.

Such a database is D1, a template object or another object.

The lease is in a small table of the database itself. The ledger can't hold it, because the first migration of
D1 makes the ledger.
"""

import contextlib
import time
from uuid import uuid4

from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.base import DatabaseWrapper
from do_bridge.backends.remote_sqlite.refusals import failing
from do_bridge.driver.internal import LEASE_TABLE
from do_bridge.tenancy.conf import conf
from do_bridge.tenancy.lifecycle.fencing import FENCED, guarded_by
from do_bridge.tenancy.replicated.sql import run_batch

from .lease_sql import FENCE_NOW
from .leases import Held
from .renewing import renewed

_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {LEASE_TABLE} (name text NOT NULL PRIMARY KEY, owner text NOT NULL, "
    "expires integer NOT NULL, fence integer NOT NULL) WITHOUT ROWID"
)
_TAKE = (
    f"INSERT INTO {LEASE_TABLE} AS l (name, owner, expires, fence) "  # noqa: S608
    f"VALUES ('migrate', %s, {FENCE_NOW} + %s, 1) "
    "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, "
    f"fence = l.fence + 1 WHERE l.expires <= {FENCE_NOW} RETURNING fence"
)
# The last renewal may arrive after the end.
_RENEW = (
    f"UPDATE {LEASE_TABLE} SET expires = {FENCE_NOW} + %s "  # noqa: S608
    "WHERE name = 'migrate' AND fence = %s AND expires > 0"
)
_END = f"UPDATE {LEASE_TABLE} SET expires = 0 WHERE name = 'migrate' AND fence = %s"  # noqa: S608
_GUARD = f"SELECT {failing(FENCED, 'fence')} FROM {LEASE_TABLE} WHERE name = 'migrate' AND fence > %s"  # noqa: S608
#: Seconds for which a migration waits for another one, which may take long.
WAIT = 600
# Seconds between two tries.
_PAUSE = 0.2


@contextlib.contextmanager
def database_lease(alias, stderr):
    """Hold the lease of one of this package's databases while the block migrates it.

    Each write of the block fails if another process has taken the lease over. If another process holds the
    lease, this waits, and prints a line to `stderr`, if given. Raises Held if that takes too long, and
    Django's database errors.
    """
    connection = connections[alias]
    if not isinstance(connection, DatabaseWrapper):
        yield
        return
    seconds = conf("LEASE_SECONDS")
    fence = _take(connection, seconds, stderr)
    try:
        renewal = _RENEW, (int(seconds * 1000), fence)
        with renewed(alias, renewal, seconds), guarded_by(alias, [(_GUARD, (fence,))]):
            yield
    finally:
        # If this fails, the lease expires by itself.
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
                f"Another process is migrating {connection.alias!r}. "
                "Wait until it has ended, then run the command again."
            )
        if stderr is not None and not has_said:
            stderr.write(f"Waiting for another process, which is migrating {connection.alias!r}.")
            has_said = True
        time.sleep(_PAUSE)
