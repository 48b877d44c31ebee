"""atomic() on a Durable Object: real transactions, savepoints and what happens when one is lost."""

import threading

import pytest
from django.core.handlers.base import BaseHandler
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError, atomic
from shelf import Author, Book, tables

from do_bridge import driver, retry_on_conflict

# Its name since Django 6.1.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint


@pytest.fixture
def using(transactional):
    with tables(transactional) as alias:
        yield alias


@pytest.fixture
def held(durable_object):
    with tables(durable_object) as alias:
        yield alias


@pytest.fixture
def held_names(held):
    return lambda: list(Author.objects.using(held).order_by("pk").values_list("name", flat=True))


@pytest.fixture
def names(using):
    """names(): the authors' names, as another connection sees them once this one has committed."""
    return lambda: list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def add(using, name, **fields):
    return Author.objects.using(using).create(name=name, **fields)


def expire(connection):
    """Wait until the object has ended this connection's transaction by its lease."""
    done = threading.Event()
    other = connection.copy()

    def write():
        # Served only once the transaction before it has ended.
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM shelf_author")
        other.close()
        done.set()

    other.inc_thread_sharing()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join(timeout=20)
    assert done.is_set()


def test_a_block_commits_and_an_exception_undoes_it(using, names):
    with atomic(using=using):
        add(using, "kept")
    with pytest.raises(ValueError, match="undo"), atomic(using=using):
        add(using, "undone")
        raise ValueError("undo")
    assert names() == ["kept"]


def test_inner_blocks_are_undone_alone(using, names):
    with atomic(using=using):
        add(using, "outer")
        with pytest.raises(ValueError, match="undo"), atomic(using=using):
            add(using, "inner")
            with atomic(using=using):
                add(using, "innermost")
            raise ValueError("undo")
        with pytest.raises(IntegrityError, match="UNIQUE constraint failed"), atomic(using=using):
            add(using, "same", id=Author.objects.using(using).get().pk)
        add(using, "after")
    assert names() == ["outer", "after"]


def test_savepoints_work_by_hand(using, names):
    with atomic(using=using):
        add(using, "first")
        savepoint = savepoint_create(using=using)
        add(using, "second")
        transaction.savepoint_rollback(savepoint, using=using)
        savepoint = savepoint_create(using=using)
        add(using, "third")
        transaction.savepoint_commit(savepoint, using=using)
    assert names() == ["first", "third"]


def test_an_error_that_was_swallowed_blocks_further_queries(using, names):
    with atomic(using=using):
        add(using, "one", id=1)
        try:
            with atomic(using=using, savepoint=False):
                add(using, "again", id=1)
        except IntegrityError:
            pass
        with pytest.raises(TransactionManagementError, match="An error occurred in"):
            names()
    assert names() == []


def test_a_block_that_sends_nothing_costs_no_trip(using):
    with driver.count_trips() as trips, atomic(using=using), atomic(using=using):
        pass
    assert trips.count == 0


def test_begin_and_savepoints_ride_on_the_statements(using):
    # On D1 a new row's key is reserved before; the second range has two keys.
    reserved = {"d1_optimistic": 2}.get(using, 0)
    if reserved:
        # The database's first block makes the table of idempotency keys.
        with atomic(using=using):
            add(using, "first", id=100)
    with driver.count_trips() as trips, atomic(using=using):
        with atomic(using=using):
            add(using, "one")
        add(using, "two")
    assert trips.count == 3 + reserved  # two statements and the commit


def test_the_query_log_has_the_transaction_in_it(using, transactional):
    transactional.force_debug_cursor = True
    transactional.queries_log.clear()
    with atomic(using=using), atomic(using=using):
        add(using, "one")
    log = [query["sql"].split(" ")[0] for query in transactional.queries]
    transactional.force_debug_cursor = False
    assert log == ["BEGIN", "SAVEPOINT", "INSERT", "RELEASE", "COMMIT"]


def test_on_commit_waits_for_the_commit_and_is_dropped_by_a_rollback(using, names):
    seen = []
    with atomic(using=using):
        add(using, "one")
        transaction.on_commit(lambda: seen.append(names()), using=using)
        assert seen == []
    with pytest.raises(ValueError, match="undo"), atomic(using=using):
        add(using, "two")
        transaction.on_commit(lambda: seen.append("never"), using=using)
        raise ValueError("undo")
    assert seen == [["one"]]


