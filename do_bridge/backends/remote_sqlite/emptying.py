"""Drop everything that a database holds."""

import json

from do_bridge.driver import Error
from do_bridge.driver.internal import PLATFORM_AND_SQLITE, outside
from do_bridge.driver.sql import quote

from .refusals import failing, told

_FOUND = f"""
    FROM pragma_table_list WHERE "schema" = 'main' AND type <> 'shadow' AND {outside(PLATFORM_AND_SQLITE)}
"""  # noqa: S608
_OBJECTS = f"""
SELECT name, type, (SELECT json_group_array("table") FROM pragma_foreign_key_list(o.name))
FROM (SELECT name, type {_FOUND}) AS o ORDER BY name
"""  # noqa: S608
#: The kind of failure after which the list of names is read again.
LEFT = "left"
# Last in the batch of drops: it fails if tables were made after the list was read.
_REFUSE_LEFT = f"SELECT {failing(LEFT, 'name')} {_FOUND}"  # noqa: S608
# How often to read the list again if tables are made at the same time.
_ATTEMPTS = 5


def empty(connection, guard=None):
    """Drop all views, tables and triggers in one atomic batch on a driver connection.

    `guard(names)` is called with the names that were found, unless there are none. It returns statements
    that run first; if one fails, nothing is dropped. The database is empty at the end of the batch: tables
    that are made between the list and the batch are listed and dropped as well.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _empty(connection, guard)
        except Error as error:
            if told(error, LEFT) is None or connection.in_transaction or attempt == _ATTEMPTS:
                raise
        else:
            return


def _empty(connection, guard):
    objects = connection.execute(_OBJECTS).fetchall()
    views = [name for name, kind, _ in objects if kind == "view"]
    tables = {name: _referenced(keys, name) for name, kind, keys in objects if kind != "view"}
    statements = [f"DROP VIEW IF EXISTS {quote(name)}" for name in views]
    statements += [f"DROP TABLE IF EXISTS {quote(name)}" for name in _children_first(tables)]
    if statements:
        first = guard({name for name, *_ in objects}) if guard is not None else []
        # The table of the idempotency keys is dropped, too.
        with connection.unkeyed():
            statements = ["PRAGMA defer_foreign_keys=on", *statements, _REFUSE_LEFT]
            dropping = [(sql, None) for sql in statements]
            connection.execute_batch([*first, *dropping])


def _referenced(keys, own_name):
    return {table.lower() for table in json.loads(keys)} - {own_name.lower()}


def _children_first(tables):
    """Return table names, each after the tables that reference it.

    A circle is broken at its first name.
    """
    left, order = dict(tables), []
    while left:
        pointed_at = set().union(*left.values())
        free = [name for name in left if name.lower() not in pointed_at] or [next(iter(left))]
        order += free
        for name in free:
            del left[name]
    return order
