"""Connections to fresh databases on the local Worker, past the proxy and through it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.rest import RestTransport

# Apart from the databases that Django's tests use.
D1 = "d1:d0b41d9e-0000-4000-8000-000000000008"


@pytest.fixture
def rest(local_worker: Any) -> Iterator[RestTransport]:
    """A REST transport with a client of its own."""
    transport = RestTransport(local_worker.api_base, local_worker.token)
    yield transport
    transport.close()


@pytest.fixture
def tenant_name() -> str:
    """The name of an object that nobody has used."""
    return f"do:test/driver/{uuid.uuid4().hex}"


@pytest.fixture
def tenant(relay: RelayTransport, tenant_name: str) -> Iterator[driver.Connection]:
    """A connection to an empty object."""
    with driver.connect(relay, tenant_name) as connection:
        yield connection


@pytest.fixture(params=["object", "d1 by relay", "d1 by rest"])
def connection(request: pytest.FixtureRequest, tenant_name: str) -> Iterator[driver.Connection]:
    """A connection to each kind of database, over each transport."""
    transport = request.getfixturevalue("rest" if request.param == "d1 by rest" else "relay")
    with driver.connect(transport, tenant_name if request.param == "object" else D1) as made:
        yield made


@pytest.fixture
def table(connection: driver.Connection) -> Iterator[str]:
    """An empty table ``(id INTEGER PRIMARY KEY, v)`` with a unique ``u``."""
    name = f"t_{uuid.uuid4().hex}"
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, v, u TEXT UNIQUE)")
    yield name
    if not connection.closed:
        connection.execute(f"DROP TABLE {name}")


@pytest.fixture
def items(tenant: driver.Connection) -> Callable[[], list[Any]]:
    """A table ``item(id, v)`` in the object; called, it reads the values."""
    tenant.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, v UNIQUE)")

    def read() -> list[Any]:
        with driver.connect(tenant.transport, tenant.database) as other:
            return [row[0] for row in other.execute("SELECT v FROM item ORDER BY v").fetchall()]

    return read


@pytest.fixture
def cuttable(
    proxied: RelayTransport, tenant: driver.Connection, items: Callable[[], list[Any]]
) -> driver.Connection:
    """A connection to the object through the proxy, its session already open."""
    connection = driver.connect(proxied, tenant.database, timeout=60)
    connection.execute("SELECT 1")
    return connection
