"""Writes of one row, and requests under keys of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport

INSERT = "INSERT INTO item (v) VALUES (%s) RETURNING id"
# Reads the values of the table `item`.
Items = Callable[[], list[Any]]


def put(connection: driver.Connection, value: Any) -> int:
    """Insert one row and return its primary key."""
    (key,) = connection.execute(INSERT, [value]).fetchone() or (None,)
    assert isinstance(key, int)
    return key


def keys_in(connection: driver.Connection) -> list[Any]:
    """Return the rows of the object's table of keys."""
    return connection.execute("SELECT client, n, answer FROM _do_bridge_keys ORDER BY at").fetchall()


def ask(connection: driver.Connection, **message: Any) -> Any:
    """Send one request of the protocol by itself."""
    transport = connection.transport
    assert isinstance(transport, RelayTransport)
    deadline = Deadline(10)
    session = transport.pool.acquire(deadline)
    try:
        return session.request({"db": connection.database, **message}, deadline)
    finally:
        transport.pool.release(session)


def outcome(connection: driver.Connection, key: str) -> str:
    return str(ask(connection, op="outcome", key=key)[0].rows[0][0])


def insert(connection: driver.Connection, key: str, value: int, **more: Any) -> Any:
    """Insert one row under a key of the test's own."""
    step = {"sql": f"INSERT INTO item (v) VALUES ({value}) RETURNING id", "count": True}
    return ask(connection, op="batch", key=key, steps=[step], **more)[0]


def new_client() -> str:
    return secrets.token_hex(16)
