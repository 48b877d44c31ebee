"""A proxy before the Worker of the test process, transports through it and past it, objects for one test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.relay import RelayTransport
from tests.driver.proxy import Proxy


@pytest.fixture
def proxy(local_worker: Any) -> Iterator[Proxy]:
    """A proxy before the Worker."""
    with Proxy(local_worker.port) as running:
        yield running


@pytest.fixture
def proxied(proxy: Proxy, local_worker: Any) -> Iterator[RelayTransport]:
    """A transport through the proxy."""
    transport = RelayTransport(proxy.url, local_worker.token)
    yield transport
    proxy.release()
    transport.close()


@pytest.fixture
def direct(local_worker: Any) -> Iterator[RelayTransport]:
    """A transport past the proxy."""
    transport = RelayTransport(local_worker.url, local_worker.token)
    yield transport
    transport.close()


@pytest.fixture
def make_object(direct: RelayTransport) -> Callable[[], str]:
    """Makes objects with an empty table ``item (v)``; returns their names."""

    def make() -> str:
        name = f"do:test/torture/{uuid.uuid4().hex}"
        driver.connect(direct, name).execute("CREATE TABLE item (v)")
        return name

    return make
