"""The ORM on an object when the connection is cut after a write was sent and before its answer came."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from django.db.transaction import atomic
from engine_aliases import alias_for, settings_for
from shelf import Author, Book, tables

from do_bridge import driver
from do_bridge.backends.durable_object.base import DatabaseWrapper
from do_bridge.backends.remote_sqlite.snapshot import Snapshot


@pytest.fixture
def using(proxy, local_worker, django_db_blocker):
    """An alias whose statements go through the proxy."""
    worker = SimpleNamespace(url=proxy.url, token=local_worker.token, api_base="")
    with django_db_blocker.unblock(), alias_for("durable_object", worker) as connection:
        with tables(connection) as alias:
            Author.objects.using(alias).create(name="first")
            yield alias
        connection.connection.transport.close()


def test_create_gives_the_primary_key_of_the_one_row_that_is_there(using, proxy):
    proxy.lose_answers = 1
    author = Author.objects.using(using).create(name="second")
    assert proxy.lost == 1
    assert list(Author.objects.using(using).values_list("pk", "name")) == [
        (1, "first"),
        (author.pk, "second"),
    ]
    assert author.pk == 2


def test_update_and_delete_tell_their_counts(using, proxy):
    proxy.lose_answers = 1
    assert Author.objects.using(using).filter(name="first").update(name="other") == 1
    proxy.lose_answers = 1
    assert Author.objects.using(using).filter(name="other").delete() == (1, {"shelf.Author": 1})
    assert proxy.lost == 2
    assert not Author.objects.using(using).exists()


def test_bulk_create_whose_commit_was_lost_is_there_once(using, proxy):
    with atomic(using=using):
        books = Book.objects.using(using).bulk_create([Book(rank=n) for n in range(300)])
        proxy.lose_answers = 1
    assert proxy.lost == 1
    assert list(Book.objects.using(using).order_by("pk").values_list("pk", flat=True)) == [
        book.pk for book in books
    ]


def test_a_block_whose_commit_was_interrupted_is_left_by_the_interrupt(using, monkeypatch):
    with pytest.raises(KeyboardInterrupt, match="^$"), atomic(using=using):
        Author.objects.using(using).create(name="second")
        (session,) = connections[using].connection.transport.pool._sessions
        receive = session._socket.recv

        def interrupted(**options):
            receive(**options)
            raise KeyboardInterrupt

        monkeypatch.setattr(session._socket, "recv", interrupted)
    assert Author.objects.using(using).count() == 2


def test_a_block_whose_statement_was_lost_is_rolled_back_and_says_so(using, proxy):
    with pytest.raises(OperationalError, match="rolled back"), atomic(using=using):
        Author.objects.using(using).create(name="second")
        proxy.lose_answers = 1
        Author.objects.using(using).create(name="third")
    assert Author.objects.using(using).count() == 1


def test_a_block_with_inner_blocks_whose_commit_was_lost_is_there_once(using, proxy):
    with atomic(using=using):
        Author.objects.using(using).create(name="second")
        with atomic(using=using):
            Author.objects.using(using).create(name="third")
        proxy.lose_answers = 1
    assert Author.objects.using(using).count() == 3


def test_keys_are_switched_off_by_an_option(local_worker):
    settings = settings_for("durable_object", local_worker)
    assert DatabaseWrapper(settings, "a").get_connection_params()["write_keys"] is True
    settings["OPTIONS"]["write_keys"] = False
    assert DatabaseWrapper(settings, "a").get_connection_params()["write_keys"] is False
    settings["OPTIONS"]["write_keyz"] = False
    with pytest.raises(ImproperlyConfigured, match="write_keyz"):
        DatabaseWrapper(settings, "a").get_connection_params()


def test_the_table_of_the_keys_is_none_of_djangos_business(durable_object):
    with tables(durable_object) as using, durable_object.cursor() as cursor:
        Author.objects.using(using).create(name="first")
        cursor.execute("SELECT count(*) FROM _do_bridge_keys")
        assert cursor.fetchone()[0] >= 1
        assert "_do_bridge_keys" not in durable_object.introspection.table_names(include_views=True)
        snapshot = Snapshot(durable_object)
        assert not any(table.name.startswith("_do_bridge") for table in snapshot.tables)
        Author.objects.using(using).create(name="second")
        assert snapshot.restore(durable_object) == {"shelf_author", "sqlite_sequence"}
        assert Author.objects.using(using).count() == 1


def test_a_test_database_is_copied_without_the_keys_and_emptied_with_them(durable_object):
    creation = durable_object.creation
    source = durable_object.settings_dict["NAME"]
    target = f"{source}-copy"
    creation.mark_as_test_database(target)
    reader = creation.connect_to(target)
    try:
        with durable_object.cursor() as cursor:
            cursor.execute("CREATE TABLE thing (id integer PRIMARY KEY)")
        creation.copy(source, target)
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM thing")
            # The copy itself was one write of one client.
            cursor.execute("SELECT count(*) FROM _do_bridge_keys")
            assert cursor.fetchone() == (1,)
        creation.empty(target)
        with reader.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE name GLOB '_do_bridge_*' OR name = 'thing'")
            assert cursor.fetchall() == []
    finally:
        reader.close()


def test_reads_and_writes_on_d1_carry_no_key(d1):
    with tables(d1) as using, driver.count_trips() as trips:
        Author.objects.using(using).create(name="first")
        assert trips.count == 1
    assert d1.connection._keys._client is None
