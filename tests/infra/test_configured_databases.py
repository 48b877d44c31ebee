"""A run of Django's own test runner leaves the configured databases as they are, or refuses to start."""

import os
from pathlib import Path

import pytest

from do_bridge import driver
from tests import forking
from tests.conftest import DATABASE_ID

ROOT = Path(__file__).resolve().parents[2]
CONFIGURED, FOR_TESTS = DATABASE_ID.format(7), DATABASE_ID.format(8)
KEPT = (f"d1:{CONFIGURED}", "do:tenant/untouched")


def run_inner_tests(test_database: str) -> forking.Program:
    environment = os.environ | {"CLOUDFLARE_DATABASE_ID": CONFIGURED, "D1_TEST_DATABASE_ID": test_database}
    return forking.run(["manage.py", "test", "--noinput", "tests.infra.inner.site_cases"], env=environment)


@pytest.fixture
def snapshot(local_worker):
    """Writes a row into each configured database; returns a function that reads all that is in them."""
    connections = [
        driver.connect(driver.relay(local_worker.url, local_worker.token), name, timeout=30.0)
        for name in KEPT
    ]
    for connection in connections:
        connection.execute_batch(
            [
                ("CREATE TABLE IF NOT EXISTS kept (note text)", None),
                ("INSERT INTO kept VALUES ('as it was')", None),
            ]
        )

    def read():
        query = "SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name"
        return [
            [
                result.rows
                for result in connection.execute_batch([(query, None), ("SELECT * FROM kept", None)])
            ]
            for connection in connections
        ]

    yield read
    for connection in connections:
        connection.execute_batch([("DROP TABLE kept", None)])
        connection.close()


def test_a_test_run_that_writes_to_both_sides_changes_nothing_in_the_configured_ones(snapshot):
    before = snapshot()
    assert before == [[[("kept",)], [("as it was",)]]] * 2
    done = run_inner_tests(FOR_TESTS)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
    assert snapshot() == before


@pytest.mark.parametrize("test_database", ["", CONFIGURED], ids=["none", "the configured one"])
def test_a_test_run_without_a_database_of_its_own_refuses_to_start(snapshot, test_database):
    before = snapshot()
    done = run_inner_tests(test_database)
    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert "TEST" in done.stderr
    assert "Ran 2 tests" not in done.stderr
    assert snapshot() == before
