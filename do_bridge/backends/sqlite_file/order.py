"""Order tables so that no foreign key points at a row that is not there yet."""

from do_bridge.driver.sql import quote


def in_order(source, tables):
    """Return (tables before, tables in circles of foreign keys, tables after).

    Parents come before children.
    """
    by_name = {table.name.lower(): table for table in tables}
    parents = {}
    for name, table in by_name.items():
        keys = source.execute(f"PRAGMA foreign_key_list({quote(table.name)})").fetchall()
        parents[name] = {row[2].lower() for row in keys} & by_name.keys()
    before = _peel(parents)
    left = {name: parents[name] & (parents.keys() - set(before)) for name in parents if name not in before}
    children = {name: {child for child, ones in left.items() if name in ones} for name in left}
    after = _peel(children)
    circles = [name for name in left if name not in after]
    return [[by_name[name] for name in names] for names in (before, circles, reversed(after))]


def _peel(blockers):
    """Return the names in an order in which each follows its blockers.

    Names in a circle, or blocked by one, are left out.
    """
    order, left = [], dict(blockers)
    while free := [name for name, names in left.items() if not names & left.keys()]:
        order += free
        for name in free:
            del left[name]
    return order
