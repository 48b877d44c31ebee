"""Turn rows into statements, many rows to one JSON text.

Each statement keeps to the size limits of a value and of a request.
"""

import json

from do_bridge.driver.limits import LIST_BYTES, chunks_by_weight

# A larger row travels alone, each of its values in a slot of its own.
LARGE_ROW = 400_000
ROWS_AT_ONCE = 5000


def pieces(cursor):
    """Return lists of rows that one statement can carry.

    A large row is alone in its list.
    """
    return chunks_by_weight(cursor, _weight, LIST_BYTES, ROWS_AT_ONCE)


def _weight(row):
    own = sum(_size(value) for value in row)
    return own if own <= LARGE_ROW else LIST_BYTES


def _size(value):
    if isinstance(value, bytes):
        return 2 * len(value) + 4
    # Quotes, line ends and control characters grow in JSON.
    return len(json.dumps(value, ensure_ascii=False).encode()) + 4 if isinstance(value, str) else 24


def insert(into, rows):
    """Return (sql, params) that insert the rows.

    Several rows travel as one JSON text; a single row has a parameter for each value.
    """
    percent = into.replace("%", "%%")
    if len(rows) == 1:
        return percent + f"VALUES ({', '.join(['%s'] * len(rows[0]))})", rows[0]
    width = len(rows[0])
    blobs = [any(isinstance(row[index], bytes) for row in rows) for index in range(width)]
    values = ", ".join(_element(index, blob) for index, blob in enumerate(blobs))
    text = "[" + ",".join(_json_row(row) for row in rows) + "]"
    return f"{percent}SELECT {values} FROM json_each(%s)", [text]  # noqa: S608


def _element(index, has_blobs):
    if not has_blobs:
        return f"value->>{index}"
    path = f"'$[{index}]'"
    # A blob is a list with its hexadecimal digits; other types may stand in the same column.
    return (
        f"CASE json_type(value, {path}) WHEN 'array' THEN unhex(value->>'$[{index}][0]') "
        f"ELSE value->>{index} END"
    )


def _json_row(row):
    return "[" + ",".join(map(_json_value, row)) + "]"


def _json_value(value):
    if isinstance(value, bytes):
        return f'["{value.hex()}"]'
    if value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    return json.dumps(value, ensure_ascii=False)
