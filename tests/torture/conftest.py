"""Objects with a table for one test."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport


@pytest.fixture
def make_object(relay: RelayTransport) -> Callable[[], str]:
    """Makes objects with an empty table ``item (v)``; returns their names."""

    def make() -> str:
        name = f"do:test/torture/{uuid.uuid4().hex}"
        driver.connect(relay, name).execute("CREATE TABLE item (v)")
        return name

    return make
