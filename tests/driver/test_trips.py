"""Counting round trips."""

from __future__ import annotations

import threading

from do_bridge import driver


def test_counts_nest_and_end(tenant: driver.Connection) -> None:
    with driver.count_trips() as outer:
        tenant.execute("SELECT 1")
        with driver.count_trips() as inner:
            tenant.execute("SELECT 1")
    tenant.execute("SELECT 1")
    assert (outer.count, inner.count) == (2, 1)


def test_another_thread_is_not_counted(tenant: driver.Connection) -> None:
    with driver.count_trips() as trips:
        thread = threading.Thread(target=tenant.execute, args=("SELECT 1",))
        thread.start()
        thread.join()
    assert trips.count == 0
