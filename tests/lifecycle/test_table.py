"""Every cell of the table of tenants' lives, walked on the real runtime; and the docs draw the same table."""

import re
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections

from accounts.models import Tenant
from blog.models import Post
from do_bridge.management.commands import migrate
from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.creation import create_tenant
from do_bridge.tenancy.lifecycle.history.bookmarks import bookmark_of
from do_bridge.tenancy.lifecycle.history.rewind import rewind_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant, unchecked
from do_bridge.tenancy.lifecycle.provision import provision
from do_bridge.tenancy.lifecycle.states import (
    MOVING,
    REFUSALS,
    TABLE,
    Content,
    Do,
    Found,
    Operation,
    State,
    content,
    found,
    next_step,
)
from do_bridge.tenancy.lifecycle.transfer.dump import dump_tenant
from do_bridge.tenancy.migrate import catch_up
from do_bridge.tenancy.replicated.sql import run_batch
from do_bridge.tenancy.schema.errors import SchemaMismatch
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from do_bridge.testing import empty_object, unique_slug

FIRST_USE = "first use"
# A rewind needs objects with a history, so it has a test of its own.
OPERATIONS = (
    Operation.CREATE,
    Operation.LOAD,
    Operation.MIGRATE,
    FIRST_USE,
    Operation.MOVE,
    Operation.DELETE,
)
CELLS = [
    pytest.param(state, there, operation, id=f"{state} × {there}: {operation}")
    for state, there in TABLE
    for operation in OPERATIONS
]
MARK = "INSERT INTO auth_group (name) VALUES ('before')"
BEGUN = {
    Found.FILLING: Operation.LOAD,
    Found.REWINDING: Operation.REWIND,
    Found.DELETING: Operation.DELETE,
}
EXPIRED = "2000-01-01T00:00:00+00:00"


@pytest.fixture
def slug(db):
    """A slug that nobody has; whatever a test makes of it is emptied."""
    made = unique_slug("cell")
    yield made
    empty_object(tenant_alias(made))
    ledger.forget(made)


@pytest.fixture(scope="module")
def file(django_db_setup, django_db_blocker, tmp_path_factory):
    """The dump of an empty tenant."""
    source, path = unique_slug("source"), tmp_path_factory.mktemp("dump") / "source.sqlite3"
    with django_db_blocker.unblock():
        create_tenant(source)
        dump_tenant(source, path)
        call_command("tenant_delete", source, "--yes", stdout=StringIO())
        ledger.forget(source)
    return path


def ask(slug, *statements):
    alias = tenant_alias(slug)
    with unchecked(alias):
        return [result.rows for result in run_batch(connections[alias], [(sql, None) for sql in statements])]


def set_up(slug, state, there):
    """Bring D1's row and the object to one cell of the table."""
    lease = leases.take_many([leases.look(slug)], Operation.MIGRATE, seconds=0)[slug]
    if there != Content.EMPTY:
        provision(slug, lease=lease)
        ask(slug, MARK)
    if there == Content.PART:
        ask(slug, "DELETE FROM _do_bridge_meta WHERE key = 'schema'")
    if there == Content.FROZEN:
        ask(slug, f"UPDATE _do_bridge_meta SET value = '{MOVING}' WHERE key = 'schema'")
    if state != Found.DELETED:
        Tenant.objects.create(slug=slug, name="Before")
    rest = State(state) if state in (Found.UNUSED, Found.READY, Found.DELETED) else State.UNUSED
    operation = BEGUN.get(state, "")
    TenantState.objects.filter(slug=slug).update(
        state=rest,
        operation=operation,
        owner=lease.owner if operation else "",
        expires=EXPIRED if operation else None,
        fingerprint=code_fingerprint() if state == Found.READY else "",
        emptied=lease.fence + 1 if there == Content.LEFT_OVER else 0,
        fence=lease.fence + 2 if there == Content.LEFT_OVER else lease.fence,
    )
    lookup.forget()
    row, held = leases.look(slug), read_tenant(slug)
    assert (found(row, held), content(row, held)) == (state, there)
    return row, held


def typed_migrate(slug):
    command = migrate.Command()
    command.is_typed = True
    call_command(command, database=tenant_alias(slug), verbosity=0, interactive=False)


def move(slug):
    call_command("tenant_move", slug, "--jurisdiction", "eu", stdout=StringIO())


def use(slug):
    if lookup.get(slug) is None:
        raise CommandError("There is no such tenant.")
    list(Post.objects.using(tenant_alias(slug)))


