"""A PEP 249 driver for Cloudflare D1 and for SQLite Durable Objects.

It connects over the relay, or over D1's REST API.
"""

from __future__ import annotations

import datetime
import time as _time

from .connection import Connection, connect
from .cursor import Cursor
from .exceptions import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from .results import Result
from .speculation.conflict import TransactionConflict
from .transport import Transport
from .transports.relay import relay
from .transports.rest import rest
from .trips import TripCount, count_trips

apilevel = "2.0"
# Threads may share the module and transports, not connections.
threadsafety = 1
paramstyle = "format"

Binary = bytes
Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
STRING = str
BINARY = bytes
NUMBER = float
DATETIME = datetime.datetime
ROWID = int


def DateFromTicks(ticks: float) -> datetime.date:  # noqa: N802 - PEP 249 gives the name.
    """Return the local date of a time in seconds since the epoch."""
    return datetime.date(*_time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:  # noqa: N802 - PEP 249 gives the name.
    """Return the local time of day of a time in seconds since the epoch."""
    return datetime.time(*_time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:  # noqa: N802 - PEP 249 gives the name.
    """Return the local date and time of a time in seconds since the epoch."""
    return datetime.datetime(*_time.localtime(ticks)[:6])


__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Result",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Transport",
    "TransactionConflict",
    "TripCount",
    "Warning",
    "apilevel",
    "connect",
    "count_trips",
    "paramstyle",
    "relay",
    "rest",
    "threadsafety",
]
