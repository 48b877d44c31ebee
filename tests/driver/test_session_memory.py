"""What a session that serves for long holds in the Worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from do_bridge import driver
from do_bridge.driver.transports.relay import RelayTransport

MEGABYTE = 10**6


def resident(worker: Any) -> float:
    """Return the megabytes that a Worker's runtime holds."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in worker.workerd_pids()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_a_session_does_not_keep_what_its_transactions_began_with(own_worker: Callable[..., Any]) -> None:
    worker = own_worker().start()
    transport = RelayTransport(worker.url, worker.token)
    connection = driver.connect(transport, "do:test/memory")
    connection.execute("SELECT 1")
    before = resident(worker)
    for number in range(200):
        connection.begin()
        connection.execute("SELECT length(%s)", [f"{number}".ljust(2 * MEGABYTE - 10)])
        connection.rollback()
    # Kept, they would be 400 MB beside the some 200 that a collector leaves for later.
    grown = resident(worker) - before
    transport.close()
    assert grown < 400, f"grown by {grown:.0f} MB over 400 MB of requests"
