"""Writes whose connection is cut around them are there once or not at all, as their caller was told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport
from tests.driver.proxy import Proxy
from tests.torture.outcomes import outcome

MakeObject = Callable[[], str]
WRITES = 60
PUT = "INSERT INTO item (v) VALUES (%s)"


def write(connection: driver.Connection, value: int) -> None:
    """Write one row by a statement of its own."""
    connection.execute(PUT, [value])


def batch(connection: driver.Connection, value: int) -> None:
    """Write two rows and take one away."""
    connection.execute_batch([(PUT, [value]), (PUT, [-1]), ("DELETE FROM item WHERE v = -1", None)])


def transaction(connection: driver.Connection, value: int) -> None:
    """Write one row in a transaction of several statements."""
    try:
        connection.begin()
        connection.execute("SELECT count(*) FROM item").fetchone()
        connection.execute(PUT, [value])
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def strike(proxy: Proxy, rng: Random) -> threading.Timer:
    """Lose one of the next answers, or cut everything in a moment."""
    if rng.random() < 0.5:
        proxy.lose_answers = 1
        return threading.Timer(0, lambda: None)
    return threading.Timer(rng.uniform(0, 0.012), proxy.cut)


@pytest.mark.parametrize("work", [write, batch, transaction])
def test_a_write_with_a_cut_around_it_is_there_once_or_not_at_all_and_the_caller_knows(
    proxy: Proxy,
    proxied: RelayTransport,
    relay: RelayTransport,
    make_object: MakeObject,
    work: Callable[[driver.Connection, int], None],
) -> None:
    name, rng = make_object(), Random(6)  # noqa: S311 - which cuts come is no secret
    connection = driver.connect(proxied, name)
    told = {}
    for value in range(WRITES):
        timer = strike(proxy, rng)
        timer.start()
        try:
            work(connection, value)
            told[value] = "confirmed"
        except driver.Error as error:
            told[value] = outcome(error)
        timer.join()
        proxy.lose_answers = 0
    with driver.connect(relay, name) as past:
        there = Counter(value for (value,) in past.execute("SELECT v FROM item").fetchall())
    assert set(there) <= set(range(WRITES))
    assert proxy.lost > WRITES / 4
    for value, knows in told.items():
        assert there[value] in {"confirmed": (1,), "failed": (0,), "unknown": (0, 1)}[knows]
