"""Colours for SQL on pages: a statement cut into words with a kind each."""

import re

_KEYWORDS = frozenset(
    {
        "ADD", "ALL", "ALTER", "AND", "AS", "ASC", "AUTOINCREMENT", "BETWEEN", "BY", "CASCADE", "CASE",
        "CHECK", "COLLATE", "COLUMN", "CONSTRAINT", "CREATE", "CROSS", "CURRENT_DATE", "CURRENT_TIME",
        "CURRENT_TIMESTAMP", "DEFAULT", "DEFERRABLE", "DEFERRED", "DELETE", "DESC", "DISTINCT", "DROP",
        "ELSE", "END", "EXCEPT", "EXISTS", "FOREIGN", "FROM", "GENERATED", "GLOB", "GROUP", "HAVING",
        "IF", "IMMEDIATE", "IN", "INDEX", "INITIALLY", "INNER", "INSERT", "INTERSECT", "INTO", "IS",
        "JOIN", "KEY", "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER",
        "OVER", "PARTITION", "PRIMARY", "RECURSIVE", "REFERENCES", "RESTRICT", "ROWID", "SELECT", "SET",
        "STORED", "STRICT", "TABLE", "THEN", "TRIGGER", "UNION", "UNIQUE", "UPDATE", "USING", "VALUES",
        "VIEW", "VIRTUAL", "WHEN", "WHERE", "WITH", "WITHOUT",
    }
)  # fmt: skip
_TYPES = frozenset(
    {
        "BIGINT", "BLOB", "BOOL", "BOOLEAN", "CHAR", "DATE", "DATETIME", "DECIMAL", "DOUBLE", "INTEGER",
        "INT", "NUMERIC", "REAL", "SMALLINT", "TEXT", "TIME", "UNSIGNED", "VARCHAR",
    }
)  # fmt: skip
# For colours alone: what stands in no branch stays as it is.
_PARTS = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<string>'(?:[^']|'')*'?)|(?P<name>\"(?:[^\"]|\"\")*\"?)"
    r"|(?P<number>\b\d[\w.]*)|(?P<word>[^\W\d]\w*)",
    re.DOTALL,
)
LONGEST = 50_000


def parts(sql):
    """Return [(kind, text)] that together are `sql`.

    The kind is "keyword", "type", "string", "name", "number", "comment", or empty.
    """
    found, at = [], 0
    for match in _PARTS.finditer(sql[:LONGEST]):
        if match.start() > at:
            found.append(("", sql[at : match.start()]))
        found.append((_kind(match), match[0]))
        at = match.end()
    return [*found, ("", sql[at:])] if at < len(sql) else found


def _kind(match):
    if match.lastgroup != "word":
        return match.lastgroup
    word = match[0].upper()
    return "keyword" if word in _KEYWORDS else "type" if word in _TYPES else ""


def broken_lines(sql):
    """Return a CREATE TABLE statement with each column or constraint on a line.

    Django writes no line breaks. A statement that has some is returned unchanged.
    """
    lines, depth = [""], 0
    for kind, text in parts(sql):
        if kind:
            lines[-1] += text
            continue
        for char in text:
            depth += (char == "(") - (char == ")")
            if char == ")" and depth == 0:
                lines += [")"]
                continue
            lines[-1] += char
            if (char == "(" and depth == 1) or (char == "," and depth == 1):
                lines.append("  ")
    if "\n" in sql or len(lines) < 3:
        return sql
    return "\n".join(f"  {line.strip()}" if line.startswith("  ") else line.rstrip() for line in lines)
