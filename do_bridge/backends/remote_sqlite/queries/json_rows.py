"""Rows as JSON for SQLite's json_each(): how a column's values are written, and where the list is split."""

from do_bridge.backends.remote_sqlite.lookups import NotJSONError, json_text, json_value

# A value may have 2 MB in production; the rest is room for the other parameters.
PIECE_BYTES = 1_800_000
BLOBS = bytes | bytearray | memoryview


def hex_value(value):
    """Return a blob as hexadecimal text."""
    if value is None:
        return None
    if not isinstance(value, BLOBS):
        raise NotJSONError
    return bytes(value).hex()


def column_of(values, index):
    """Return the SQL that reads the element `index` of a row, and the function that encodes its values."""
    if any(isinstance(value, BLOBS) for value in values):
        return f"unhex(value ->> {index})", hex_value
    return f"value ->> {index}", json_value


def row_texts(rows, encoders):
    """Yield each row with its JSON text, or with None if JSON cannot carry it or it is too long."""
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
    piece, size = [], 0
    for text in texts:
        length = len(text.encode()) + 1
        if piece and size + length > PIECE_BYTES:
            yield f"[{','.join(piece)}]"
            piece, size = [], 0
        piece.append(text)
        size += length
    if piece:
        yield f"[{','.join(piece)}]"
