"""One process at a time migrates D1: a second one waits, and finds nothing left to do."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections

from do_bridge.tenancy.lifecycle import database_lease
from do_bridge.tenancy.lifecycle.leases import Held
from do_bridge.tenancy.replicated.sql import run_batch
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


def ask(sql, *params):
    return run_batch(connections["default"], [(sql, params or None)])[0].rows


@pytest.mark.parametrize("number", range(2))
def test_two_migrations_at_once_run_python_code_once(newer, number):
    running = [start("migrate", "--database", "default", "--noinput", folder=newer) for _ in range(2)]
    ended = [finish(process) for process in running]
    assert [code for code, _ in ended] == [0, 0], ended
    assert ask("SELECT count(*) FROM auth_group") == [(1,)]
    assert sum("waiting for it" in output for _, output in ended) == 1
    assert sum("No migrations to apply" in output for _, output in ended) == 1


def test_a_migration_that_waits_too_long_says_so(db, monkeypatch):
    monkeypatch.setattr(database_lease, "WAIT", 0.3)
    out = StringIO()
    with database_lease.database_lease("default", out):
        second = database_lease.database_lease("default", out)
        with pytest.raises(Held, match="Another process migrates 'default'"):
            second.__enter__()
    assert "waiting for it" in out.getvalue()
    with database_lease.database_lease("default", out):
        pass


def test_a_lease_that_was_left_behind_ends_by_d1s_clock(db, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.5}
    database_lease._take(connections["default"], 0.5, StringIO())
    with database_lease.database_lease("default", StringIO()):
        assert ask("SELECT fence > 1 FROM _do_bridge_lease") == [(1,)]


def test_looking_at_the_plan_takes_no_lease(db, trips):
    with database_lease.database_lease("default", StringIO()):
        call_command("migrate", database="default", plan=True, stdout=StringIO())
