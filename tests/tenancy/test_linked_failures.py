"""Blocks that cover two databases, of which one fails: what is undone, and what a log says stands."""

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction

import do_bridge
from accounts.models import User
from blog.models import Post
from do_bridge import driver
from do_bridge.tenancy import tenant_alias, tenant_context


def alias(tenant):
    return tenant_alias(tenant.slug)


def is_on_default(name):
    return User.objects.using("default").filter(username=name).exists()


def expire(connection):
    """Wait until the object has ended this connection's transaction by its lease."""
    own = connection.connection
    other = driver.connect(own.transport, own.database)
    # Served only once the transaction before it has ended.
    other.execute("SELECT 1 FROM accounts_user LIMIT 1")
    other.close()


@pytest.fixture
def brief():
    """brief(connection): give its transactions a lease that ends soon; return the connection."""

    def shorten(connection):
        connection.ensure_connection()
        connection.connection.lease = 0.3
        return connection

    return shorten


@pytest.fixture
def errors(caplog):
    """errors(): what was logged as an error."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.fixture
def behind_proxy(acme, proxy):
    """The tenant, reached through a proxy that cuts and loses; its connection is opened anew."""
    connection = connections[alias(acme)]
    connection.close()
    before = connection.settings_dict["HOST"]
    connection.settings_dict["HOST"] = proxy.url
    yield acme
    proxy.refusing = False
    connection.close()
    connection.settings_dict["HOST"] = before


def test_a_tenants_commit_that_fails_undoes_the_default_and_runs_no_callback(
    shared, acme, write, titles, brief, errors
):
    seen = []
    with (
        tenant_context(acme),
        pytest.raises(OperationalError, match="lease") as caught,
        transaction.atomic(),
    ):
        brief(connections[alias(acme)])
        User.objects.create_user("new")
        write("undone")
        transaction.on_commit(lambda: seen.append("default"))
        transaction.on_commit(lambda: seen.append("tenant"), using=alias(acme))
        expire(connections[alias(acme)])
    assert caught.type is OperationalError
    assert (titles(acme), seen) == ([], [])
    assert not shared.in_atomic_block
    assert not connections[alias(acme)].in_atomic_block
    if shared.features.supports_transactions:
        assert (is_on_default("new"), errors()) == (False, [])
    else:
        (message,) = errors()
        assert "1 statement(s) have been committed" in message
        assert is_on_default("new")


@pytest.mark.parametrize("shared", ["durable_object"], indirect=True)
def test_a_commit_of_the_default_that_fails_says_that_the_tenants_part_stands(
    shared, acme, write, titles, brief, errors
):
    seen = []
    brief(shared)
    with tenant_context(acme), pytest.raises(OperationalError, match="lease"), transaction.atomic():
        User.objects.create_user("undone")
        write("stands")
        transaction.on_commit(lambda: seen.append("default"))
        transaction.on_commit(lambda: seen.append("tenant"), using=alias(acme))
        expire(shared)
    assert (titles(acme), seen, is_on_default("undone")) == (["stands"], [], False)
    (message,) = errors()
    assert f"The transaction on '{alias(acme)}' has been committed" in message


@pytest.mark.parametrize("shared", ["durable_object"], indirect=True)
def test_a_block_around_it_that_names_the_tenant_undoes_what_a_failed_commit_left(
    shared, acme, write, titles, brief, errors
):
    brief(shared)
    with tenant_context(acme), transaction.atomic(using=alias(acme)):
        with pytest.raises(OperationalError, match="lease"), transaction.atomic():
            User.objects.create_user("undone")
            write("undone")
            expire(shared)
        assert transaction.get_rollback(using=alias(acme))
    assert (titles(acme), errors()) == ([], [])


def test_a_callback_that_fails_is_no_failed_commit(shared, acme, write, titles, errors):
    def fail():
        raise KeyError("callback")

    with tenant_context(acme), pytest.raises(KeyError, match="callback"), transaction.atomic():
        write("kept")
        transaction.on_commit(fail, using=alias(acme))
    assert (titles(acme), errors()) == (["kept"], [])


def test_of_two_tenants_the_first_ones_commit_stands_where_the_second_fails(
    shared, acme, zeta, write, titles, brief, errors
):
    seen = []
    with pytest.raises(OperationalError, match="lease"), transaction.atomic():
        brief(connections[alias(zeta)])
        with tenant_context(acme):
            write("stands")
            transaction.on_commit(lambda: seen.append("never"), using=alias(acme))
        with tenant_context(zeta):
            write("undone")
        expire(connections[alias(zeta)])
    assert (titles(acme), titles(zeta), seen) == (["stands"], [], [])
    (message,) = errors()
    assert f"'{alias(acme)}' has been committed" in message


def test_a_lease_that_runs_out_ends_the_block(shared, acme, write, titles, brief):
    with tenant_context(acme):
        with pytest.raises(OperationalError, match="lease"), transaction.atomic():
            brief(connections[alias(acme)])
            write("undone")
            expire(connections[alias(acme)])
            write("too late")
        connections[alias(acme)].close()
        with transaction.atomic():
            write("kept")
    assert titles(acme) == ["kept"]


def test_a_relay_that_dies_before_the_commit_undoes_both(shared, behind_proxy, proxy, write, titles, errors):
    seen = []
    with (
        tenant_context(behind_proxy),
        pytest.raises(OperationalError, match="rolled back|connection"),
        transaction.atomic(),
    ):
        write("undone")
        transaction.on_commit(lambda: seen.append("never"))
        connections[alias(behind_proxy)].connection.timeout = 1.0
        proxy.refusing = True
        proxy.cut()
    proxy.refusing = False
    assert (titles(behind_proxy), seen) == ([], [])


def test_a_commit_whose_answer_is_lost_has_its_outcome_asked(
    shared, behind_proxy, proxy, write, titles, errors
):
    seen = []
    with tenant_context(behind_proxy), transaction.atomic():
        write("kept")
        transaction.on_commit(lambda: seen.append("run"))
        proxy.lose_answers = 1
    assert proxy.lost == 1
    assert (titles(behind_proxy), seen, errors()) == (["kept"], ["run"], [])


def test_a_connection_that_is_closed_in_the_block_undoes_both(shared, acme, write, titles):
    seen = []
    with tenant_context(acme):
        for closed in (connections[alias(acme)], shared):
            with transaction.atomic():
                write("undone")
                transaction.on_commit(lambda: seen.append("never"))
                closed.close()
            assert titles(acme) == []
        with transaction.atomic():
            write("kept")
    assert (titles(acme), seen) == (["kept"], [])


def test_an_interrupt_undoes_both(shared, acme, write, titles):
    with tenant_context(acme), pytest.raises(KeyboardInterrupt, match="now"), transaction.atomic():
        write("undone")
        raise KeyboardInterrupt("now")
    assert titles(acme) == []
    assert not connections[alias(acme)].in_atomic_block


# do_bridge.batch()


def test_a_batch_that_fails_rolls_the_tenant_back(shared, acme, write, titles):
    User.objects.using("default").filter(username="taken").delete()
    User.objects.create_user("taken")
    seen = []
    with tenant_context(acme), pytest.raises(IntegrityError, match="UNIQUE"), do_bridge.batch():
        write("undone")
        transaction.on_commit(lambda: seen.append("never"))
        User.objects.create(username="new", password="!")
        User.objects.create(username="taken", password="!")
    assert (titles(acme), seen, is_on_default("new")) == ([], [], False)


def test_a_batch_and_the_tenants_transaction_are_carried_out_together(shared, acme, write, titles, calls):
    seen = []
    with tenant_context(acme):
        write("opens the connection")
        with do_bridge.batch():
            User.objects.create(username="new", password="!")
            write("one")
            with do_bridge.batch():
                write("two")
            transaction.on_commit(lambda: seen.append((is_on_default("new"), titles(acme))))
            before = len(calls())
    assert seen == [(True, ["opens the connection", "one", "two"])]
    ends = [("default", "batch"), (alias(acme), "commit")]
    if shared.features.supports_transactions:
        ends = [(alias(acme), "commit"), ("default", "commit")]
    # Optimistic blocks try the batch before the tenant commits.
    found = [call for call in calls()[before:] if call != ("default", "tx")]
    assert found[:2] == ends


def test_a_batch_in_whose_block_the_tenant_failed_is_not_sent(shared, acme, write, titles):
    with tenant_context(acme):
        first = write("first")
        with pytest.raises(IntegrityError, match="UNIQUE"), do_bridge.batch():
            User.objects.create(username="new", password="!")
            write("same", pk=first.pk)
        with do_bridge.batch():
            User.objects.create(username="new", password="!")
            with pytest.raises(IntegrityError, match="UNIQUE"):
                write("same", pk=first.pk)
        with do_bridge.batch():
            User.objects.create(username="new", password="!")
            write("undone")
            transaction.set_rollback(True)
    assert (titles(acme), is_on_default("new")) == (["first"], False)


def test_a_batch_that_names_the_default_is_of_that_one_alone(shared, acme, write, titles):
    with tenant_context(acme), pytest.raises(KeyError, match="undo"), do_bridge.batch(using="default"):
        write("stays")
        raise KeyError("undo")
    assert titles(acme) == ["stays"]


def test_a_tenants_commit_that_fails_behind_a_batch_is_told(shared, acme, write, titles, brief, errors):
    with tenant_context(acme), pytest.raises(OperationalError, match="lease"), do_bridge.batch():
        brief(connections[alias(acme)])
        User.objects.create(username="new", password="!")
        write("undone")
        expire(connections[alias(acme)])
    assert titles(acme) == []
    told = [message for message in errors() if "1 statement(s) have been committed" in message]
    assert len(told) == (not shared.features.supports_transactions) == is_on_default("new")
    assert Post.objects.using(alias(acme)).count() == 0
