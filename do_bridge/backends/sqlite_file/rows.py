"""Rows as statements: many in one JSON text, each within what a value and a request may weigh."""

import json

# What one statement's rows may weigh as JSON; the runtime's limit for a value is 2 MB.
PIECE_BYTES = 1_000_000
# A larger row travels alone, each of its values in a slot of its own.
LARGE_ROW = 400_000
ROWS_AT_ONCE = 5000


def pieces(cursor):
    """Yield lists of rows that one statement can carry; a large row is alone in its list."""
    piece, size = [], 0
    for row in cursor:
        own = sum(_size(value) for value in row)
        if piece and (size + own > PIECE_BYTES or len(piece) == ROWS_AT_ONCE or own > LARGE_ROW):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += own
        if own > LARGE_ROW:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _size(value):
    if isinstance(value, bytes):
        return 2 * len(value) + 4
    # Quotes, line ends and control characters grow in JSON.
    return len(json.dumps(value, ensure_ascii=False).encode()) + 4 if isinstance(value, str) else 24


def insert(into, rows):
    """Return (sql, params) that insert the rows: one JSON text of them all, or one row by its own slots."""
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
