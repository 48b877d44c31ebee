"""One process at a time migrates D1: a second one waits, and finds nothing left to do."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections

from do_bridge.driver.internal import LEASE_TABLE
from do_bridge.tenancy.databases import tenant_databases
from do_bridge.tenancy.lifecycle.lease import database_lease
from do_bridge.tenancy.lifecycle.lease.leases import Held
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.testing import empty_object
from tests.tenancy.newer_code import newer_code
from tests.tenancy.processes import finish, start

# Slow, and it tells how often it ran.
CODE = """migrations.RunPython(
    lambda apps, editor: (
        __import__("time").sleep(1),
        editor.connection.cursor().execute("INSERT INTO auth_group (name) VALUES (hex(randomblob(8)))"),
    ),
    migrations.RunPython.noop,
)"""


@pytest.fixture
def newer(tmp_path, db):
    with newer_code(tmp_path, CODE):
        yield tmp_path
        call_command("migrate", "blog", "0001", database="default", verbosity=0)


@pytest.fixture(autouse=True)
def ended(db):
    """Ends the lease that a test has taken from its holder: the next test would wait until it expires."""
    yield
    with connections["default"].cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {LEASE_TABLE}")


def ask(sql, *params):
    return run_batch(connections["default"], [(sql, params or None)])[0].rows


@pytest.mark.parametrize("number", range(2))
def test_two_migrations_at_once_run_python_code_once(newer, number):
    running = [start("migrate", "--database", "default", "--noinput", folder=newer) for _ in range(2)]
    ended = [finish(process) for process in running]
    assert [code for code, _ in ended] == [0, 0], ended
    assert ask("SELECT count(*) FROM auth_group") == [(1,)]
    assert sum("Waiting for another process" in output for _, output in ended) == 1
    assert sum("No migrations to apply" in output for _, output in ended) == 1


def test_a_renewal_that_arrives_after_the_end_takes_nothing(db):
    with database_lease.database_lease("default", None):
        ((fence,),) = ask(f"SELECT fence FROM {LEASE_TABLE}")
    ask(database_lease._RENEW, 60_000, fence)
    assert ask(f"SELECT expires FROM {LEASE_TABLE}") == [(0,)]


@pytest.mark.parametrize("alias", ["default", "scratch/lease"])
def test_a_migration_that_waits_too_long_says_so(db, monkeypatch, alias):
    monkeypatch.setattr(database_lease, "WAIT", 0.3)
    alias = alias if alias == "default" else tenant_databases().template_object_alias("lease")
    out = StringIO()
    with database_lease.database_lease(alias, out):
        second = database_lease.database_lease(alias, out)
        with pytest.raises(Held, match=f"is migrating '{alias}'"):
            second.__enter__()
    assert "Waiting for another process" in out.getvalue()
    with database_lease.database_lease(alias, out):
        pass
    if alias != "default":
        empty_object(alias)


def test_a_lease_that_was_left_behind_ends_by_d1s_clock(db, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.5}
    database_lease._take(connections["default"], 0.5, StringIO())
    with database_lease.database_lease("default", StringIO()):
        assert ask("SELECT fence > 1 FROM _do_bridge_lease") == [(1,)]


def test_looking_at_the_plan_takes_no_lease(db, trips):
    with database_lease.database_lease("default", StringIO()):
        call_command("migrate", database="default", plan=True, stdout=StringIO())


def test_a_migration_whose_lease_was_taken_over_writes_nothing_more(db):
    with database_lease.database_lease("default", StringIO()):
        run_batch(connections["default"], [("UPDATE _do_bridge_lease SET fence = fence + 1", None)])
        with pytest.raises(OperationalError, match="has taken over this database"):
            run_batch(connections["default"], [("INSERT INTO auth_group (name) VALUES ('late')", None)])
    assert ask("SELECT count(*) FROM auth_group") == [(0,)]


def test_a_text_of_several_statements_gives_its_last_rows_under_a_lease_too(db):
    several = "DROP TABLE IF EXISTS lease_several; SELECT 5 AS n"
    with database_lease.database_lease("default", StringIO()):
        with connections["default"].cursor() as cursor:
            cursor.execute(several)
            assert cursor.fetchall() == [(5,)]
        run_batch(connections["default"], [("UPDATE _do_bridge_lease SET fence = fence + 1", None)])
        with pytest.raises(OperationalError, match="has taken over this database"):
            connections["default"].cursor().execute(several)
