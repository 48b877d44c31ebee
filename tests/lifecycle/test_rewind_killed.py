"""A restore that is killed at each step, and others beside it: on a stand-in for the platform's recovery."""

import signal
import threading

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connections
from django.db.transaction import atomic

from blog.models import Post
from do_bridge import driver
from do_bridge.driver.transport import Deadline
from do_bridge.driver.transports.relay import RelayTransport
from do_bridge.models import TenantBookmark
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle.history.rewind import rewind_tenant
from do_bridge.tenancy.lifecycle.lease import leases
from do_bridge.tenancy.lifecycle.looking import read_tenant
from do_bridge.tenancy.schema.errors import TenantBehind
from do_bridge.tenancy.schema.fingerprint import code_fingerprint
from do_bridge.tenancy.tenants import lookup
from tests.lifecycle.rewinding import bookmark, run, titles, undo_in, write
from tests.tenancy.processes import finish, start

D1, OBJECT = "d1:", "do:"
#: The request at which the process dies, and whether it still goes out.
POINTS = [
    pytest.param((D1, "do_bridge_tenantbookmark", 1, False), id="before the lease"),
    pytest.param((D1, "do_bridge_tenantbookmark", 1, True), id="behind the lease"),
    pytest.param((OBJECT, '"op": "restore"', 1, False), id="before the restore"),
    pytest.param((OBJECT, '"op": "restore"', 1, True), id="behind the restore"),
    pytest.param((OBJECT, "_do_bridge_meta", 3, False), id="before the fence"),
    pytest.param((D1, "SET used", 1, False), id="before its note"),
    pytest.param((D1, "SET used", 1, True), id="behind its note"),
    pytest.param((D1, "state = value->>2", 1, False), id="before the end"),
]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_restore_is_finished_by_the_same_command_on_a_stand_in(slug, author, point):
    before = bookmark(slug)
    write(slug, author, "bad")
    code, output = finish(start("tenant_restore", slug, "--bookmark", before, "--noinput", kill=point))
    assert code == -signal.SIGKILL, output
    lookup.forget()
    row = leases.look(slug)
    kept = TenantBookmark.objects.filter(slug=slug, reason="restore").values_list("bookmark", flat=True)
    if row.operation == "rewind":
        with pytest.raises(TenantBehind, match="'rewind' has not finished"):
            lookup.get(slug)
        # Whatever was done, the way back to what was before is known.
        assert len(kept) == 1
    else:
        assert titles(slug) == ["before", "bad"]
    text = run("tenant_restore", slug, "--bookmark", before, "--noinput")
    assert titles(slug) == ["before"]
    assert leases.look(slug).operation == ""
    assert lookup.get(slug) is not None
    run("tenant_restore", slug, "--bookmark", undo_in(text), "--noinput")
    assert titles(slug) == ["before", "bad"]


def test_two_restores_at_once_follow_each_other_on_a_stand_in(slug, author):
    first = bookmark(slug)
    write(slug, author, "second")
    second = bookmark(slug)
    write(slug, author, "third")
    processes = [start("tenant_restore", slug, "--bookmark", one, "--noinput") for one in (first, second)]
    outcomes = [finish(process) for process in processes]
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert titles(slug) in (["before"], ["before", "second"])
    assert leases.look(slug).operation == ""
    assert read_tenant(slug).fingerprint == code_fingerprint()


def test_a_restore_waits_for_an_open_block_of_another_on_a_stand_in(slug, author):
    before = bookmark(slug)
    alias, begun, failed = tenant_alias(slug), threading.Event(), []

    def restore():
        begun.wait(30)
        try:
            rewind_tenant(slug, before)
        except DatabaseError as error:
            failed.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=restore)
    thread.start()
    with atomic(using=alias):
        write(slug, author, "inside")
        begun.set()
        thread.join(0.5)
        assert Post.objects.using(alias).count() == 2
    thread.join(60)
    assert failed == []
    assert titles(slug) == ["before"]


def test_writers_meanwhile_see_no_half_of_it_on_a_stand_in(slug, author):
    before = bookmark(slug)
    ended, errors, written = threading.Event(), [], []

    def write_on():
        while not ended.is_set():
            try:
                write(slug, author, f"post {len(written)}")
                written.append(1)
            except DatabaseError as error:
                errors.append(error)
        connections.close_all()

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        rewound = rewind_tenant(slug, before)
    finally:
        ended.set()
        thread.join(60)
    assert errors == []
    after = titles(slug)
    run("tenant_restore", slug, "--bookmark", rewound.undo, "--noinput")
    earlier = titles(slug)
    assert after[0] == earlier[0] == "before"
    # Each confirmed write is on one side of the restore.
    assert sorted(after[1:] + earlier[1:]) == sorted(f"post {number}" for number in range(len(written)))


def test_a_restore_that_came_twice_changes_nothing_afterwards_on_a_stand_in(slug, author):
    before = bookmark(slug)
    write(slug, author, "bad")
    sent = []
    restore = RelayTransport.restore

    def watched(self, database, target, deadline, *, first=()):
        sent.append((self, database, target, first))
        return restore(self, database, target, deadline, first=first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RelayTransport, "restore", watched)
        rewind_tenant(slug, before)
    write(slug, author, "later")
    ((transport, database, target, first),) = sent
    with pytest.raises(driver.DatabaseError, match="fenced|bad JSON path"):
        transport.restore(database, target, Deadline(10), first=first)
    assert titles(slug) == ["before", "later"]


def test_a_lost_answer_is_found_out_on_a_stand_in(slug, author, monkeypatch):
    before = bookmark(slug)
    write(slug, author, "bad")
    restore, lost = RelayTransport.restore, []

    def losing(self, *arguments, **options):
        undo = restore(self, *arguments, **options)
        if not lost:
            lost.append(undo)
            raise driver.OperationalError("lost", effect="unknown")
        return undo

    monkeypatch.setattr(RelayTransport, "restore", losing)
    rewound = rewind_tenant(slug, before)
    assert titles(slug) == ["before"]
    monkeypatch.undo()
    assert rewound.undo == TenantBookmark.objects.get(slug=slug, reason="restore").bookmark


def test_a_request_that_never_arrived_is_found_out_on_a_stand_in(slug, author, monkeypatch):
    before = bookmark(slug)
    write(slug, author, "bad")
    restore, lost = RelayTransport.restore, []

    def losing(self, *arguments, **options):
        if not lost:
            lost.append(True)
            raise driver.OperationalError("lost", effect="unknown")
        return restore(self, *arguments, **options)

    monkeypatch.setattr(RelayTransport, "restore", losing)
    rewind_tenant(slug, before)
    assert titles(slug) == ["before"]


def test_a_deletion_ends_a_restore_that_is_not_finished_on_a_stand_in(slug):
    code, output = finish(
        start(
            *("tenant_restore", slug, "--bookmark", bookmark(slug), "--noinput"),
            kill=(OBJECT, '"op": "restore"', 1, True),
        )
    )
    assert code == -signal.SIGKILL, output
    with pytest.raises(CommandError, match=r"run `manage.py tenant_restore .* again"):
        run("migrate", "--database", tenant_alias(slug))
    run("tenant_delete", slug, "--yes")
    assert not read_tenant(slug).has_tables
