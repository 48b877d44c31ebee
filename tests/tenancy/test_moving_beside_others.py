"""Writers, transactions and other moves beside the move of a tenant, on a stand-in for jurisdictions."""

import itertools
import json
import os
import threading

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from do_bridge.models import TenantState
from do_bridge.tenancy import tenant_alias, tenant_context
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.lifecycle.states import Operation
from do_bridge.tenancy.lifecycle.transfer import moved_rows, moving
from do_bridge.tenancy.schema.errors import TenantBehind
from tests.forking import Program
from tests.tenancy.moves import EXPIRED, move, places_with_tables, titles, write
from tests.tenancy.processes import finish, start

# Posts one after the other, each again until it is confirmed; works on the databases of the test run.
WRITER = """
import json, os, django
django.setup()
from django.conf import settings
for alias, name in json.loads(os.environ["NAMES"]).items():
    settings.DATABASES[alias]["NAME"] = name
from django.db import OperationalError
from blog.models import Post
from do_bridge.tenancy import tenant_context
for number in range(100):
    while True:
        try:
            with tenant_context(os.environ["SLUG"]):
                Post.objects.create(title=f"Post {number}", content="-", user_id=int(os.environ["USER_KEY"]))
        except OperationalError:
            continue
        break
"""


@pytest.fixture
def slug(make_moved):
    """A tenant in no jurisdiction."""
    return make_moved()


def test_a_transaction_that_is_open_when_the_move_begins_is_moved_with_its_rows(slug, author, monkeypatch):
    from do_bridge.driver.transports.relay_session import RelaySession

    begun, waits, ended, request = threading.Event(), threading.Event(), [], RelaySession.request

    def note(self, message, deadline):
        if threading.current_thread() is thread and slug in message.get("db", ""):
            waits.set()
        return request(self, message, deadline)

    def run():
        try:
            begun.wait(20)
            move(slug, "eu")
        except Exception as error:
            ended.append(error)
        finally:
            connections.close_all()

    monkeypatch.setattr(RelaySession, "request", note)
    thread = threading.Thread(target=run)
    thread.start()
    with tenant_context(slug), transaction.atomic(using=tenant_alias(slug)):
        write(slug, author, "First")
        begun.set()
        # The object answers the move when this block has ended.
        waits.wait(20)
        write(slug, author, "Second")
    thread.join(60)
    assert ended == []
    assert titles(slug) == ["Before", "First", "Second"]
    assert leases.look(slug).jurisdiction == "eu"


def test_a_hundred_posts_of_two_threads_during_moves_are_all_there(slug, author):
    errors, written = [], []

    def post(number):
        try:
            for at in range(50):
                write(slug, author, f"{number}:{at}")
                written.append(f"{number}:{at}")
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for jurisdiction in ("eu", "us", "none"):
        move(slug, jurisdiction)
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert titles(slug) == sorted(["Before", *written])
    assert len(written) == 100
    assert places_with_tables(slug) == [""]


def test_a_hundred_posts_of_another_process_during_moves_are_all_there(slug, author):
    names = {alias: settings.DATABASES[alias]["NAME"] for alias in ("default", "tenant")}
    told = {"NAMES": json.dumps(names), "SLUG": slug, "USER_KEY": str(author.pk)}
    writer = Program(["-c", WRITER], env=os.environ | told)
    for jurisdiction in itertools.islice(itertools.cycle(("eu", "us", "none")), 20):
        move(slug, jurisdiction)
        if writer.poll() is not None:
            break
    assert writer.wait() == 0, writer.stderr
    assert titles(slug) == sorted(["Before", *(f"Post {number}" for number in range(100))])
    assert len(places_with_tables(slug)) == 1


def test_a_deletion_with_a_dump_erases_what_a_move_has_left(slug, tmp_path):
    TenantState.objects.filter(slug=slug).update(left_behind="us")
    with connected(tenant_alias(slug), "us") as connection:
        connection.execute("CREATE TABLE rest (a)")
    assert places_with_tables(slug) == ["", "us"]
    call_command("tenant_delete", slug, "--yes", "--dump", tmp_path / "last.sqlite3", verbosity=0)
    assert places_with_tables(slug) == []
    assert leases.look(slug).left_behind is None


def test_two_moves_at_once_leave_the_tenant_where_one_of_them_took_it(slug):
    processes = [start("tenant_move", slug, "--jurisdiction", place) for place in ("eu", "us")]
    ends = [finish(process) for process in processes]
    assert [code for code, _ in ends] == [0, 0], ends
    there = leases.look(slug)
    assert (there.jurisdiction in ("eu", "us"), there.operation, there.left_behind) == (True, "", None)
    assert places_with_tables(slug) == [there.jurisdiction]
    assert titles(slug) == ["Before"]


def test_a_move_that_begins_while_another_one_does_is_not_refused(slug):
    """The first one begins after the second one has read the ledger, and before it reads the object."""
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    row = leases.look(slug)
    assert row.operation == Operation.CREATE
    begun = []

    def read():
        if not begun:
            begun.append(leases.take(slug, Operation.MOVE, lambda: read_tenant(slug)))
            leases.settle(begun[0])
        return read_tenant(slug)

    lease = leases.take(slug, Operation.MOVE, read)
    assert lease.fence > begun[0].fence


def test_while_a_move_takes_longer_than_half_a_lease_requests_are_turned_away(slug, settings):
    move_lease = leases.take(slug, Operation.MOVE, lambda: read_tenant(slug))
    with moving._placed_by(move_lease) as connection:
        moving.freeze(connection, move_lease)
    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.4}
    with pytest.raises(TenantBehind, match="another process runs 'move' on it"):
        titles(slug)
    TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
    assert titles(slug) == ["Before"]
    with pytest.raises(leases.LeaseLost, match="took over"):
        leases.settle(move_lease)


def test_a_mover_that_stood_still_changes_nothing_afterwards(slug, monkeypatch):
    """Another operation takes its lease over while it fills the new object."""

    def stand_still(source, target):
        TenantState.objects.filter(slug=slug).update(expires=EXPIRED)
        assert titles(slug) == ["Before"]

    monkeypatch.setattr(moved_rows, "copy_keys", stand_still)
    with pytest.raises(CommandError, match="took over tenant"):
        move(slug, "eu")
    assert leases.look(slug).jurisdiction == ""
    assert titles(slug) == ["Before"]
    assert places_with_tables(slug) == [""]
