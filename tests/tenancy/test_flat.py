"""A process that serves many tenants holds no more than one that serves a few: FLAT_TENANTS of them."""

import gc
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import override_settings
from django.utils import connection

from do_bridge import driver
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.looking import unchecked
from do_bridge.testing import unique_slug

TENANTS = int(os.environ.get("FLAT_TENANTS", "400"))
WRAPPERS = 8
THREADS = 4
#: Tenants that one thread uses before memory is measured, and until it is measured again.
FIRST, HALF = TENANTS // 10, TENANTS // 2
#: Bytes that Python may hold more for each tenant between the two.
FLAT = 500


@pytest.fixture
def pool(django_db_blocker, django_db_setup, local_worker):
    """The relay's sessions, none of them open yet."""
    transport = driver.relay(local_worker.url, local_worker.token)
    transport.close()
    with django_db_blocker.unblock():
        yield transport.pool
    transport.close()


def session_threads():
    """Return the number of threads, without the one that writes the sums of use."""
    return sum(thread.name != "do-bridge-usage" for thread in threading.enumerate())


def use(slugs):
    """Ask each tenant's object something; return the most wrappers that this thread had at any time."""
    most = 0
    with unchecked():
        for slug in slugs:
            with connections[tenant_alias(slug)].cursor() as cursor:
                assert cursor.execute("SELECT 1").fetchone() == (1,)
            most = max(most, len(tenant_databases().live_aliases()))
    return most


# The sums of use grow by tenant until they are written.
@override_settings(DO_BRIDGE={"MAX_TENANT_CONNECTIONS": WRAPPERS, "USAGE": False})
def test_many_tenants_take_a_session_a_thread_and_a_bounded_number_of_wrappers(pool):
    prefix = unique_slug("flat")
    slugs = [f"{prefix}-{number}" for number in range(TENANTS)]
    threads_before = session_threads()
    tracemalloc.start()
    try:
        assert use(slugs[:FIRST]) == WRAPPERS
        held = memory()
        assert use(slugs[FIRST:HALF]) == WRAPPERS
        assert memory() - held < FLAT * (HALF - FIRST)
    finally:
        tracemalloc.stop()
    # One session, and one thread that looks after all idle ones.
    assert len(pool._sessions) == 1
    assert session_threads() - threads_before <= 1

    # No thread ends before all have had their share: each needs a session at the same time.
    together = threading.Barrier(THREADS, timeout=60)

    def work(number):
        together.wait()
        most = use(slugs[HALF + number :: THREADS])
        together.wait()
        return most, tenant_databases().live_aliases()[-1]

    with ThreadPoolExecutor(THREADS) as executor:
        results = list(executor.map(work, range(THREADS)))
    assert [most for most, _ in results] == [WRAPPERS] * THREADS
    assert {last for _, last in results} == {tenant_alias(slug) for slug in slugs[-THREADS:]}
    assert 1 <= len(pool._sessions) <= THREADS
    assert session_threads() - threads_before <= 1


def memory():
    """Return the bytes that Python holds, without garbage and without modules that a thread has imported.

    Nor with Python's table of interned names: an alias becomes an attribute there, and the table doubles.
    """
    gc.collect()
    others = [tracemalloc.Filter(False, name) for name in ("<frozen importlib*", connection.__file__)]
    found = tracemalloc.take_snapshot().filter_traces(others)
    return sum(trace.size for trace in found.traces)
