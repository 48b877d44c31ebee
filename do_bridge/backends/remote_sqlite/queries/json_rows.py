"""Write rows as JSON for SQLite's json_each().

It encodes the values of a column, and splits the list of rows.
"""

from do_bridge.backends.remote_sqlite.lookups import NotJSONError, json_text, json_value
from do_bridge.driver.limits import VALUE_BYTES, chunks_by_weight

# The rest of a value's size is room for the other parameters.
PIECE_BYTES = VALUE_BYTES * 9 // 10
BLOBS = bytes | bytearray | memoryview


def hex_value(value):
    """Return a blob as hexadecimal text."""
    if value is None:
        return None
    if not isinstance(value, BLOBS):
        raise NotJSONError
    return bytes(value).hex()


def column_of(values, index):
    """Return the SQL that reads element `index` of a row, and its values' encoder."""
    if any(isinstance(value, BLOBS) for value in values):
        return f"unhex(value ->> {index})", hex_value
    return f"value ->> {index}", json_value


def row_texts(rows, encoders):
    """Yield each row with its JSON text.

    The text is None if JSON can't hold the row or if it is too long.
    """
    for row in rows:
        try:
            text = json_text([encode(value) for encode, value in zip(encoders, row, strict=True)])
        except NotJSONError:
            text = None
        if text is not None and len(text.encode()) >= PIECE_BYTES:
            text = None
        yield row, text


def pieces(texts):
    """Yield the rows' texts as JSON lists, each short enough for one parameter."""
    for chunk in chunks_by_weight(texts, lambda text: len(text.encode()) + 1, PIECE_BYTES):
        yield f"[{','.join(chunk)}]"
