"""Fill one database of this package from the SQLite file of a site.

The database is D1 or one Durable Object.
"""

import contextlib
from dataclasses import dataclass, field

from django.db import DatabaseError, connections

from do_bridge.backends.remote_sqlite.emptying import empty
from do_bridge.backends.remote_sqlite.refusals import Overtaken
from do_bridge.driver.internal import NOT_RUNTIME

from .checking import check_file
from .filling import Filling, is_resumable
from .fitness import refuse_schema
from .opening import opened
from .schema import connect
from .units import MARK, stopping, unfinished, unless_ended

# A tenant's metadata means nothing in another database.
_TENANTS = "_do_bridge_meta"
_HELD = (
    "SELECT name FROM pragma_table_list WHERE \"schema\" = 'main' AND type <> 'shadow' "  # noqa: S608
    f"AND {NOT_RUNTIME} ORDER BY name = %s DESC, name"
)
_SHOWN = 3


class NotEmpty(Exception):
    """The database holds something that is not this load's."""


@dataclass(slots=True)
class LoadReport:
    """What was loaded, and what was left out.

    `counts` are the rows of each table, which the load compared with the database's. `units_before` is the
    number of units that an interrupted load had sent, or None if there was none.
    """

    tables: int = 0
    rows: int = 0
    counts: dict = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    units_before: int | None = None


def load_database(alias, path, *, check=None, on_start=None, on_piece=None, restart=False, dry_run=False):
    """Fill the empty database of `alias` from the SQLite file at `path`.

    Returns a LoadReport. The file is checked first, by `check(source, schema)` too. Each unit is one request
    of about a megabyte; the last one brings django_migrations and makes the database usable. After an
    interruption or a lost connection the rows stay, and the same call continues. After another failure the
    database is emptied. `restart` deletes what an interrupted load of any file left. `on_start(rows)` is
    called before the first unit, and `on_piece(table, rows)` after each unit of rows. With `dry_run` nothing
    is written.

    Raises UnfitFile and NotEmpty, both before anything is written, Overtaken if another process fills the
    database at the same time, CountsDiffer, and Django's database errors.
    """
    with opened(path) as file:
        schema = check_file(file.connection)
        schema.remove(_TENANTS)
        if check is not None:
            check(file.connection, schema)
        filling = Filling(file, schema, purpose="site")
        report = LoadReport(
            tables=len(schema.tables),
            rows=filling.rows,
            counts=dict(filling.expected),
            left_out=tuple(schema.left_out),
        )
        with _connected(alias) as connection:
            found = _look(connection, alias, filling.units, restart)
            if found is not None and found.plan == filling.units.plan and not restart:
                report.units_before = found.done
            if dry_run:
                return report
            if found is not None and report.units_before is None:
                with stopping():
                    empty(connection, unless_ended)
                found = None
            if on_start is not None:
                on_start(filling.rows)
            _load(connection, filling, schema, found, on_piece)
    return report


def _look(connection, alias, units, restart):
    """Return the Unfinished load that the database holds, or None if it is empty.

    Raises NotEmpty.
    """
    names = [name for (name,) in connection.execute(_HELD, [MARK]).fetchall()]
    if not names:
        return None
    if names[0] != MARK:
        more = ", …" if len(names) > _SHOWN else ""
        raise NotEmpty(
            f"The database {alias!r} already has {len(names)} tables ({', '.join(names[:_SHOWN])}{more}). A "
            "file is loaded only into an empty database, before the first `migrate`. Set NAME in "
            f"DATABASES[{alias!r}] to an empty database."
        )
    found = unfinished(connection)
    if found is not None and found.plan != units.plan and not restart:
        raise NotEmpty(
            f"The database {alias!r} has part of another file, or of this file before it was changed. "
            "Load that file again to finish, or delete the part with --restart."
        )
    return found


@contextlib.contextmanager
def _connected(alias):
    wrapper = connections[alias]
    with wrapper.wrap_database_errors, contextlib.closing(connect(wrapper)) as connection:
        yield connection


def _load(connection, filling, schema, found, on_piece):
    if found is None:
        refuse_schema(connection, schema)
    try:
        filling.fill(connection, found, on_piece)
        filling.finish(connection)
    except BaseException as error:
        _give_up(connection, filling.units, error)
        raise


def _give_up(connection, units, error):
    """Empty the database, unless the load may continue or another has taken over."""
    if isinstance(error, Overtaken):
        return
    if is_resumable(error):
        error.add_note("The rows that were sent are kept. Run the same command again to continue.")
        return
    try:
        with stopping():
            empty(connection, units.guard)
    except Overtaken:
        return
    except DatabaseError as second:
        error.add_note(f"Afterwards: {second}")
