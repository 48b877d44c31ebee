"""Probes of the histories of objects and of D1.

A database of D1 is never restored here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from do_bridge.doctor.databases import Database
from do_bridge.doctor.probe import OBJECT, REST, Group, Probe, Skip, Wrong, expect
from do_bridge.driver import Error, NotSupportedError
from do_bridge.driver.transports.rest import RestTransport
from do_bridge.driver.transports.time_travel import TimeTravel

PROBES: list[Probe] = []
_group = Group("Back to a moment", PROBES)

_NO_HISTORY: Final = "the local runtime keeps no history, so this cannot be tried here"
_BACKUPS: Final = "Do not rely on `tenant_restore`. Make backups, and report this."


@contextmanager
def _told() -> Iterator[None]:
    """Turn the refusals that mean something into the outcome of the probe."""
    try:
        yield
    except NotSupportedError as error:
        raise Wrong(f"the runtime refuses it: {error}") from error
    except Error as error:
        if error.kind == "forbidden":
            raise Skip("the token of the alias is for objects alone; bookmarks need RELAY_TOKEN") from error
        raise


@_group.probe(
    "bookmark-restore",
    on=OBJECT,
    fact="An object goes back to a bookmark, with its tables and rows, and forth again.",
    why="`manage.py tenant_restore` takes back what a bad migration or a mistake did to a tenant.",
    fix=_BACKUPS,
    local={OBJECT: _NO_HISTORY},
)
def bookmark_restore(database: Database) -> None:
    table = database.table("rows")
    stored = f"SELECT group_concat(a) AS r FROM (SELECT a FROM {table} ORDER BY id)"
    database.batch(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT)")
    database.batch(f"INSERT INTO {table} (a) VALUES ('before')")
    with _told():
        before = database.connection.bookmark()
        database.batch(f"INSERT INTO {table} (a) VALUES ('bad')", f"ALTER TABLE {table} ADD COLUMN b")
        undo = database.connection.restore(before)
        expect(database.value(stored), "before", "the rows after the restore")
        columns = database.value("SELECT count(*) AS n FROM pragma_table_info(%s)", table)
        expect(columns, 2, "the columns after the restore")
        database.connection.restore(undo)
        expect(database.value(stored), "before,bad", "the rows after it was undone")
    database.batch(f"DROP TABLE {table}")


@_group.probe(
    "bookmark-of-a-moment",
    on=OBJECT,
    fact="A moment has a bookmark, which is not later than that of now.",
    why="`manage.py tenant_restore SLUG --to TIME` looks for it.",
    fix="Restore with `--bookmark` and `--before-migration` alone, and report this.",
    local={OBJECT: _NO_HISTORY},
)
def bookmark_of_a_moment(database: Database) -> None:
    with _told():
        found = database.connection.bookmark(int(time.time() * 1000) - 1000)
        now = database.connection.bookmark()
    if found > now:
        raise Wrong("the bookmark of a second ago compares as later than that of now")


@_group.probe(
    "d1-bookmark",
    on=REST,
    fact="Cloudflare's API returns a bookmark of the database's present state.",
    why="`manage.py database_restore`, and the bookmark before a migration of D1, need it.",
    fix="Check that the token has the permission D1: Edit, and make backups with `manage.py tenant_backup`.",
    local={REST: "the local API has no Time Travel, so this cannot be tried here"},
)
def d1_bookmark(database: Database) -> None:
    transport = database.transport
    if not isinstance(transport, RestTransport):
        raise Skip("Time Travel is a part of Cloudflare's API alone")
    try:
        TimeTravel(transport, database.name.partition(":")[2]).bookmark()
    except Error as error:
        raise Wrong(str(error)) from error
