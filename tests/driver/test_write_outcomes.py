"""What a write's caller is told is true, also where asking for its answer fails, or its client was copied."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.driver.transports.relay_session import RelaySession

from .proxy import Proxy

Items = Callable[[], list[Any]]


def put(connection: driver.Connection, value: int) -> None:
    connection.execute("INSERT INTO item (v) VALUES (%s)", [value])


def test_a_write_that_is_known_to_be_done_is_never_said_to_be_undone(
    proxied: RelayTransport, tenant: driver.Connection, proxy: Proxy, items: Items
) -> None:
    connection = driver.connect(proxied, tenant.database, timeout=60)
    connection.execute("SELECT 1")
    request = RelaySession.request

    def fail(self: RelaySession, message: dict[str, Any], deadline: Deadline) -> Any:
        if message.get("again"):
            raise driver.OperationalError("The relay could not be reached", effect="none")
        return request(self, message, deadline)

    proxy.lose_answers = 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RelaySession, "request", fail)
        with pytest.raises(driver.OperationalError, match="was carried out once") as caught:
            put(connection, 1)
    assert caught.value.effect == "done"
    assert items() == [1]


def test_what_no_time_is_left_for_is_not_sent(
    relay: RelayTransport, tenant: driver.Connection, items: Items
) -> None:
    step = {"sql": "INSERT INTO item (v) VALUES (1)"}
    session = relay.pool.acquire(Deadline(10))
    try:
        with pytest.raises(driver.OperationalError, match="timeout") as caught:
            session.request({"op": "batch", "db": tenant.database, "steps": [step]}, Deadline(0))
        assert (caught.value.effect, session.usable) == ("none", True)
    finally:
        relay.pool.release(session)
    assert items() == []


def test_two_copies_of_a_client_do_not_take_the_answer_to_each_others_writes(
    relay: RelayTransport, tenant: driver.Connection, items: Items
) -> None:
    put(tenant, 0)
    # As a process and its restored snapshot, which know the same last number.
    other = driver.connect(relay, tenant.database)
    other._keys._client = copy.copy(tenant._keys._client)
    for values in ((1, 2), (3, 4)):
        for connection, value in zip((tenant, other), values, strict=True):
            put(connection, value)
    assert items() == [0, 1, 2, 3, 4]
