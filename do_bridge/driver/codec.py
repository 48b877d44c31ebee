"""Convert Python's values to the wire and back.

Parameters become JSON text and slots; rows become Python objects.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from .exceptions import DataError, InterfaceError, ProgrammingError
from .limits import PARAMETERS, VALUE_BYTES

# Kinds of slots; a positive number is a blob that takes that many slots of its own.
IN_JSON: Final = 0
HEX_IN_JSON: Final = -1
OWN_TEXT: Final = -2

# JavaScript's numbers are exact up to this one.
MAX_EXACT: Final = 2**53 - 1
_MAX_INT64: Final = 2**63

_LARGE_TEXT: Final = 4096
_LARGE_BLOB: Final = 2048
# The parameters' text is one value, and each byte of a blob takes two of its characters.
_BLOB_PIECE: Final = 750_000
# One parameter is the JSON text.
_OWN_SLOTS: Final = PARAMETERS - 1

_quote = json.encoder.encode_basestring


class Encoded(NamedTuple):
    """Encoded parameters: the kind of each one's slot, and the texts to bind."""

    kinds: tuple[int, ...]
    wire: tuple[str, ...]


def encode(values: Sequence[Any]) -> Encoded:
    """Encode a statement's parameters.

    Raises ProgrammingError for an unsupported type, DataError for a value above 2,000,000 bytes,
    OverflowError for an integer beyond 64 bits and UnicodeEncodeError for a text with a lone surrogate, as
    sqlite3 does.
    """
    kinds: list[int] = []
    texts: list[str] = []
    own: list[str] = []
    for number, value in enumerate(values, 1):
        plain = _plain(value, number)
        if isinstance(plain, bytes):
            kinds.append(_encode_blob(plain, texts, own))
        elif isinstance(plain, str):
            kinds.append(_encode_text(plain, texts, own))
        else:
            kinds.append(IN_JSON)
            texts.append(_number(plain))
    wire = (f"[{','.join(texts)}]", *own) if texts else tuple(own)
    for text in wire:
        # A character takes at most four bytes, so most texts need not be encoded to be measured.
        if len(text) > VALUE_BYTES // 4:
            _check_size(len(text.encode()))
    return Encoded(tuple(kinds), wire)


def slots(kinds: tuple[int, ...]) -> list[str]:
    """Return the SQL expression for each parameter."""
    has_json = any(kind in (IN_JSON, HEX_IN_JSON) for kind in kinds)
    element, parameter = 0, 1 + has_json
    expressions = []
    for kind in kinds:
        if kind in (IN_JSON, HEX_IN_JSON):
            reference = f"(?1->>{element})"
            expressions.append(reference if kind == IN_JSON else f"unhex{reference}")
            element += 1
            continue
        count = max(kind, 1)
        names = [f"?{index}" for index in range(parameter, parameter + count)]
        parameter += count
        if kind == OWN_TEXT:
            expressions.append(names[0])
        elif count == 1:
            expressions.append(f"unhex({names[0]})")
        else:
            expressions.append(f"CAST({'||'.join(f'unhex({name})' for name in names)} AS BLOB)")
    return expressions


def decode(rows: Sequence[Sequence[Any]]) -> tuple[list[tuple[Any, ...]], set[int]]:
    """Return the rows as Python's values, and the columns that may be rounded.

    JSON may have rounded the integers of these columns on the wire.
    """
    doubtful: set[int] = set()
    decoded = []
    for row in rows:
        values = list(row)
        for index, value in enumerate(row):
            kind = type(value)
            if kind is dict or kind is list:
                values[index] = _decode_tagged(value)
            elif kind is int and not -MAX_EXACT <= value <= MAX_EXACT:
                values[index] = float(value)
                # A number beyond 64 bits was a REAL.
                if abs(values[index]) <= _MAX_INT64:
                    doubtful.add(index)
        decoded.append(tuple(values))
    return decoded, doubtful


def _plain(value: Any, number: int) -> None | int | float | str | bytes:
    """Reduce a value to one of the types that SQLite stores."""
    if value is None or type(value) in (str, int, float, bytes):
        return value  # type: ignore[no-any-return]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise ProgrammingError(
        f"Error binding parameter {number}: type {type(value).__name__!r} is not supported"
    )


def _number(value: None | int | float) -> str:
    if value is None:
        return "null"
    if isinstance(value, int):
        if not -_MAX_INT64 <= value < _MAX_INT64:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return int.__repr__(value)
    if math.isnan(value):
        return "null"
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return float.__repr__(value)


def _encode_text(text: str, texts: list[str], own: list[str]) -> int:
    text.encode()
    if len(text) > _LARGE_TEXT and len(own) < _OWN_SLOTS:
        own.append(text)
        return OWN_TEXT
    texts.append(_quote(text))
    return IN_JSON


def _encode_blob(blob: bytes, texts: list[str], own: list[str]) -> int:
    _check_size(len(blob))
    pieces = [blob[at : at + _BLOB_PIECE] for at in range(0, len(blob), _BLOB_PIECE)]
    if len(blob) > _LARGE_BLOB and len(own) + len(pieces) <= _OWN_SLOTS:
        own.extend(piece.hex() for piece in pieces)
        return len(pieces)
    texts.append(f'"{blob.hex()}"')
    return HEX_IN_JSON


def _check_size(size: int) -> None:
    if size > VALUE_BYTES:
        raise DataError(
            f"A value, or the small values of a statement together, takes {size:,} bytes. D1 and "
            f"Durable Objects accept {VALUE_BYTES:,}. Store it in several rows, or outside the "
            "database",
            kind="too_large",
            effect="none",
        )


def _decode_tagged(value: Any) -> bytes | float:
    if isinstance(value, list):
        return bytes(value)
    if "b" in value:
        return base64.b64decode(value["b"])
    if value.get("f") in ("inf", "-inf"):
        return float(value["f"])
    raise InterfaceError(
        "The answer holds a value in a form that this version of the driver cannot read. Run "
        "`manage.py relay deploy`, which deploys the relay of the installed version"
    )