@pytest.mark.parametrize(("state", "there", "operation"), CELLS)
def test_the_next_holder_does_what_the_table_says(slug, file, state, there, operation):
    row, held = set_up(slug, state, there)
    step = next_step(row, held, Operation.MIGRATE if operation == FIRST_USE else operation)
    run = {
        Operation.CREATE: partial(create_tenant, slug),
        Operation.LOAD: partial(call_command, "tenant_load", slug, file, stdout=StringIO()),
        Operation.MIGRATE: partial(typed_migrate, slug),
        FIRST_USE: partial(use, slug),
        Operation.MOVE: partial(move, slug),
        Operation.DELETE: partial(call_command, "tenant_delete", slug, "--yes", stdout=StringIO()),
    }[operation]
    if step in REFUSALS:
        with pytest.raises((CommandError, DatabaseError, SchemaMismatch), match=r"\w"):
            run()
        assert read_tenant(slug) == held
        after = leases.look(slug)
        if step == Do.LOST:
            assert (after.state, after.operation, after.error[:10]) == (State.READY, "migrate", "TenantLost")
        else:
            assert (after.state, after.operation, after.owner) == (row.state, row.operation, row.owner)
        return
    run()
    catch_up._failures.clear()
    after = leases.look(slug)
    if operation == Operation.DELETE:
        assert (after.state, after.operation, after.is_registered) == (State.DELETED, "", False)
        assert not read_tenant(slug).has_tables
        return
    if operation == Operation.MOVE:
        assert (after.jurisdiction, after.left_behind) == ("eu", None)
        # The object of a tenant that counts as ready is made before it is moved.
        assert read_tenant(slug).has_tables == (step == Do.KEEP or row.state == State.READY)
        use(slug)
        after = leases.look(slug)
    assert (after.state, after.is_registered) == (State.READY, True)
    assert read_tenant(slug).fingerprint == code_fingerprint()
    (marks,) = ask(slug, "SELECT count(*) FROM auth_group")
    assert marks == [(int(step == Do.KEEP),)]


@pytest.mark.parametrize(("state", "there"), TABLE)
def test_a_rewind_does_what_the_table_says_on_a_stand_in(history, slug, state, there):
    # What the object held at the moment to which the rewind goes.
    provision(slug)
    ask(slug, MARK)
    moment = bookmark_of(leases.look(slug))
    empty_object(tenant_alias(slug))
    row, held = set_up(slug, state, there)
    step = next_step(row, held, Operation.REWIND)
    if step != Do.KEEP or there == Content.LEFT_OVER:
        with pytest.raises((DatabaseError, SchemaMismatch), match="former|deleted|unfinished|interrupted"):
            rewind_tenant(slug, moment)
        after = read_tenant(slug)
        assert (after.has_tables, after.fingerprint) == (held.has_tables, held.fingerprint)
        if step != Do.KEEP:
            assert leases.look(slug) == row
        return
    rewind_tenant(slug, moment)
    after = leases.look(slug)
    assert (after.state, after.operation, after.is_registered) == (State.READY, "", True)
    assert read_tenant(slug).fingerprint == after.fingerprint == code_fingerprint()
    assert ask(slug, "SELECT count(*) FROM auth_group") == [[(1,)]]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_while_a_lease_is_alive_everybody_waits(slug, file, operation, settings):
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.2}
    set_up(slug, Found.UNUSED, Content.EMPTY)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 2}
    lease = leases.take(slug, Operation.MIGRATE, partial(read_tenant, slug))
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 30}
    # Whoever comes waits until it has expired, and then goes on.
    assert leases.look(slug).is_live
    if operation == FIRST_USE:
        use(slug)
    elif operation == Operation.DELETE:
        call_command("tenant_delete", slug, "--yes", stdout=StringIO())
    elif operation == Operation.CREATE:
        create_tenant(slug)
    elif operation == Operation.LOAD:
        call_command("tenant_load", slug, file, stdout=StringIO())
    elif operation == Operation.MOVE:
        move(slug)
    else:
        typed_migrate(slug)
    assert leases.look(slug).fence > lease.fence
    with pytest.raises(leases.LeaseLost, match="took over"):
        leases.settle(lease)


def test_the_docs_draw_the_same_table():
    page = (Path(__file__).parents[2] / "docs/explanation/lifecycle.md").read_text()
    drawn = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and cells[0] in Found.__members__.values():
            drawn[cells[0], cells[1]] = tuple(re.sub(r"\W*$", "", cell) for cell in cells[2:])
    assert drawn == {cell: tuple(map(str, steps)) for cell, steps in TABLE.items()}