def test_durable_blocks_must_be_outermost(using):
    with atomic(using=using, durable=True):
        add(using, "one")
        with pytest.raises(RuntimeError, match="durable"), atomic(using=using, durable=True):
            pass


def test_autocommit_can_be_turned_off(using, names):
    transaction.set_autocommit(False, using=using)
    try:
        add(using, "undone")
        transaction.rollback(using=using)
        add(using, "kept")
        transaction.commit(using=using)
        add(using, "undone after a commit")
        transaction.rollback(using=using)
        with atomic(using=using):
            add(using, "undone with its block's transaction")
    finally:
        transaction.rollback(using=using)
        transaction.set_autocommit(True, using=using)
    assert names() == ["kept"]


def test_rows_for_update_are_read_as_on_sqlite3(using):
    add(using, "one")
    with atomic(using=using):
        assert Author.objects.using(using).select_for_update().get().name == "one"


def test_a_foreign_key_is_checked_and_the_connection_goes_on(using):
    with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"), atomic(using=using):
        Book.objects.using(using).create(author_id=4711)
    assert Book.objects.using(using).count() == 0


def test_forward_references_load_when_checks_are_deferred(using, transactional):
    with atomic(using=using):
        with transactional.constraint_checks_disabled():
            Book.objects.using(using).create(author_id=4711)
            add(using, "late", id=4711)
        transactional.check_constraints()
    assert Book.objects.using(using).get().author.name == "late"


def test_a_deferred_reference_that_is_never_filled_is_named(using, transactional):
    message = r"'shelf_book' with primary key '1' .* shelf_book.author_id contains a value '4711'"
    unchecked = transactional.constraint_checks_disabled()
    with pytest.raises(IntegrityError, match=message), atomic(using=using), unchecked:
        Book.objects.using(using).create(author_id=4711)
        transactional.check_constraints()
    assert Book.objects.using(using).count() == 0


def test_a_deferred_reference_that_nobody_checks_is_refused_at_commit(using, transactional):
    unchecked = transactional.constraint_checks_disabled()
    with pytest.raises(IntegrityError, match="shelf_book row 1"), atomic(using=using), unchecked:
        Book.objects.using(using).create(author_id=4711)
    assert Book.objects.using(using).count() == 0


@pytest.mark.parametrize("at_commit", [False, True])
def test_a_lost_transaction_is_an_error_and_the_connection_usable_after_it(
    held, durable_object, held_names, at_commit
):
    durable_object.close()
    durable_object.settings_dict["OPTIONS"]["lease"] = 0.3
    with pytest.raises(OperationalError, match="lease"), atomic(using=held):
        add(held, "lost")
        expire(durable_object)
        if not at_commit:
            add(held, "never")
    assert not durable_object.in_atomic_block
    assert held_names() == []
    add(held, "next")
    assert held_names() == ["next"]


def test_a_transaction_lost_in_an_inner_block_is_lost_as_a_whole(held, durable_object, held_names):
    durable_object.close()
    durable_object.settings_dict["OPTIONS"]["lease"] = 0.3
    with pytest.raises(TransactionManagementError, match="An error occurred in"), atomic(using=held):
        add(held, "lost")
        try:
            with atomic(using=held):
                expire(durable_object)
                held_names()
        except OperationalError:
            pass
        add(held, "never")
    assert held_names() == []


def test_two_connections_are_serialised(using, transactional):
    add(using, "counter", id=1)
    Book.objects.using(using).create(pk=1, rank=0)
    failures = []

    @retry_on_conflict(times=50)
    def once_more():
        with atomic(using=using):
            book = Book.objects.using(using).get(pk=1)
            book.rank += 1
            book.save(using=using)

    def count_up():
        connection = connections[using]
        try:
            for _ in range(5):
                once_more()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert Book.objects.using(using).get(pk=1).rank == 15


def test_atomic_requests_make_each_view_a_transaction(using, transactional, names):
    connections.settings[using]["ATOMIC_REQUESTS"] = True

    def view(name):
        if name:
            add(using, name)
        if name == "undone":
            raise ZeroDivisionError

    served = BaseHandler().make_view_atomic(view)
    with pytest.raises(ZeroDivisionError, match="^$"):
        served("undone")
    served("kept")
    assert names() == ["kept"]
    with driver.count_trips() as trips:
        served(None)
    assert trips.count == 0


def test_a_driver_connection_that_was_closed_from_outside_is_opened_anew(engine):
    engine.ensure_connection()
    engine.connection.close()
    with engine.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
