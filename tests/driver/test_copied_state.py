"""A connection whose state was copied, as with a snapshot of its machine: both go on, nothing is lost."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from do_bridge import driver

Items = Callable[[], list[Any]]


def put(connection: driver.Connection, value: int) -> None:
    connection.execute("INSERT INTO item (v) VALUES (%s)", [value])


@pytest.fixture
def copied(tenant: driver.Connection, items: Items) -> driver.Connection:
    """A copy of the connection after its first write; it has written more since."""
    made = driver.connect(tenant.transport, tenant.database)
    made._keys = copy.deepcopy(tenant._keys)
    # Two: the next number of each copy has digits of its own.
    put(tenant, 100)
    put(tenant, 101)
    return made


def test_a_copy_writes_under_a_name_of_its_own_once_the_other_one_has_gone_on(
    tenant: driver.Connection, copied: driver.Connection, items: Items
) -> None:
    trips = []
    for value in range(5):
        for connection, own in ((copied, value), (tenant, value + 10)):
            with driver.count_trips() as count:
                put(connection, own)
            trips.append(count.count)
    assert trips == [2] + [1] * 9
    assert items() == [*range(5), *range(10, 15), 100, 101]


def test_a_commit_of_a_copy_is_rolled_back_and_the_next_one_passes(
    tenant: driver.Connection, copied: driver.Connection, items: Items
) -> None:
    copied.begin()
    put(copied, 1)
    with pytest.raises(driver.OperationalError, match="not run") as caught:
        copied.commit()
    assert (caught.value.kind, caught.value.effect) == ("stale_key", "ended")
    copied.rollback()
    copied.begin()
    put(copied, 2)
    copied.commit()
    put(tenant, 3)
    assert items() == [2, 3, 100, 101]


def test_a_name_without_numbers_is_left_for_another(tenant: driver.Connection, items: Items) -> None:
    put(tenant, 1)
    client = tenant._keys._client
    assert client is not None
    client.last = 10**15 - 2 * 10**6 - 2
    put(tenant, 2)
    assert client.last < 10**15
    assert tenant._keys._client is client
    put(tenant, 3)
    assert tenant._keys._client is not client
    assert items() == [1, 2, 3]
