"""An object refuses what an older lease sends, whatever way it comes, and at no trip more."""

import threading
from dataclasses import dataclass

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, connections, transaction

from do_bridge import driver
from do_bridge.tenancy import tenant_alias
from do_bridge.tenancy.lifecycle import ledger
from do_bridge.tenancy.lifecycle.emptying import connected
from do_bridge.tenancy.lifecycle.fencing import fenced, is_fenced, refuse_older
from do_bridge.tenancy.lifecycle.lease import leases, renewing
from do_bridge.tenancy.lifecycle.looking import close_to_older, read_tenant
from do_bridge.tenancy.replicated.sql import run_batch

INSERT = "INSERT INTO auth_group (name) VALUES (%s)"


@dataclass
class Lease:
    slug: str
    fence: int
    owner: str = "somebody"
    may_follow_another_life: bool = False


@pytest.fixture
def fence(acme):
    """The fence that the object has."""
    return read_tenant(acme.slug).fence


def insert(slug, name):
    run_batch(connections[tenant_alias(slug)], [(INSERT, (name,))])


def in_a_transaction(slug, name):
    alias = tenant_alias(slug)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute(INSERT, [name])


def reconnected(slug, name):
    connections[tenant_alias(slug)].close()
    insert(slug, name)


def names(slug):
    (result,) = run_batch(connections[tenant_alias(slug)], [("SELECT name FROM auth_group", None)])
    return [name for (name,) in result.rows]


@pytest.mark.parametrize("write", [insert, in_a_transaction, reconnected])
def test_what_an_older_lease_sends_does_nothing(acme, fence, write):
    alias = tenant_alias(acme.slug)
    with fenced(alias, Lease(acme.slug, fence + 2)):
        write(acme.slug, "newer")
    with (
        fenced(alias, Lease(acme.slug, fence + 1)),
        pytest.raises(OperationalError, match="taken over this database") as caught,
    ):
        write(acme.slug, "older")
    assert is_fenced(caught.value)
    assert names(acme.slug) == ["newer"]
    held = read_tenant(acme.slug)
    assert (held.fence, held.owner) == (fence + 2, "somebody")


def test_an_older_lease_may_read_and_whoever_has_none_is_not_fenced(acme, fence):
    close_to_older(Lease(acme.slug, fence + 5))
    with fenced(tenant_alias(acme.slug), Lease(acme.slug, fence + 1)):
        assert names(acme.slug) == []
    insert(acme.slug, "traffic")
    assert names(acme.slug) == ["traffic"]


def test_the_fence_costs_no_trip_and_answers_are_those_of_the_statements(acme, fence, trips):
    alias = tenant_alias(acme.slug)
    names(acme.slug)
    with fenced(alias, Lease(acme.slug, fence + 1)):
        before = trips.count
        insert(acme.slug, "one")
        both = run_batch(connections[alias], [(INSERT, ("two",)), ("SELECT count(*) FROM auth_group", None)])
        assert trips.count - before == 2
    assert (both[0].rowcount, both[1].rows) == (1, [(2,)])


def test_a_deletion_that_arrives_late_drops_nothing_of_an_object_that_has_its_first_fence_since(acme):
    run_batch(connections[tenant_alias(acme.slug)], [("DROP TABLE _do_bridge_meta", None)])
    with connected(tenant_alias(acme.slug)) as connection:
        late = [(sql, params) for sql, params in refuse_older(5, {"auth_group"})]
        late.append(("DROP TABLE auth_group", None))
        close_to_older(Lease(acme.slug, 6))
        with pytest.raises(driver.Error, match="do_bridge:left:"):
            connection.execute_batch(late)
    assert names(acme.slug) == []


def test_an_error_of_the_work_is_its_own(acme, fence):
    alias = tenant_alias(acme.slug)
    with fenced(alias, Lease(acme.slug, fence + 1)):
        insert(acme.slug, "one")
        with pytest.raises(IntegrityError, match="UNIQUE constraint failed") as caught:
            run_batch(connections[alias], [("SELECT 1", None), (INSERT, ("one",))])
        assert not is_fenced(caught.value)
        assert caught.value.__cause__.step == 1
        with transaction.atomic(using=alias):
            with pytest.raises(IntegrityError, match="UNIQUE"), transaction.atomic(using=alias):
                in_a_transaction(acme.slug, "one")
            in_a_transaction(acme.slug, "two")
    assert names(acme.slug) == ["one", "two"]


def test_fences_grow_also_where_d1_has_lost_the_row(acme):
    taken = []
    for _ in range(3):
        row = leases.look(acme.slug)
        taken.append(leases.take_many([row], "migrate", seconds=0)[acme.slug].fence)
        ledger.forget(acme.slug)
    assert taken == sorted(set(taken))


def test_of_two_that_take_a_lease_at_once_one_has_it(acme):
    row = leases.look(acme.slug)
    assert len(leases.take_many([row], "migrate")) == 1
    assert leases.take_many([row], "migrate") == {}
    assert leases.take_many([leases.look(acme.slug)], "delete") == {}


def test_a_lease_without_an_end_is_free(acme):
    ledger.all_states().filter(slug=acme.slug).update(operation="migrate", expires=None)
    assert leases.take(acme.slug, "migrate", lambda: read_tenant(acme.slug)).fence


def test_a_lease_is_renewed_after_any_error_of_the_database(db, monkeypatch, caplog):
    sent, again = [], threading.Event()

    def run(connection, statements):
        sent.append(statements)
        if len(sent) == 1:
            raise InterfaceError("the relay has another token")
        again.set()

    monkeypatch.setattr(renewing, "run_batch", run)
    with renewing.renewed("default", ("SELECT 1", None), 0.03):
        assert again.wait(30)
    assert "was not renewed: the relay has another token" in caplog.text


def test_a_lease_is_renewed_while_its_work_goes_on(acme, settings):
    import time

    settings.DO_BRIDGE = {**settings.DO_BRIDGE, "LEASE_SECONDS": 0.6}
    lease = leases.take_many([leases.look(acme.slug)], "migrate")[acme.slug]
    with leases.kept(lease):
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            time.sleep(0.1)
        renewed = ledger.states(acme.slug)[acme.slug].expires
    first = ledger.states(acme.slug)[acme.slug].since
    assert (renewed - first).total_seconds() > 0.6


def test_an_outcome_is_written_by_whoever_has_the_lease(acme):
    older = leases.take_many([leases.look(acme.slug)], "migrate", seconds=0)[acme.slug]
    newer = leases.take_many([leases.look(acme.slug)], "migrate", seconds=0)[acme.slug]
    with pytest.raises(leases.LeaseLost, match="took over tenant .* while 'migrate' ran"):
        leases.settle(older, fingerprint="f00")
    leases.fail(older, "no word of it")
    leases.settle(newer, fingerprint="ba2")
    row = ledger.states(acme.slug)[acme.slug]
    assert (row.fingerprint, row.operation, row.error) == ("ba2", "", "")
