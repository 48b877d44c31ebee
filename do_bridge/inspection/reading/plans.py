"""Query plans as trees, with advice on scans that read a whole table."""

import re
from dataclasses import dataclass, field

from do_bridge.driver.sql import tokens

LARGE = 1_000  # rows of a table whose full scan is worth an index
_AUTOMATIC = re.compile(r"^SEARCH (?P<name>.+?) USING AUTOMATIC .*?INDEX \((?P<columns>.*)\)$")
_SCAN = re.compile(r"^SCAN (?P<name>.+?)(?: USING .*)?$")
_COMPARISONS = frozenset({"=", "<", ">", "IS", "IN", "BETWEEN"})
_CLAUSES = frozenset({"ORDER", "GROUP", "LIMIT", "HAVING", "UNION", "EXCEPT", "INTERSECT", "WINDOW"})
_NO_ALIAS = _CLAUSES | {
    "ON", "WHERE", "JOIN", "LEFT", "INNER", "CROSS", "NATURAL", "FULL", "RIGHT", "OUTER", "USING", "SET",
    "INDEXED", "NOT",
}  # fmt: skip


@dataclass
class Step:
    """A line of the plan with those below it.

    `advice` is empty, or what makes the step slow and what would help.
    """

    detail: str
    advice: str = ""
    children: list = field(default_factory=list)


def tree(rows, sql, tables):
    """Return the top Steps of a statement's query plan.

    `rows` are those of EXPLAIN QUERY PLAN: (id, parent, _, detail).
    """
    words = [word for word, *_ in tokens(sql)]
    aliases = _aliases(sql, tables)
    root = Step("")
    steps = {0: root}
    for number, parent, _, detail in rows:
        steps[number] = Step(detail, _advice(detail, sql, words, aliases, tables))
        steps.get(parent, root).children.append(steps[number])
    return root.children


def has_advice(steps):
    """Return whether a Step or one below it has advice."""
    return any(step.advice or has_advice(step.children) for step in steps)


def _advice(detail, sql, words, aliases, tables):
    if automatic := _AUTOMATIC.match(detail):
        table = tables.get(aliases.get(automatic["name"].lower(), automatic["name"]))
        columns = [re.split("[=<>]", part)[0] for part in automatic["columns"].split(" AND ")]
        if table is None or not _is_large(table):
            return ""
        return f"SQLite builds an index of {table.name} for this statement alone. {_index(table, columns)}"
    scan = _SCAN.match(detail)
    table = tables.get(aliases.get(scan["name"].lower(), scan["name"])) if scan else None
    if table is None or not _is_large(table):
        return ""
    rows = f"{table.rows:,}{'+' if table.is_more else ''}"
    said = f"Reads all {rows} rows of {table.name}."
    names = {name for name, target in aliases.items() if target == table.name} | {table.name.lower()}
    column = _compared(sql, names, table)
    if column is None:
        return f"{said} No index helps, because no condition compares a column of it. Add one, or a LIMIT."
    return f"{said} {_index(table, [column])}"


def _is_large(table):
    return table.rows is not None and (table.is_more or table.rows >= LARGE)


def _index(table, columns):
    names = ", ".join(columns)
    return f"An index on {table.name} ({names}) would help."


def _words(sql):
    """Return the words of a statement, with names out of their quotes.

    Signs are words of their own.
    """
    found, at = [], 0
    for sign, _, end in tokens(sql):
        text = sql[at:end].strip()
        at = end
        if sign == "'":
            found.append("''")
        elif sign in '"`[' and len(text) > 1:
            found.append(text[text.index(sign) + 1 : -1])
        else:
            found.append(sign)
    return found


def _aliases(sql, tables):
    """Return {name in lower case: table} of a statement's tables and aliases."""
    known = {name.lower(): name for name in tables}
    words, found = _words(sql), {}
    for at, word in enumerate(words):
        table = known.get(word.lower())
        if table is None or (at and words[at - 1] == "."):
            continue
        found[word.lower()] = table
        after = words[at + 1 : at + 3]
        if after[:1] and after[0].upper() == "AS":
            after = after[1:]
        if after and after[0].isidentifier() and after[0].upper() not in _NO_ALIAS:
            found[after[0].lower()] = table
    return found


def _compared(sql, names, table):
    """Return the first column of `table` that is compared without an index.

    A condition compares it, and no index begins with it. Return None if there is no such column.
    """
    words = _words(sql)
    columns = {column.name.lower(): column.name for column in table.columns}
    indexed = {index.columns[0] for index in table.indexes if index.columns}
    if len(table.primary_key) == 1:
        indexed.add(table.primary_key[0])
    start = next((at for at, word in enumerate(words) if word.upper() in ("WHERE", "ON")), len(words))
    for at in range(start, len(words)):
        column = columns.get(words[at].lower())
        qualified = at > 1 and words[at - 1] == "."
        if column is None or column in indexed or (qualified and words[at - 2].lower() not in names):
            continue
        after = words[at + 1].upper() if at + 1 < len(words) else ""
        before = words[at - 3 if qualified else at - 1].upper()
        if after in _COMPARISONS or (before in ("=", "<", ">") and after not in (".", "(")):
            return column
    return None
