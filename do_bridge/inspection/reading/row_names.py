"""Names of rows in URLs.

A name is the primary key's text if that is unambiguous, else the rowid or the key's values.
"""

import json

from do_bridge.driver.sql import quote

# Begins a name that is not the plain text of the key's one column.
EXACT = "="
LONGEST_PLAIN = 200  # characters
LONGEST_EXACT = 1_000
_ROWIDS = ("rowid", "_rowid_", "oid")
_LARGEST = 2**63


def plain_column(table):
    """Return the key's only column if its text can name rows, else None.

    The column must keep texts and numbers apart.
    """
    key = table.primary_key
    if len(key) != 1:
        return None
    declared = table.column(key[0]).type.upper()
    # https://www.sqlite.org/datatype3.html#determination_of_column_affinity
    if "INT" in declared or any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return key[0]
    has_no_affinity = not declared or "BLOB" in declared
    return None if has_no_affinity or any(w in declared for w in ("REAL", "FLOA", "DOUB")) else key[0]


def rowid_column(table):
    """Return the name that reaches the table's rowid, or None."""
    if table.is_view or table.without_rowid:
        return None
    taken = {column.name.lower() for column in table.columns}
    return next((name for name in _ROWIDS if name not in taken), None)


def order_columns(table):
    """Return the quoted columns by which rows have one order, none for a view."""
    plain, rowid = plain_column(table), rowid_column(table)
    if plain:
        return [quote(plain)]
    return [rowid] if rowid else [quote(name) for name in table.primary_key]


def name_sql(table):
    """Return the SQL expression for a row's name, NULL for a row without one.

    None if no row has any.
    """
    plain, rowid = plain_column(table), rowid_column(table)
    if rowid:
        exact = f"'{EXACT}' || {rowid}"
    elif table.primary_key:
        values = f"'{EXACT}' || json_array({', '.join(map(_value_sql, table.primary_key))})"
        exact = f"CASE WHEN length({values}) <= {LONGEST_EXACT} THEN {values} END"
    else:
        exact = "NULL"
    if plain:
        column = quote(plain)
        return (
            f"CASE WHEN typeof({column}) = 'integer' OR (typeof({column}) = 'text' "
            f"AND length({column}) <= {LONGEST_PLAIN} AND substr({column}, 1, 1) <> '{EXACT}' "
            f"AND instr({column}, char(0)) = 0) THEN CAST({column} AS TEXT) ELSE {exact} END"
        )
    if rowid:
        return f"CAST({rowid} AS TEXT)"
    return exact if table.primary_key else None


def _value_sql(name):
    column = quote(name)
    return (
        f"CASE typeof({column}) WHEN 'blob' THEN 'x' || hex({column}) WHEN 'text' THEN 't' || {column} "
        f"WHEN 'real' THEN 'r' || format('%!.17g', {column}) ELSE {column} END"
    )


def conditions(table, name):
    """Return [(quoted column, value)] that select the row with this name.

    None if no row has it.
    """
    plain, rowid = plain_column(table), rowid_column(table)
    if not name.startswith(EXACT):
        if plain:
            return [(quote(plain), name)]
        return _rowid_condition(rowid, name) if rowid else None
    if rowid:
        return _rowid_condition(rowid, name[len(EXACT) :])
    try:
        values = [_value(item) for item in json.loads(name[len(EXACT) :])]
    except (ValueError, TypeError, RecursionError):
        return None
    if not values or len(values) != len(table.primary_key):
        return None
    return list(zip(map(quote, table.primary_key), values, strict=True))


def _rowid_condition(rowid, text):
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    number = int(text)
    return [(rowid, number)] if -_LARGEST <= number < _LARGEST else None


def _value(item):
    """Return the value that `_value_sql` wrote.

    Raises ValueError or TypeError for anything else.
    """
    if isinstance(item, int) and not isinstance(item, bool) and -_LARGEST <= item < _LARGEST:
        return item
    if not isinstance(item, str):
        raise TypeError("neither a number nor a text")
    kind, text = item[:1], item[1:]
    if kind == "t":
        text.encode()  # refuse a lone surrogate, which no row has and JSON can write
        return text
    return {"x": bytes.fromhex, "r": float}.get(kind, _refuse)(text)


def _refuse(text):
    raise ValueError("of no kind")


def link_name(table, cell):
    """Return the name of the row of `table` to which a foreign key's `cell` points.

    None if not plain.
    """
    text = cell.text
    is_plain = cell.kind == "integer" or (
        cell.kind == "text" and cell.length <= LONGEST_PLAIN and "\0" not in text
    )
    return text if plain_column(table) and is_plain and not text.startswith(EXACT) else None
